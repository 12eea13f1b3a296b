"""Parameters of the PGGAN networks: published and derived counts, the channel rule."""

from __future__ import annotations

import pytest
import torch

from training.architectures.pggan import Config, Discriminator, Generator

# Parameters of the full network of a resolution (all ToRGB / FromRGB kept): derived from the released code's rules and
# checked against it (paper, Table 2: 23.1M each at 1024).
ALL_HEADS_8192 = {
    4: (6_556_163, 6_561_793),
    8: (11_277_318, 11_283_457),
    16: (15_998_473, 16_005_121),
    32: (20_719_628, 20_726_785),
    64: (22_490_383, 22_498_049),
    128: (22_933_394, 22_941_313),
    256: (23_044_309, 23_052_353),
    512: (23_072_120, 23_080_225),
    1024: (23_079_115, 23_087_249),
}
ALL_HEADS_2048 = {
    4: (6_556_163, 6_561_793),
    8: (11_277_318, 11_283_457),
    16: (13_048_073, 13_054_721),
    32: (13_491_084, 13_497_985),
    64: (13_601_999, 13_609_025),
    128: (13_629_810, 13_636_897),
}
# With only the heads of the current resolution in use, as the paper counts.
TOP_HEAD_8192 = {
    4: (6_556_163, 6_561_793),
    8: (11_275_779, 11_281_409),
    16: (15_995_395, 16_001_025),
    32: (20_715_011, 20_720_641),
    64: (22_484_227, 22_489_857),
    128: (22_926_467, 22_932_097),
    256: (23_036_995, 23_042_625),
    512: (23_064_611, 23_070_241),
    1024: (23_071_507, 23_077_137),
}
TOP_HEAD_2048 = {
    4: (6_556_163, 6_561_793),
    8: (11_275_779, 11_281_409),
    16: (13_044_995, 13_050_625),
    32: (13_487_235, 13_492_865),
    64: (13_597_763, 13_603_393),
    128: (13_625_379, 13_631_009),
}
# The rows of the paper's Table 1, at 128x128. Without batch norm, G of rows a to c has 10,484,082 parameters; batch and
# layer norm have a shift for a bias, and as many gains: 3008 in G, 3488 in D. The minibatch standard deviation is one
# more map into a conv3 of 512; discrimination has 100 kernels of 512 * 5 + 5 + 1, and the score 100 more inputs.
BASELINE = {"latent_size": 128, "minibatch_stddev": False, "equalized": False}
NO_STDDEV = 13_636_897 - 512 * 9
TABLE_1 = {
    "a-c without norm": (BASELINE | {"generator_norm": "none"}, 10_484_082, NO_STDDEV),
    "a-c": (
        BASELINE | {"generator_norm": "batch", "discriminator_norm": "layer"},
        10_484_082 + 3_008,
        NO_STDDEV + 3_488,
    ),
    "d": ({"minibatch_stddev": False, "generator_norm": "none", "equalized": False}, 13_629_810, NO_STDDEV),
    "e*": (
        {"minibatch_stddev": False, "generator_norm": "none", "minibatch_discrimination": 100},
        13_629_810,
        NO_STDDEV + 100 * (512 * 5 + 5 + 1 + 1),
    ),
    "e": ({"generator_norm": "none", "equalized": False}, 13_629_810, 13_636_897),
    "f": ({"generator_norm": "none"}, 13_629_810, 13_636_897),
    "g": ({}, 13_629_810, 13_636_897),
}


def count(config: Config, resolution: int, num_classes: int = 0) -> tuple[int, int]:
    with torch.device("meta"):
        networks = Generator(config, resolution, num_classes), Discriminator(config, resolution, num_classes)
    generator, discriminator = (sum(p.numel() for p in network.parameters()) for network in networks)
    return generator, discriminator


@pytest.mark.parametrize(("resolution", "expected"), ALL_HEADS_8192.items())
def test_parameter_counts_of_the_paper(resolution: int, expected: tuple[int, int]) -> None:
    assert count(Config(), resolution) == expected


@pytest.mark.parametrize(("resolution", "expected"), ALL_HEADS_2048.items())
def test_parameter_counts_of_the_reduced_network(resolution: int, expected: tuple[int, int]) -> None:
    assert count(Config(fmap_base=2048), resolution) == expected


def test_parameter_counts_of_the_cifar_network() -> None:
    assert count(Config(fmap_base=4096, fmap_max=128), 32) == (1_296_908, 1_298_689)


@pytest.mark.parametrize("row", TABLE_1)
def test_parameter_counts_of_the_rows_of_table_1(row: str) -> None:
    options, generator, discriminator = TABLE_1[row]
    assert count(Config(fmap_base=2048, **options), 128) == (generator, discriminator)


@pytest.mark.parametrize("classes", [10, 1000])
def test_parameters_that_labels_add(classes: int) -> None:
    generator, discriminator = count(Config(), 16, classes)
    assert generator - ALL_HEADS_8192[16][0] == classes * 512 * 16
    assert discriminator - ALL_HEADS_8192[16][1] == 513 * classes


@pytest.mark.parametrize(("base", "expected"), [(8192, TOP_HEAD_8192), (2048, TOP_HEAD_2048)])
def test_parameters_in_use_at_every_level(base: int, expected: dict[int, tuple[int, int]]) -> None:
    """What a stable level gives a gradient, of networks that reach further, is what the paper counts."""
    found = {}
    with torch.device("meta"):
        config = Config(fmap_base=base)
        networks = Generator(config, max(expected)), Discriminator(config, max(expected))
        for resolution in expected:
            level = resolution.bit_length() - 1
            generator, discriminator = networks
            discriminator(generator(torch.randn(2, 512), level, 1.0), level, 1.0).scores.sum().backward()
            found[resolution] = tuple(sum(p.numel() for p in n.parameters() if p.grad is not None) for n in networks)
            for network in networks:
                network.zero_grad(set_to_none=True)
    assert found == expected


def test_channel_rule() -> None:
    assert [Config().channels(level) for level in range(2, 11)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert [Config(fmap_base=2048).channels(level) for level in range(2, 8)] == [512, 512, 256, 128, 64, 32]


def test_run_time_scale_of_the_first_layer_is_one_64th() -> None:
    with torch.device("meta"):
        assert Generator(Config(), 4).dense.linear.scale == pytest.approx(0.015625, rel=1e-15)
