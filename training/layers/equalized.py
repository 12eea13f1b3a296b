"""Equalized learning rate: weights drawn from N(0, 1) and scaled at run time by He's constant.

Karras et al. 2018, section 4.1. Adam's updates do not depend on the scale of a parameter, so with this scaling every
layer has the same dynamic range and learns at the same speed. The paper writes ``w / c``; what both released codes do,
and what is meant, is to *multiply* by He's standard deviation ``gain / sqrt(fan_in)``. Biases start at zero and are not
scaled.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

HE_GAIN = math.sqrt(2.0)  # for a ReLU; the released code keeps it although the leaky slope is 0.2


class EqualizedConv2d(nn.Module):
    """Convolution, stride 1, zero padding that keeps the size, with equalized learning rate.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of feature maps.
    kernel_size : int
        Side of the square kernel, odd.
    gain : float
        Numerator of the run-time scale: sqrt(2) before an activation, 1 for a linear layer.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, gain: float = HE_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualizedLinear(nn.Module):
    """Fully connected layer with equalized learning rate.

    Parameters
    ----------
    in_features, out_features : int
        Widths.
    gain : float
        As for `EqualizedConv2d`.
    bias : bool
        Without it the caller adds a bias of its own (the generator's first layer has one per channel, not per pixel).
    """

    def __init__(self, in_features: int, out_features: int, gain: float = HE_GAIN, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        return functional.linear(x, self.weight * self.scale, self.bias)
