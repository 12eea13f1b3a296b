"""The one place where uint8 becomes [-1, 1] and back, and where real images are mirrored and faded."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.layers.resample import double, halve

Fading = Literal["float", "truncated", "none"]


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], the range in which the networks work."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """Float, nominally in [-1, 1] -> uint8: ``x * 127.5 + 127.5``, rounded and clipped. Inverse of `to_float`."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def mirror(images: Tensor, flags: Tensor) -> Tensor:
    """Mirror left to right those images (N, C, H, W) whose flag (N,) is True."""
    return torch.where(flags.view(-1, 1, 1, 1), images.flip(3), images)


def fade(images: Tensor, alpha: float, how: Fading = "float") -> Tensor:
    """Real images as they look while their level fades in: ``alpha * x + (1 - alpha) * double(halve(x))``.

    So that the discriminator cannot tell reals by detail that the generator does not yet draw.

    Parameters
    ----------
    images : Tensor, shape (N, 3, r, r)
        In [-1, 1].
    alpha : float
        Share of the level.
    how : str
        ``float``: as above (TensorFlow release). ``truncated``: grey levels are then cut down to whole ones, which
        makes fading images darker by half a grey level (Theano release). ``none``: no fading.
    """
    if alpha >= 1.0 or how == "none":
        return images
    faded = torch.lerp(double(halve(images)), images, alpha)
    if how == "float":
        return faded
    levels = (faded * 127.5 + 127.5).add_(1e-4).floor_().clamp_(0, 255)  # 1e-4: what rounding takes from whole numbers
    return levels / 127.5 - 1.0
