"""Geometry Score: whether two sets have the same shape, told by how many loops they have at every scale.

Khrulkov, Oseledets: "Geometry Score: A Method For Comparing Generative Adversarial Networks", ICML 2018 (arXiv
1802.02664). For random landmarks among the points, the relative living time of i loops is the share of the filtration
of their witness complex in which exactly i loops are alive; the mean over many draws of landmarks is a histogram for
each set, and the score is the squared distance of the two histograms. Points are the pixels, as in the paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.levels import level_of, pyramid
from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.scores import Option, Plan, Side
from metrics.witness import Interval, loops
from metrics.workers import parallel_map

_LARGEST = 32  # side of the images whose pixels are compared; larger ones are box-filtered


def living_times(intervals: list[Interval], largest: float, most: int) -> NDArray[np.float64]:
    """Share of [0, largest] in which exactly i loops are alive, for i = 0 .. most - 1 (eq. 6)."""
    shares = np.zeros(most)
    edges = sorted({0.0, largest, *(min(time, largest) for interval in intervals for time in interval)})
    for start, end in itertools.pairwise(edges):
        middle = (start + end) / 2
        alive = sum(birth <= middle < death for birth, death in intervals)
        if alive < most:
            shares[alive] += (end - start) / largest
    return shares


def relative_living_times(
    points: NDArray[np.floating[Any]], *, landmarks: int, gamma: float, most: int, seed: list[int]
) -> NDArray[np.float64]:
    """Relative living times for one draw of landmarks.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    landmarks : int
        Drawn from the points, with replacement.
    gamma : float
        The filtration runs to this share of the largest distance of a point from a landmark.
    most : int
        Numbers of loops below this are counted.
    seed : list of int
        Of the draw.
    """
    chosen = points[np.random.default_rng(seed).choice(len(points), landmarks)]
    squared = (
        np.einsum("ij,ij->i", points, points)[:, None] + np.einsum("ij,ij->i", chosen, chosen) - 2 * points @ chosen.T
    )
    distances = np.sqrt(np.maximum(squared, 0))
    largest = gamma * float(distances.max())
    if largest <= 0:
        return np.asarray(np.eye(1, most)[0])  # all points are one: no loop at any scale
    return living_times(loops(distances, largest), largest, most)


def mean_living_times(
    points: NDArray[np.floating[Any]],
    *,
    repeats: int,
    landmarks: int = 64,
    gamma: float,
    most: int = 100,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Relative living times of every draw of landmarks, shape (repeats, most); their mean describes the set."""
    values = points.astype(np.float64)
    return np.array(
        parallel_map(
            lambda repeat: relative_living_times(
                values, landmarks=landmarks, gamma=gamma, most=most, seed=[seed, repeat]
            ),
            range(repeats),
        )
    )


def geometry_score(
    real: NDArray[np.floating[Any]],
    fake: NDArray[np.floating[Any]],
    *,
    repeats: int = 100,
    landmarks: int = 64,
    gamma: float | None = None,
    seed: int = 0,
) -> float:
    """Geometry Score of two sets of points, shapes (n, d) and (m, d); `gamma` is n / 640000 if not given.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake})
    means = [
        mean_living_times(
            points, repeats=repeats, landmarks=landmarks, gamma=gamma or len(points) / 5000 / 128, seed=seed
        ).mean(axis=0)
        for points in (real, fake)
    ]
    return float(np.square(means[0] - means[1]).sum())


class Score(FeatureScore):
    """Geometry Score of fakes against reals."""

    title = "Geometry Score"
    summary = (
        "Geometry Score of FAKE against REAL: squared difference of how many loops the two clouds of points have over "
        "all scales; 0 for equal shapes. Papers print it times 1000."
    )
    two_sets = True
    needs = "pixels"
    extractor = None
    alias = "geometry"
    equal_sides = True
    protocol_images = 5000
    fewest = 10
    enough = 5000
    few_means = (
        "the paper measures 5000 points of each set; with fewer the filtration ends too early to show loops, so give "
        "--gamma, the same to all sets that are compared"
    )
    options = (
        Option("repeats", 100, "Draws of landmarks; the paper's library has 1000.", at_least=1),
        Option("landmarks", 64, "Landmarks of one draw.", at_least=5),
        Option(
            "gamma",
            0.0,
            "Scale at which the filtration ends, as a share of the largest distance; 0: n / 640000.",
            at_least=0,
        ),
    )

    def __init__(
        self, *arguments: Any, repeats: int = 100, landmarks: int = 64, gamma: float = 0.0, **keywords: Any
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.repeats, self.landmarks = repeats, landmarks
        self.gamma = gamma or self.plan_of_images.num_images / 5000 / 128

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Landmarks, repeats, points."""
        return {
            "landmarks": self.landmarks,
            "repeats": self.repeats,
            "gamma": self.gamma,
            "most_loops": 100,
            "points": f"pixels, box-filtered to {_LARGEST}x{_LARGEST} if finer",
            "error": "draws of landmarks, and of images by an upper bound",
        }

    @classmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose the paper's 5000 images of each side, or as many as there are."""
        if resolution > _LARGEST:
            level_of(resolution, "Geometry Score: side")  # such images are halved
        return super().plan(available, resolution, num_images)

    def update(self, side: Side, images: NDArray[Any], first: int) -> None:
        """Take images, uint8 of shape (n, 3, r, r), as points."""
        if images.shape[-1] > _LARGEST:
            images = pyramid(images)[level_of(_LARGEST)]
        super().update(side, images.reshape(len(images), -1).astype(np.float32), first)

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Score, and both histograms as far as they are not 0."""
        times = [
            mean_living_times(points, repeats=self.repeats, landmarks=self.landmarks, gamma=self.gamma, seed=self.seed)
            for points in (real, fake)
        ]
        means = [part.mean(axis=0) for part in times]
        difference = means[0] - means[1]
        # Delta method: the score is a quadratic form of two means, each of an incomplete U-statistic of `landmarks`
        # points. Other landmarks move it by 1/repeats of the variance of one draw, other images by at most
        # landmarks/n of it (Hoeffding 1948: n times the variance of a U-statistic falls as n grows).
        several = self.repeats > 1
        share = 1 / self.repeats + min(1.0, self.landmarks / len(fake))
        spread = share * sum(float(np.var(part @ (2 * difference), ddof=1)) for part in times) if several else 0.0
        last = int(np.flatnonzero(np.maximum(*means) > 0).max(initial=0)) + 1
        return {
            "value": float(difference @ difference),
            "standard_error": spread**0.5 if several else None,
            "living_times": {"real": means[0][:last].tolist(), "fake": means[1][:last].tolist()},
        }
