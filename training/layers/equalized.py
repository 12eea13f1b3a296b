"""Convolutions and dense layers with equalized learning rate: weights drawn from N(0, 1), scaled at run time.

Karras et al. 2018, section 4.1. Adam's updates do not depend on the scale of a parameter, so with this scaling every
layer has the same dynamic range and learns at the same speed. The paper writes ``w / c``; what both released codes do,
and what is meant, is to *multiply* by He's standard deviation ``gain / sqrt(fan_in)``. Biases start at zero and are not
scaled. Without equalized learning rate the same numbers are drawn, N(0, (gain / sqrt(fan_in))^2), and not scaled later.
The Theano release scales by the root mean square of the numbers drawn instead of by the deviation they were drawn with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers.resample import Operation, convolve

HE_GAIN = math.sqrt(2.0)  # for a ReLU; the released code keeps it although the leaky slope is 0.2


class _Weighted(nn.Module):
    """A weight with its run-time scale, and perhaps a bias."""

    def __init__(
        self, shape: tuple[int, ...], fan_in: int, biases: int, *, gain: float, bias: bool, equalized: bool
    ) -> None:
        super().__init__()
        deviation = gain / math.sqrt(fan_in)
        self.scale: float | Tensor = deviation if equalized else 1.0
        self.weight = nn.Parameter(torch.randn(shape).mul_(1.0 if equalized else deviation))
        self.bias = nn.Parameter(torch.zeros(biases)) if bias else None

    def scaled_weight(self) -> Tensor:
        """Weight as it is applied."""
        return self.weight if isinstance(self.scale, float) and self.scale == 1.0 else self.weight * self.scale

    def scale_as_drawn(self) -> None:
        """Scale by the root mean square of the weights times the scale so far; they are the same weights as before."""
        size = self.weight.detach().square().mean().sqrt()
        self.weight.data /= size
        scale = self.scale * size
        del self.scale
        self.register_buffer("scale", scale)

    def fold(self) -> None:
        """Let the weight be what is applied, for a network that is no longer trained."""
        self.weight.data = self.scaled_weight().detach()
        self._buffers.pop("scale", None)
        self.scale = 1.0


def scale_as_drawn(network: nn.Module) -> None:
    """Scale every layer with equalized learning rate as the Theano release does, before the first step."""
    for layer in network.modules():
        if isinstance(layer, _Weighted) and layer.scale != 1.0:
            layer.scale_as_drawn()


class Convolution(_Weighted):
    """Convolution with zero padding that keeps the size, alone or together with doubling or halving.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of feature maps.
    kernel_size : int
        Side of the square kernel, odd; 3 where `operation` resamples.
    operation : callable
        What is done with input, weight and bias: one of `training.layers.resample`.
    gain : float
        Numerator of the scale: sqrt(2) before an activation, 1 for a linear layer.
    bias : bool
        Whether there is one; a normalization that follows may bring its own.
    equalized : bool
        Equalized learning rate.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        operation: Operation = convolve,
        *,
        gain: float = HE_GAIN,
        bias: bool = True,
        equalized: bool = True,
    ) -> None:
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        super().__init__(shape, in_channels * kernel_size**2, out_channels, gain=gain, bias=bias, equalized=equalized)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H', W')."""
        if isinstance(self.scale, float) and self.scale != 1.0:
            return self.operation(x, self.weight, self.bias, self.scale)
        return self.operation(x, self.scaled_weight(), self.bias)


class Dense(_Weighted):
    """Fully connected layer, from vectors to vectors or to square feature maps.

    Parameters
    ----------
    in_features : int
        Width of the input; inputs of more dimensions are flattened to it.
    channels : int
        Width of the output, or its number of feature maps.
    side : int, optional
        Side of the feature maps; None gives vectors. The bias is one per map, not per pixel.
    gain, bias, equalized
        As for `Convolution`.
    """

    def __init__(
        self,
        in_features: int,
        channels: int,
        side: int | None = None,
        *,
        gain: float = HE_GAIN,
        bias: bool = True,
        equalized: bool = True,
    ) -> None:
        shape = (channels * (side or 1) ** 2, in_features)
        super().__init__(shape, in_features, channels, gain=gain, bias=bias, equalized=equalized)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) of `in_features` numbers -> (N, channels) or (N, channels, side, side)."""
        x = x.flatten(1)
        if self.side is None:
            return functional.linear(x, self.scaled_weight(), self.bias)
        maps = functional.linear(x, self.scaled_weight()).view(len(x), -1, self.side, self.side)
        return maps if self.bias is None else maps + self.bias.view(1, -1, 1, 1)
