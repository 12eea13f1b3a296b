"""Pixelwise feature vector normalization in the generator (Karras et al. 2018, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.layers.precision import at_least_single

EPSILON = 1e-8  # paper, section 4.2; the TensorFlow release takes 1e-4 in float16


def pixel_norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Divide every feature vector by its root mean square: ``b = a / sqrt(mean_c(a^2) + epsilon)``.

    Parameters
    ----------
    x : Tensor, shape (N, C) or (N, C, H, W)
        Latents or feature maps; the mean runs over C, for each pixel by itself.
    epsilon : float
        Keeps a zero vector zero.

    Returns
    -------
    Tensor
        Of the type of `x`; computed in float32 at least.
    """
    wide = at_least_single(x)
    mean_square = (wide * wide).sum(dim=1, keepdim=True) / x.shape[1]  # its gradient is cheaper than that of square()
    return (wide * torch.rsqrt(mean_square + epsilon)).to(x.dtype)
