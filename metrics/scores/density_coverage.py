"""Density and coverage: precision and recall that outliers cannot fool.

Naeem, Oh, Uh, Choi, Yoo: "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020 (arXiv 2002.09797).
Balls around the reals reach to the fifth nearest neighbour. Density: how many of them a fake lies in, divided by five,
on average (it may exceed 1). Coverage: share of reals whose ball holds a fake. A point on the rim is outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.neighbours import membership, radii
from metrics.scores import Option
from metrics.scores.precision_recall import check_neighbours
from metrics.subsampling import block_values, errors_of


def density_coverage(real: NDArray[np.float32], fake: NDArray[np.float32], neighbours: int = 5) -> tuple[float, float]:
    """Density (0 or more) and coverage (0 to 1) of `fake`.

    Parameters
    ----------
    real, fake : ndarray of float32, shapes (n, d) and (m, d)
        More reals than `neighbours`.
    neighbours : int
        The radius of a real reaches to this neighbour among the reals.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake})
    check_features({"real": real}, least=neighbours + 1)
    found = membership(fake, real, radii(real, neighbours), rim=False)
    return float(found.balls_of_point.mean() / neighbours), float((found.points_of_ball > 0).mean())


class Score(FeatureScore):
    """Density and coverage of fakes; the value is the coverage."""

    title = "coverage"
    summary = (
        "Coverage (share of REAL with a fake in its neighbourhood, 0 to 1) and density (how deep FAKE lies among REAL, "
        "1 on average for equal distributions); the value is the coverage."
    )
    two_sets = True
    extractor = "vgg16"
    alias = "dc"
    equal_sides = True
    few_means = "coverage depends on the number of images; compare equal numbers only"
    fewest = 6
    options = (Option("neighbours", 5, "Radius of a real: its distance to this neighbour.", at_least=1),)

    def __init__(self, *arguments: Any, neighbours: int = 5, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.neighbours = neighbours
        check_neighbours(neighbours, self.plan_of_images.wanted.values())

    @property
    def least(self) -> int:
        """One more than there must be neighbours."""
        return self.neighbours + 1

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Neighbours and the rule for ties."""
        return {"neighbours": self.neighbours, "inside": "distance < radius", "error": "disjoint blocks, subsampled"}

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Coverage and density with their standard errors, see `metrics.subsampling`."""
        density, coverage = density_coverage(real, fake, self.neighbours)

        def of_block(reals: NDArray[np.float32], fakes: NDArray[np.float32]) -> tuple[float, float]:
            return density_coverage(reals, fakes, self.neighbours)[::-1]

        blocks = block_values(real, fake, of_block, least=self.neighbours + 2, seed=self.seed)
        return {
            "value": coverage,
            "coverage": coverage,
            "density": density,
            **errors_of(blocks, ("standard_error", "density_error")),
        }
