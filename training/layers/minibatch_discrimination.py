"""Minibatch discrimination: lets the discriminator see how near the images of a batch are to each other.

Salimans et al. 2016, section 3.2, with the weight normalization and the data-dependent initial values (Salimans and
Kingma 2016) that its authors' program and the Theano release of PGGAN give it: row e* of Karras et al. 2018, Table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.layers.precision import at_least_single, full_precision


class MinibatchDiscrimination(nn.Module):
    """Append to each feature vector how near the other images of the batch are, seen through a number of kernels.

    A kernel projects vectors to a few dimensions; an image's statistic is the sum over the other images of
    ``exp(-distance)``, the distance being the sum of absolute differences, and a bias per kernel.

    Parameters
    ----------
    features : int
        Width of the vectors.
    kernels, dimensions : int
        Number of kernels, and of the dimensions of each. 100 and 5 in the Theano release.
    deviation : float
        Of the initial directions. Weights are ``exp(log_length) * direction / |direction|``.
    bias : float
        Initial value, until `prepare` is called.
    """

    def __init__(
        self, features: int, kernels: int = 100, dimensions: int = 5, deviation: float = 0.05, bias: float = -1.0
    ) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(features, kernels, dimensions) * deviation)
        self.log_length = nn.Parameter(torch.zeros(kernels, dimensions))
        self.bias = nn.Parameter(torch.full((kernels,), bias))

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) -> (N, features + kernels); computed in float32."""
        with full_precision(x.device):
            projected = self._project(at_least_single(x))
        nearness = torch.exp(-_distances(projected, projected)).sum(dim=1) - 1  # 1: of an image to itself
        return torch.cat([x, (nearness + self.bias).to(x.dtype)], dim=1)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Set lengths and biases so that, for these vectors, every kernel has a useful scale.

        The mean distance of an image to its nearest other one becomes 2, the mean of the statistic 0.

        Parameters
        ----------
        x : Tensor, shape (N, features)
            Of real images. A kernel that cannot tell them apart is left as it is.
        """
        projected = self._project(at_least_single(x))
        for kernel in range(projected.shape[1]):  # one at a time: N x N distances each
            distances = _distances(projected[:, kernel : kernel + 1], projected[:, kernel : kernel + 1]).squeeze(2)
            distances.fill_diagonal_(torch.inf)
            scale = distances.amin(dim=1).mean() / 2
            if 0 < scale < torch.inf:
                self.log_length[kernel] -= scale.log()
                self.bias[kernel] = -torch.exp(-distances / scale).sum(dim=1).mean()

    def _project(self, x: Tensor) -> Tensor:
        """(N, features) -> (N, kernels, dimensions)."""
        lengths = self.direction.square().sum(dim=0).sqrt()
        return torch.einsum("nf,fkd->nkd", x, self.direction * (self.log_length.exp() / lengths))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """City-block distances: (N, K, D) and (M, K, D) -> (N, M, K)."""
    return (a[:, None] - b[None]).abs().sum(dim=3)
