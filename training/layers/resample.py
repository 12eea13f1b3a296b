"""Doubling and halving of images and feature maps, alone and together with a 3x3 convolution.

Nearest neighbour and 2x2 mean (Karras et al. 2018, appendix A.1). Doubling, then convolving 3x3 is one transposed 4x4
convolution of stride 2; convolving 3x3, then halving is one 4x4 convolution of stride 2: each with the sum of four
shifted copies of the kernel, which takes 4/9 of the operations and gives the same numbers up to rounding. The
TensorFlow release calls this fused scaling. (Its doubling kernels are stored mirrored in both directions; here a weight
means the same in both forms.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from training.layers import winograd
from training.layers.precision import full_precision

Operation = Callable[..., Tensor]
"""Input (N, C, H, W), weight (out, C, k, k), bias (out,) or None, scale of the weight -> output (N, out, H', W')."""


def double(x: Tensor) -> Tensor:
    """Nearest neighbour: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """2x2 mean: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return functional.avg_pool2d(x, 2)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Convolution with zero padding that keeps the size: k odd."""
    if winograd.suits(x, weight):
        return winograd.convolve(x, weight, bias, scale)
    return functional.conv2d(x, _scaled(weight, scale), bias, padding=weight.shape[2] // 2)


def double_then_convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Doubling and convolution 3x3, one after the other."""
    return convolve(double(x), weight, bias, scale)


def double_and_convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Doubling and convolution 3x3 in one operation."""
    if winograd.suits(x, weight, enlarged=2):  # which saves more
        return double_then_convolve(x, weight, bias, scale)
    if weight.is_contiguous(memory_format=torch.channels_last):  # torch looks at the transposed kernel, which is not
        x = x.contiguous(memory_format=torch.channels_last)
    kernels = _spread(_scaled(weight, scale), mirrored=True).transpose(0, 1)
    return functional.conv_transpose2d(x, kernels, bias, stride=2, padding=1)


def convolve_then_halve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Convolution 3x3 and halving, one after the other."""
    return halve(convolve(x, weight, bias, scale))


def convolve_and_halve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Convolution 3x3 and halving in one operation."""
    if winograd.suits(x, weight):  # which saves more
        return convolve_then_halve(x, weight, bias, scale)
    return functional.conv2d(x, _spread(_scaled(weight, scale) / 4, mirrored=False), bias, stride=2, padding=1)


def _scaled(weight: Tensor, scale: float) -> Tensor:
    return weight if scale == 1.0 else weight * scale


def _spread(weight: Tensor, *, mirrored: bool) -> Tensor:
    """Sum of the four copies of 3x3 kernels in a 4x4 field, one in each corner: (out, in, 3, 3) -> (out, in, 4, 4)."""
    # Padded copies are up to 20 times slower, there and back, and can cost more than the convolution saves.
    if weight.is_contiguous(memory_format=torch.channels_last):
        kernels = weight.flip(2, 3) if mirrored else weight
        return functional.avg_pool2d(kernels, 2, stride=1, padding=1, divisor_override=1)  # of 5x5: a sum over 2x2
    with full_precision(weight.device):
        return (weight.reshape(-1, 9) @ _corners(weight.dtype, weight.device, mirrored)).view(*weight.shape[:2], 4, 4)


@functools.cache
def _corners(dtype: torch.dtype, device: torch.device, mirrored: bool) -> Tensor:
    """Where each of the 3x3 numbers goes in the 4x4 field: (9, 16) of zeros and ones."""
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        line = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=dtype, device=device)
        if mirrored:
            line = line.flip(0)
        return torch.kron(line, line)
