"""Precision and recall for distributions (PRD): a curve instead of two numbers, and F8 and F1/8 from it.

Sajjadi, Bachem, Lucic, Bousquet, Gelly: "Assessing Generative Models via Precision and Recall", NeurIPS 2018 (arXiv
1806.00035). The features of both sets together are clustered (k-means, 20 clusters); the shares of the clusters in each
set are two histograms p (real) and q (generated), and for a slope s precision is sum(min(s p, q)) and recall that
divided by s. The curve is averaged over 10 clusterings; F8, which weighs recall, and F1/8, which weighs precision, are
the largest on it. Equally many images on both sides, since clusters favour the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.scores import Option
from metrics.workers import parallel_map

ANGLES = 1001  # points of a curve
_GROUPS = 20  # of images, for the jackknife
_EDGE = 1e-10  # distance of the first and last angle from the axes
_STARTS = 10  # seedings tried for every clustering; the tightest is taken
_SEEDING_POINTS = 3072  # of which seedings are chosen
_MOST_ROUNDS = 100  # of Lloyd's algorithm; it has converged long before


def curve(
    real: NDArray[np.float64], fake: NDArray[np.float64], angles: int = ANGLES
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall for slopes from 0 to infinity, of two histograms (section 3.2, eq. 7).

    Parameters
    ----------
    real, fake : ndarray of float64, shape (clusters,)
        Shares, each of sum 1.
    angles : int
        Number of slopes, the tangents of angles evenly spaced over a right angle.

    Returns
    -------
    precision, recall : ndarray of float64, shape (angles,)
        In [0, 1].
    """
    slopes = np.tan(np.linspace(_EDGE, np.pi / 2 - _EDGE, angles))[:, None]
    precision = np.minimum(slopes * real, fake).sum(axis=1)
    recall = precision / slopes[:, 0]
    return np.clip(precision, 0, 1), np.clip(recall, 0, 1)  # what exceeds 1 is rounding


def largest_f(precision: NDArray[np.float64], recall: NDArray[np.float64], beta: float) -> float:
    """Largest F-score of weight `beta` on a curve: for beta above 1 recall counts more."""
    scores = (1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)
    return float(scores.max())


