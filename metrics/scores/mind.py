"""Monge Inception distance (MIND): sliced Wasserstein distance of Inception features.

Berthet et al.: "MIND: Monge Inception Distance for Generative Models Evaluation", 2026 (arXiv 2605.06797), with the
constants of torch-fidelity 0.4. The features of both sets are projected on 1000 random directions; the value is the
mean squared difference of the sorted projections times 3 d, where d is the number of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.scores import Option
from metrics.subsampling import block_values, errors_of
from metrics.workers import parallel_map

_PORTION = 50  # directions projected and sorted at a time


def directions(count: int, size: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors, shape (count, size), as torch-fidelity draws them."""
    import torch  # here, since reports load the names of all metrics and need no torch

    found = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    units: NDArray[np.float32] = (found / found.norm(dim=1, keepdim=True)).numpy()
    return units


def mind(real: NDArray[np.float32], fake: NDArray[np.float32], *, projections: int = 1000, seed: int = 0) -> float:
    """MIND of two sets of features, equally many of shape (n, d).

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, equal=True)
    vectors = directions(projections, real.shape[1], seed)

    def of_portion(start: int) -> float:
        some = vectors[start : start + _PORTION]
        sides = [np.sort(some @ points.T, axis=1) for points in (real, fake)]
        return float(np.square(sides[0] - sides[1], dtype=np.float64).sum())

    total = sum(parallel_map(of_portion, range(0, projections, _PORTION)))
    return float(3 * real.shape[1] * total / (projections * len(real)))


class Score(FeatureScore):
    """MIND of fakes from reals."""

    title = "MIND"
    stem = "md"
    summary = (
        "Monge Inception distance of FAKE from REAL: the sliced Wasserstein distance of their features. It falls as "
        "images are added, so compare equal numbers only."
    )
    two_sets = True
    equal_sides = True
    few_means = "MIND is too large by an amount that falls as 1/n; compare equal numbers only"
    options = (Option("projections", 1000, "Random directions.", at_least=1),)

    def __init__(self, *arguments: Any, projections: int = 1000, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.projections = projections

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Directions and factor."""
        return {"projections": self.projections, "factor": "3 d", "error": "disjoint blocks, subsampled"}

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Distance with its standard error, see `metrics.subsampling`."""

        def of_block(reals: NDArray[np.float32], fakes: NDArray[np.float32]) -> tuple[float]:
            count = min(len(reals), len(fakes))
            return (mind(reals[:count], fakes[:count], projections=self.projections, seed=self.seed),)

        return {
            "value": mind(real, fake, projections=self.projections, seed=self.seed),
            **errors_of(block_values(real, fake, of_block, least=2, seed=self.seed), ["standard_error"]),
        }
