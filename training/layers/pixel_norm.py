"""Pixelwise feature vector normalization in the generator (Karras et al. 2018, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Divide every feature vector by its root mean square: ``b = a / sqrt(mean_c(a^2) + epsilon)``.

    Parameters
    ----------
    x : Tensor, shape (N, C) or (N, C, H, W)
        Latents or feature maps; the mean runs over C, for each pixel by itself.
    epsilon : float
        1e-8 in the paper.
    """
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + epsilon)