def f_scores(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """F8 (recall) and F1/8 (precision) of a curve, shape (2,)."""
    return np.array([largest_f(precision, recall, beta) for beta in (8, 1 / 8)])


def prd(
    real: NDArray[np.float32], fake: NDArray[np.float32], *, clusters: int = 20, repeats: int = 10, seed: int = 0
) -> tuple[float, float]:
    """F8 (recall) and F1/8 (precision) of two sets of features, equally many of shape (n, d).

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, equal=True)
    counts = histograms(real, fake, clusters=clusters, repeats=repeats, seed=seed).sum(axis=2)
    recall_like, precision_like = f_scores(*curves(counts).mean(axis=0)).tolist()
    return recall_like, precision_like


def curves(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Precision and recall of every clustering, shape (repeats, 2, angles), from counts (repeats, 2, clusters)."""
    shares = counts / counts.sum(axis=-1, keepdims=True)
    return np.array([curve(real, fake) for real, fake in shares])


def histograms(
    real: NDArray[np.float32], fake: NDArray[np.float32], *, clusters: int, repeats: int, seed: int
) -> NDArray[np.float64]:
    """Images of every cluster in consecutive groups of both sets, shape (repeats, 2, groups, clusters), reals first."""
    both, groups = np.concatenate((real, fake)), min(_GROUPS, len(real), len(fake))

    def of_clustering(number: int) -> NDArray[np.float64]:
        labels = k_means(both, clusters, np.random.default_rng(number))
        parts = [np.array_split(side, groups) for side in (labels[: len(real)], labels[len(real) :])]
        return np.array([[np.bincount(part, minlength=clusters) for part in side] for side in parts], np.float64)

    return np.array(parallel_map(of_clustering, [seed * 1000 + repeat for repeat in range(repeats)]))


def jackknife(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F8 and F1/8 of all groups of images but one, for every group, shape (groups, 2), from `histograms`."""
    whole = counts.sum(axis=2)
    return np.array([f_scores(*curves(whole - counts[:, :, k]).mean(axis=0)) for k in range(counts.shape[2])])


def k_means(points: NDArray[np.float32], clusters: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Cluster of every point, shape (n,): Lloyd's algorithm from the tightest of some k-means++ seedings.

    Seedings are chosen and judged on a random part of the points, as MiniBatchKMeans does, which the paper's code uses.
    A cluster may end empty; its share is then 0 in both sets.
    """
    some = points[generator.permutation(len(points))[:_SEEDING_POINTS]]
    seedings = [_seeding(some, clusters, generator) for _ in range(_STARTS)]
    centres = min(seedings, key=lambda seeds: float(_squared_distances(some, seeds).min(axis=1).sum()))
    labels = np.full(len(points), -1)
    for _ in range(_MOST_ROUNDS):
        before, labels = labels, _squared_distances(points, centres).argmin(axis=1)
        if np.array_equal(before, labels):
            break
        members = np.eye(clusters, dtype=np.float32)[labels]
        counts = members.sum(axis=0)
        moved = counts > 0
        centres[moved] = (members.T @ points)[moved] / counts[moved, None]
    return labels


def _seeding(points: NDArray[np.float32], clusters: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Seeds of k-means++: each with a probability proportional to its squared distance from those before."""
    seeds = [int(generator.integers(len(points)))]
    nearest = _squared_distances(points, points[seeds]).min(axis=1)
    for _ in range(clusters - 1):
        total = nearest.sum()
        weights = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        seeds.append(int(generator.choice(len(points), p=weights)))
        nearest = np.minimum(nearest, _squared_distances(points, points[seeds[-1:]])[:, 0])
    return points[seeds]


def _squared_distances(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distances of points from centres, shape (n, clusters); 0 where rounding makes them negative."""
    norms = np.einsum("ij,ij->i", points, points, dtype=np.float64)[:, None]
    products = (points @ centres.T).astype(np.float64)
    squared = norms + np.einsum("ij,ij->i", centres, centres, dtype=np.float64) - 2 * products
    return np.asarray(np.maximum(squared, 0))


class Score(FeatureScore):
    """PRD of fakes; the value is the mean of F8 and F1/8."""

    title = "PRD (mean of F8 and F1/8)"
    summary = (
        "Precision-recall curve of FAKE with REAL over clusters of features; F8 weighs recall, F1/8 precision, both "
        "are 1 for equal distributions. The value is their mean."
    )
    two_sets = True
    equal_sides = True
    fewest = 20
    few_means = "shares of clusters are uncertain with so few images"
    options = (
        Option("clusters", 20, "Clusters of both sets together.", at_least=2),
        Option("repeats", 10, "Clusterings over which the curve is averaged.", at_least=1),
    )

    def __init__(self, *arguments: Any, clusters: int = 20, repeats: int = 10, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.clusters, self.repeats = clusters, repeats

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Clusters, repeats, angles."""
        return {
            "clusters": self.clusters,
            "repeats": self.repeats,
            "angles": ANGLES,
            "clustering": f"k-means++, best of {_STARTS} seedings",
            "error": "jackknife over 20 groups of images, clusters as found; and over the clusterings",
        }

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """F8 and F1/8 of the mean curve with their standard errors, and the curve at 51 angles.

        The error is that of a jackknife which leaves out one of 20 groups of images of both sets at a time, clusters
        staying as they were found, and of the clusterings.
        """
        counts = histograms(real, fake, clusters=self.clusters, repeats=self.repeats, seed=self.seed)
        found = curves(counts.sum(axis=2))
        precision, recall = found.mean(axis=0)
        values = _with_mean(f_scores(precision, recall))
        without = np.array([_with_mean(pair) for pair in jackknife(counts)])
        groups = len(without)
        variance = (groups - 1) * without.var(axis=0)
        if self.repeats > 1:
            single = np.array([_with_mean(f_scores(*one)) for one in found])
            variance += single.var(axis=0, ddof=1) / self.repeats
        errors, step = np.sqrt(variance), ANGLES // 50
        return {
            "value": float(values[2]),
            "standard_error": float(errors[2]),
            "replicates": [(groups * values[2] - (groups - 1) * without[:, 2]).tolist()],
            "f8": float(values[0]),
            "f1_8": float(values[1]),
            "f8_error": float(errors[0]),
            "f1_8_error": float(errors[1]),
            "curve": {"precision": precision[::step].tolist(), "recall": recall[::step].tolist()},
        }


def _with_mean(pair: NDArray[np.float64]) -> NDArray[np.float64]:
    """F8, F1/8 and their mean."""
    return np.append(pair, pair.mean())
