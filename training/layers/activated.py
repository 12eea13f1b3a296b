"""The layers of a network that share a style: linear map, normalization, leaky ReLU."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from training.layers.equalized import HE_GAIN, Convolution, Dense
from training.layers.normalization import BatchNorm, LayerNorm
from training.layers.pixel_norm import EPSILON, pixel_norm
from training.layers.resample import Operation, convolve

Normalization = Literal["none", "pixel", "batch", "layer"]

_BEFORE_ACTIVATION: dict[str, type[BatchNorm] | type[LayerNorm]] = {"batch": BatchNorm, "layer": LayerNorm}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """What the layers of a network have in common; makes them.

    Attributes
    ----------
    normalization
        Batch and layer normalization stand before the leaky ReLU, where their inventors put them, and their shift takes
        the place of the bias; pixel norm stands after it (Karras et al. 2018, Table 2).
    leak
        Slope of the leaky ReLU for negative values; 0 is a ReLU.
    epsilon
        Of pixel norm.
    equalized
        Equalized learning rate.
    """

    normalization: Normalization = "none"
    leak: float = 0.2
    epsilon: float = EPSILON
    equalized: bool = True

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, operation: Operation = convolve
    ) -> Activated:
        """Convolution and what follows it, see `Convolution`."""
        linear = Convolution(
            in_channels, out_channels, kernel_size, operation, bias=self._bias, equalized=self.equalized
        )
        return Activated(linear, out_channels, self)

    def dense(self, in_features: int, channels: int, side: int | None = None, gain: float = HE_GAIN) -> Activated:
        """Dense layer and what follows it, see `Dense`."""
        linear = Dense(in_features, channels, side, gain=gain, bias=self._bias, equalized=self.equalized)
        return Activated(linear, channels, self)

    @property
    def _bias(self) -> bool:
        return self.normalization not in _BEFORE_ACTIVATION


class Activated(nn.Module):
    """A linear map and what follows it.

    Parameters
    ----------
    linear : nn.Module
        `Convolution` or `Dense`.
    channels : int
        Feature maps that it gives.
    style : Style
        What follows.
    """

    def __init__(self, linear: nn.Module, channels: int, style: Style) -> None:
        super().__init__()
        self.linear = linear
        before = _BEFORE_ACTIVATION.get(style.normalization)
        self.normalize = before(channels) if before else None
        self.style = style

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, channels) or (N, channels, H, W), whatever the linear map gives."""
        x = self.linear(x)
        if self.normalize is not None:
            x = self.normalize(x)
        # In place where its derivative can be told from the result: half as many feature maps are kept for gradients.
        x = functional.leaky_relu(x, self.style.leak, inplace=self.style.leak > 0)
        return pixel_norm(x, self.style.epsilon) if self.style.normalization == "pixel" else x
