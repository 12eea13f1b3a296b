"""FID extrapolated to infinitely many images.

Chong, Forsyth: "Effectively Unbiased FID and Inception Score and Where to Find Them", CVPR 2020 (arXiv 1911.07023). The
bias of FID falls as 1/n, so the distance is measured at 15 numbers of images, and a straight line over 1/n gives the
intercept at 0. Sizes as in Stein et al. 2023 (arXiv 2306.04675): evenly spaced from min(5000, max(n / 10, 2)) to n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.gaussian import Gaussian
from metrics.scores import Option
from metrics.scores.fid import distance_to, frechet, square_root, standard_error


def sizes(count: int, points: int) -> NDArray[np.int64]:
    """Numbers of images at which the distance is measured, increasing and different."""
    least = min(5000, max(count // 10, 2))
    return np.unique(np.linspace(least, count, points).astype(np.int64))


def fid_infinity(real: NDArray[np.float32], fake: NDArray[np.float32], points: int = 15, seed: int = 0) -> float:
    """FID at infinitely many fakes of two sets of features, shapes (n, d) and (m, d), m at least 20.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, least=2)
    check_features({"fake": fake}, least=Score.fewest)
    return extrapolate(*distances_by_count(Gaussian.fit(real), fake, points, seed))[0]


def distances_by_count(
    real: Gaussian, fake: NDArray[np.float32], points: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of fakes, and FID of the first so many of them in a random order of the seed."""
    order, root = np.random.default_rng(seed).permutation(len(fake)), square_root(real)
    counts = sizes(len(fake), points)
    return counts, np.array([distance_to(real, root, Gaussian.fit(fake[order[:count]])) for count in counts])


def extrapolate(counts: NDArray[np.int64], distances: NDArray[np.float64]) -> tuple[float, float | None]:
    """Intercept of the least-squares line of distance over 1 / count, and its standard error.

    The error is that of the fit: scatter of the points about the line. None with fewer than three points.
    """
    design = np.stack([np.ones(len(counts)), 1 / counts.astype(np.float64)], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, distances, rcond=None)
    if len(counts) < 3:
        return float(coefficients[0]), None
    residual = distances - design @ coefficients
    variance = residual @ residual / (len(counts) - 2) * np.linalg.inv(design.T @ design)[0, 0]
    return float(coefficients[0]), float(variance**0.5)


class Score(FeatureScore):
    """FID at infinitely many fakes, against all the reals."""

    title = "FID at infinity"
    stem = "fd-infinity"
    summary = (
        "FID of FAKE from REAL extrapolated to infinitely many fakes: the intercept of a line through FID at 15 "
        "numbers of images. Comparable across numbers of images, where FID itself is not."
    )
    two_sets = True
    fewest = 20
    enough = 5000
    few_means = "the line is fitted to small numbers, where the bias is not yet proportional to 1/n"
    options = (Option("points", 15, "Numbers of images at which FID is measured.", at_least=3),)

    def __init__(self, *arguments: Any, points: int = 15, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.points = points

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Sizes and fit."""
        return {"points": self.points, "fit": "least squares over 1/n", "error": "of the fit and of the largest FID"}

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Intercept; ``fid`` holds the distance at every number of fakes, the first so many of a fixed order."""
        fit = Gaussian.fit(real)
        counts, distances = distances_by_count(fit, fake, self.points, self.seed)
        value, of_fit = extrapolate(counts, distances)
        whole = fit, Gaussian.fit(fake)
        of_sets = standard_error((real, fake), whole, frechet(*whole))
        return {
            "value": value,
            "standard_error": None if of_fit is None else math.hypot(of_fit, of_sets),
            "fid": {str(count): float(distance) for count, distance in zip(counts, distances, strict=True)},
        }
