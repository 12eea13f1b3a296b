"""The PGGAN networks: published parameter counts, an independent forward pass, continuity of growing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import pggan as oracle

from training.architectures.pggan import Config, Discriminator, Generator
from training.config import Config as RunConfig
from training.growth import Config as Growth
from training.growth import Schedule
from training.pixels import fade
from training.plan import make_plan

SMALL = Config(fmap_base=64, fmap_max=8, latent_size=6)

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


def count(config: Config, resolution: int) -> tuple[int, int]:
    with torch.device("meta"):
        networks = Generator(config, resolution), Discriminator(config, resolution)
    generator, discriminator = (sum(p.numel() for p in net.parameters()) for net in networks)
    return generator, discriminator


@pytest.mark.parametrize(("resolution", "expected"), ALL_HEADS_8192.items())
def test_parameter_counts_of_the_paper(resolution: int, expected: tuple[int, int]) -> None:
    assert count(Config(), resolution) == expected


@pytest.mark.parametrize(("resolution", "expected"), ALL_HEADS_2048.items())
def test_parameter_counts_of_the_reduced_network(resolution: int, expected: tuple[int, int]) -> None:
    assert count(Config(fmap_base=2048), resolution) == expected


def test_parameter_counts_of_the_cifar_network() -> None:
    assert count(Config(fmap_base=4096, fmap_max=128), 32) == (1_296_908, 1_298_689)


def test_parameters_in_use_at_every_level_of_the_plan() -> None:
    """What an update gives a gradient, traced level by level, is what the paper counts."""
    growth = Growth(fade_kimg=1, stabilize_kimg=1, total_kimg=20, batch=2)
    plans = make_plan(RunConfig(growth=growth), Schedule(growth, 10))
    found = {2**plan.segment.level: (plan.generator_parameters, plan.discriminator_parameters) for plan in plans}
    assert found == TOP_HEAD_8192


def test_channel_rule() -> None:
    assert [Config().channels(level) for level in range(2, 11)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    assert [Config(fmap_base=2048).channels(level) for level in range(2, 8)] == [512, 512, 256, 128, 64, 32]


def test_run_time_scale_of_the_first_layer_is_one_64th() -> None:
    assert Generator(Config(), 4).dense.scale == pytest.approx(0.015625, rel=1e-15)


def weights(network: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}


def randomize_biases(network: torch.nn.Module) -> None:
    """Biases start at zero; draw them, or a test could not tell a missing one."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)


@pytest.mark.parametrize(("level", "alpha"), [(2, 1.0), (3, 0.3), (3, 1.0), (4, 0.0), (4, 0.65)])
def test_generator_equals_the_numpy_oracle(level: int, alpha: float) -> None:
    torch.manual_seed(level)
    network = Generator(SMALL, 16)
    randomize_biases(network)
    z = torch.randn(3, 6)
    expected = oracle.generator(weights(network), z.double().numpy(), level, alpha)
    with torch.no_grad():
        np.testing.assert_allclose(network(z, level, alpha).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("level", "alpha"), [(2, 1.0), (3, 0.3), (3, 1.0), (4, 0.0), (4, 0.65)])
def test_discriminator_equals_the_numpy_oracle(level: int, alpha: float) -> None:
    torch.manual_seed(level)
    network = Discriminator(SMALL, 16)
    randomize_biases(network)
    images = torch.randn(3, 3, 2**level, 2**level)
    expected = oracle.discriminator(weights(network), images.double().numpy(), level, alpha)
    with torch.no_grad():
        np.testing.assert_allclose(network(images, level, alpha).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [3, 4])
def test_growing_is_continuous(level: int) -> None:
    """At alpha 0 a new level draws, and scores, exactly what the level below does."""
    torch.manual_seed(0)
    generator, discriminator = Generator(SMALL, 16), Discriminator(SMALL, 16)
    z = torch.randn(4, 6)
    with torch.no_grad():
        below, new = generator(z, level - 1, 1.0), generator(z, level, 0.0)
        assert torch.equal(new, torch.nn.functional.interpolate(below, scale_factor=2))
        torch.testing.assert_close(discriminator(new, level, 0.0), discriminator(below, level - 1, 1.0))
        # and the reals likewise: a fully faded-out real is its enlarged half
        real = torch.randn(4, 3, 2**level, 2**level)
        halved = torch.nn.functional.avg_pool2d(real, 2)
        torch.testing.assert_close(discriminator(fade(real, 0.0), level, 0.0), discriminator(halved, level - 1, 1.0))


def test_at_full_alpha_only_the_heads_of_the_level_matter() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL, 16)
    z = torch.randn(2, 6)
    with torch.no_grad():
        before = generator(z, 4, 1.0)
        generator.to_rgb["8x8"].weight.add_(1)
        assert torch.equal(generator(z, 4, 1.0), before)
        assert not torch.equal(generator(z, 4, 0.9), before)
