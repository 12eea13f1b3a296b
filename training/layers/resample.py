"""Doubling and halving of images and feature maps (Karras et al. 2018, appendix A.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def double(x: Tensor) -> Tensor:
    """Nearest neighbour: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """2x2 mean: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return functional.avg_pool2d(x, 2)
