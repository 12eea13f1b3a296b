"""The one place where uint8 becomes [-1, 1] and back, and where real images are mirrored and faded."""

from __future__ import annotations

import torch
from torch import Tensor

from training.layers.resample import double, halve


def to_float(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], the range in which the networks work."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """Float, nominally in [-1, 1] -> uint8: ``x * 127.5 + 127.5``, rounded and clipped. Inverse of `to_float`."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def mirror(images: Tensor, flags: Tensor) -> Tensor:
    """Mirror left to right those images (N, C, H, W) whose flag (N,) is True."""
    return torch.where(flags.view(-1, 1, 1, 1), images.flip(3), images)


def fade(images: Tensor, alpha: float) -> Tensor:
    """Real images as they look while their level fades in: ``alpha * x + (1 - alpha) * double(halve(x))``.

    So that the discriminator cannot tell reals by detail that the generator does not yet draw.
    """
    if alpha >= 1.0:
        return images
    return torch.lerp(double(halve(images)), images, alpha)
