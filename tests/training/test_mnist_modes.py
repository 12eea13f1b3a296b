"""The small networks of the mode-counting experiment: published counts, layers by hand, growth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from datasets.errors import InputError
from training.architectures.mnist_modes import Config, Discriminator, Generator
from training.layers.pixel_norm import pixel_norm


def in_use(network: torch.nn.Module) -> dict[str, int]:
    return {name: p.numel() for name, p in network.named_parameters() if p.grad is not None}


def test_weights_of_the_generator() -> None:
    """89,944 weights at 32x32 (read off the released network)."""
    network = Generator(Config(), 32)
    network(torch.randn(2, 64), 5, 1.0).sum().backward()
    assert sum(number for name, number in in_use(network).items() if name.endswith("weight")) == 89_944


@pytest.mark.parametrize(
    ("divisor", "options", "expected"),
    [
        (2, {"discriminator_norm": "none"}, 1_833),
        (2, {}, 1_861),
        (2, {"discriminator_norm": "none", "minibatch_stddev": True}, 1_849),
        (4, {"discriminator_norm": "none"}, 557),
        (4, {}, 571),
        (4, {"discriminator_norm": "none", "minibatch_stddev": True}, 573),
    ],
)
def test_parameters_of_the_discriminator(divisor: int, options: dict[str, Any], expected: int) -> None:
    """The paper says about 2000 and 500; counted from the released network's rules."""
    network = Discriminator(Config(discriminator_divisor=divisor, **options), 32)
    network(torch.randn(2, 3, 32, 32), 5, 1.0).scores.sum().backward()
    assert sum(in_use(network).values()) == expected


def test_generator_written_out() -> None:
    torch.manual_seed(0)
    network = Generator(Config(generator_norm="none", equalized=True), 8)
    z = torch.randn(3, 64)
    dense, first, rgb = network.dense.linear, network.blocks["8x8"].linear, network.to_rgb["8x8"]
    with torch.no_grad():
        x = pixel_norm(z) @ dense.weight.T * (2**0.5 / 4 / 64**0.5)
        x = leaky_relu(x.view(3, 64, 4, 4), 0.3)
        x = torch.nn.functional.conv2d(interpolate(x, scale_factor=2), first.weight, padding=1)
        x = leaky_relu(x * (2 / (64 * 9)) ** 0.5, 0.3)
        x = torch.nn.functional.conv2d(x, rgb.weight, padding=1) / (32 * 9) ** 0.5
        torch.testing.assert_close(network(z, 3, 1.0), x.tanh())


def test_discriminator_written_out() -> None:
    torch.manual_seed(0)
    network = Discriminator(Config(discriminator_norm="none", equalized=False, discriminator_divisor=2), 16)
    images = torch.randn(3, 3, 16, 16)
    entry, inner, score = network.from_rgb["16x16"].linear, network.blocks["8x8"].linear, network.score
    with torch.no_grad():
        x = avg_pool2d(leaky_relu(torch.nn.functional.conv2d(images, entry.weight, padding=1), 0.2), 2)
        x = avg_pool2d(leaky_relu(torch.nn.functional.conv2d(x, inner.weight, padding=1), 0.2), 2)
        assert x.shape == (3, 16, 4, 4)
        expected = (x.flatten(1) @ score.weight.T)[:, 0]
        torch.testing.assert_close(network(images, 4, 1.0).scores, expected)


@pytest.mark.parametrize("level", [3, 4, 5])
def test_growing_is_continuous(level: int) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(Config(), 32).eval(), Discriminator(Config(), 32).eval()
    z = torch.randn(4, 64)
    with torch.no_grad():
        below, new = generator(z, level - 1, 1.0), generator(z, level, 0.0)
        torch.testing.assert_close(new, interpolate(below, scale_factor=2))
        scores = discriminator(below, level - 1, 1.0).scores
        torch.testing.assert_close(discriminator(new, level, 0.0).scores, scores)
        assert not torch.allclose(discriminator(new, level, 0.5).scores, scores)


def test_a_1x1_convolution_to_rgb_is_an_option() -> None:
    assert Generator(Config(rgb_kernel=1), 8).to_rgb["8x8"].weight.shape == (3, 32, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discriminator_divisor": 0}, "network.discriminator_divisor must be 1 or more, got 0"),
        ({"latent_size": 0}, "network.latent_size must be 1 or more, got 0"),
        ({"generator_leak": 2.0}, "network.generator_leak must be from 0 to 1, got 2.0"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Config(**options)
