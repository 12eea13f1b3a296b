"""Batch and layer normalization, as in the WGAN-GP baseline that the paper starts from (Table 1, rows a to c)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.Module):
    """Each feature map over the batch (Ioffe and Szegedy 2015), with a gain and a shift per map.

    While training, statistics are those of the batch at hand: with several ranks or parts of a minibatch, of each by
    itself. In evaluation mode they are running averages, so that an image does not depend on the others.

    Parameters
    ----------
    channels : int
        Number of feature maps.
    momentum : float
        Share of the newest batch in the running averages.
    epsilon : float
        Added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.momentum = momentum
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, C, H, W) -> the same; statistics in float32."""
        return functional.batch_norm(
            x, self.mean, self.variance, self.gain, self.shift, self.training, self.momentum, self.epsilon
        )


class LayerNorm(nn.Module):
    """Each image over all its feature maps and pixels (Ba et al. 2016), with a gain and a shift per map.

    Gulrajani et al. 2017 recommend it in a critic with gradient penalty, for images do not see each other through it.

    Parameters
    ----------
    channels : int
        Number of feature maps.
    epsilon : float
        Added to the variance.
    """

    def __init__(self, channels: int, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, C, H, W) -> the same, of the same type; statistics in float32."""
        return functional.group_norm(x, 1, self.gain, self.shift, self.epsilon).to(x.dtype)
