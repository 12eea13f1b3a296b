"""Multiplicative noise on feature maps, for LSGAN (Karras et al. 2018, appendix B)."""

from __future__ import annotations

import math

from torch import Tensor


def multiplicative_noise(x: Tensor, sigma: Tensor, draws: Tensor) -> Tensor:
    """``x * (1 + n sigma sqrt(C))``, one n per image and feature map.

    Parameters
    ----------
    x : Tensor, shape (N, C, ...)
        Feature maps.
    sigma : Tensor, scalar
        Strength.
    draws : Tensor, shape (N, C)
        n, from N(0, 1).
    """
    factor = 1 + draws * (sigma * math.sqrt(x.shape[1]))
    return x * factor.view(*draws.shape, *[1] * (x.dim() - 2)).to(x.dtype)
