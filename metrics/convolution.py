"""A convolution of a trained network, with the batch normalisation behind it folded in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Convolution with bias.

    Attributes
    ----------
    weight : Tensor, shape (out, in / groups, kernel height, kernel width)
    bias : Tensor, shape (out,)
    stride : int
    padding : tuple of int
        Rows and columns of zeros on each side.
    groups : int
    """

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve images of shape (n, in, h, w)."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights, in the memory order that is fastest on all devices: channels last."""
        weight = self.weight.to(device, dtype, memory_format=torch.channels_last)
        return dataclasses.replace(self, weight=weight, bias=self.bias.to(device, dtype))


def average(x: Tensor) -> Tensor:
    """Mean over space, (n, c, h, w) to (n, c), in float32 at least."""
    return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def fold(tensors: Mapping[str, Tensor], convolution: str, norm: str, epsilon: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution without bias followed by batch normalisation with its running statistics.

    Calculated in float64, so only one rounding to float32 is added: features move by about 4e-7 of themselves.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        State dict of the network.
    convolution, norm : str
        Names of the two layers.
    epsilon : float
        Of the normalisation.
    """
    gamma, beta, mean, variance = (
        tensors[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / (variance + epsilon).sqrt()
    weight = tensors[f"{convolution}.weight"].double() * scale[:, None, None, None]
    return weight.float(), (beta - mean * scale).float()


def norm_shapes(norm: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a batch normalisation, without its counter of batches."""
    return {f"{norm}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
