"""Layers: published vectors and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from training.layers.equalized import EqualizedConv2d, EqualizedLinear
from training.layers.minibatch_stddev import minibatch_stddev
from training.layers.pixel_norm import pixel_norm
from training.layers.resample import double, halve


def test_pixel_norm_vector() -> None:
    """[3, 4] -> [0.84852814, 1.13137085], computed by hand from the formula."""
    out = pixel_norm(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.84852814, 1.13137085]]))


def test_normalized_latents_have_length_sqrt_512() -> None:
    lengths = pixel_norm(torch.randn(8, 512)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((8,), math.sqrt(512)))


def test_pixel_norm_is_per_pixel() -> None:
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, 3, 4), rtol=1e-4, atol=1e-4)


def test_minibatch_stddev_vectors() -> None:
    """Reference: 1..8 as (4, 2, 1, 1) gives sqrt(5); with three times itself in groups of 4 the groups alternate."""
    x = torch.arange(1.0, 9.0).view(4, 2, 1, 1)
    assert minibatch_stddev(x).shape == (4, 3, 1, 1)
    torch.testing.assert_close(minibatch_stddev(x)[:, 2].flatten(), torch.full((4,), 2.23606798))
    both = minibatch_stddev(torch.cat([x, 3 * x]), group_size=4)[:, 2].flatten()
    torch.testing.assert_close(both, torch.tensor([5.6925824, 7.09575935]).repeat(4))
    assert torch.equal(minibatch_stddev(x)[:, :2], x)


def test_minibatch_stddev_of_equal_images_is_the_epsilon() -> None:
    out = minibatch_stddev(torch.ones(4, 3, 2, 2))
    torch.testing.assert_close(out[:, 3], torch.full((4, 2, 2), 1e-4))


def test_minibatch_stddev_refuses_a_batch_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="6 images does not divide into minibatch-stddev groups of 4"):
        minibatch_stddev(torch.ones(6, 1, 2, 2), group_size=4)


def test_equalized_layers_multiply_by_hes_constant_and_leave_the_bias_alone() -> None:
    conv = EqualizedConv2d(4, 3, 3)
    with torch.no_grad():
        conv.bias.fill_(5.0)
    x = torch.randn(2, 4, 6, 6)
    expected = conv2d(x, conv.weight, padding=1) * (math.sqrt(2) / math.sqrt(4 * 9)) + 5.0
    torch.testing.assert_close(conv(x), expected)
    linear = EqualizedLinear(9, 2, gain=1.0)
    torch.testing.assert_close(linear(torch.ones(1, 9)), linear.weight.sum(1)[None] / 3)


def test_equalized_weights_start_from_a_unit_normal() -> None:
    weight = EqualizedLinear(512, 2048).weight.detach()
    assert weight.mean().abs() < 0.01
    assert float(weight.std()) == pytest.approx(1.0, abs=0.01)


def test_resampling() -> None:
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(double(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(
        halve(x), (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    )


def test_fused_kernels_of_the_tensorflow_release() -> None:
    """A fact that importers of its checkpoints rely on: the 4x4 kernels made of four shifted 3x3 ones.

    Down: equal to convolution, then 2x2 mean. Up: equal to doubling, then convolution with the flipped kernel.
    """
    x, kernel = torch.randn(1, 2, 8, 8, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    padded = torch.nn.functional.pad(kernel, (1, 1, 1, 1))
    four = padded[:, :, 1:, 1:] + padded[:, :, :-1, 1:] + padded[:, :, 1:, :-1] + padded[:, :, :-1, :-1]
    down = conv2d(x, four / 4, stride=2, padding=1)
    torch.testing.assert_close(down, avg_pool2d(conv2d(x, kernel, padding=1), 2))
    up = torch.nn.functional.conv_transpose2d(x, four.transpose(0, 1), stride=2, padding=1)
    flipped = kernel.flip(2, 3)
    torch.testing.assert_close(up, conv2d(interpolate(x, scale_factor=2), flipped, padding=1))
