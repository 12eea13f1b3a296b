"""Improved precision and recall: how many fakes look real, and how many reals the fakes reach.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila: "Improved Precision and Recall Metric for Assessing Generative Models",
NeurIPS 2019 (arXiv 1904.06991). The manifold of a set is the union of balls around its points, each as wide as the
distance to its third nearest neighbour. Precision: share of fakes inside the manifold of the reals (the rim included);
recall: share of reals inside the manifold of the fakes. Features in the paper: the second fully connected layer of
VGG16 after its ReLU. Distances decide in float64 here (float16 and float32 elsewhere moves the third digit).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.neighbours import membership, radii
from metrics.scores import Option
from metrics.subsampling import block_values, errors_of

_SHOWN = 5  # fakes whose nearest reals the result names, by their places in the measurement, and so many of these


def precision_recall(real: NDArray[np.float32], fake: NDArray[np.float32], neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall of `fake`, both in [0, 1].

    Parameters
    ----------
    real, fake : ndarray of float32, shapes (n, d) and (m, d)
        More points than `neighbours` each.
    neighbours : int
        The radius of a point reaches to this neighbour of its own set.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, least=neighbours + 1)
    return share_inside(fake, real, radii(real, neighbours)), share_inside(real, fake, radii(fake, neighbours))


def share_inside(points: NDArray[np.float32], centres: NDArray[np.float32], radius: NDArray[np.float64]) -> float:
    """Share of points in at least one of the balls around `centres`, the rim included."""
    return float((membership(points, centres, radius, rim=True).balls_of_point > 0).mean())


def realism(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    neighbours: int = 3,
    radius: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Realism of every fake: 1 or more inside the manifold of the reals, the larger the deeper (section 5, eq. 3).

    The largest ratio of a real's radius to the fake's distance from it, over the reals whose radius is not above the
    median. Distances are not squared (the released code squares the ratio). `radius` is that of the reals, if known.

    Returns
    -------
    ndarray of float64, shape (number of fakes,)

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake})
    check_features({"real": real}, least=neighbours + 1)
    radius = radii(real, neighbours) if radius is None else radius
    solid = radius <= np.median(radius)
    centres, widths = real[solid].astype(np.float64), radius[solid]
    found = np.empty(len(fake))
    norms = np.einsum("ij,ij->i", centres, centres)
    for start in range(0, len(fake), 256):
        part = fake[start : start + 256].astype(np.float64)
        squared = np.einsum("ij,ij->i", part, part)[:, None] + norms - 2 * part @ centres.T
        found[start : start + 256] = (widths / (np.sqrt(np.maximum(squared, 0)) + 1e-5)).max(axis=1)
    return found


class Score(FeatureScore):
    """Precision and recall of fakes; the value is their harmonic mean."""

    title = "precision and recall (F-score)"
    summary = (
        "Improved precision (share of FAKE that looks real) and recall (share of REAL that FAKE reaches), both 1 for "
        "equal sets; the value is their harmonic mean."
    )
    two_sets = True
    extractor = "vgg16"
    alias = "pr"
    equal_sides = True
    few_means = "manifolds of few points are wide, which moves precision and recall; compare equal numbers only"
    fewest = 4
    options = (Option("neighbours", 3, "Radius of a point: its distance to this neighbour.", at_least=1),)

    def __init__(self, *arguments: Any, neighbours: int = 3, **keywords: Any) -> None:
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
        return {"neighbours": self.neighbours, "inside": "distance <= radius", "error": "disjoint blocks, subsampled"}

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """F-score, precision and recall with their standard errors, see `metrics.subsampling`."""
        widths = radii(real, self.neighbours), radii(fake, self.neighbours)
        precision, recall = share_inside(fake, real, widths[0]), share_inside(real, fake, widths[1])
        close, distances = nearest(fake[:_SHOWN], real, _SHOWN)

        def of_block(reals: NDArray[np.float32], fakes: NDArray[np.float32]) -> tuple[float, float, float]:
            pair = precision_recall(reals, fakes, self.neighbours)
            return f_score(*pair), *pair

        blocks = block_values(real, fake, of_block, least=self.neighbours + 2, seed=self.seed)
        return {
            "value": f_score(precision, recall),
            "precision": precision,
            "recall": recall,
            **errors_of(blocks, ("standard_error", "precision_error", "recall_error")),
            "realism_median": float(np.median(realism(real, fake, self.neighbours, widths[0]))),
            "nearest": {"reals": close.tolist(), "distances": distances.tolist()},
        }


def f_score(precision: float, recall: float) -> float:
    """Harmonic mean; 0 if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def nearest(
    points: NDArray[np.float32], others: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the nearest others of every point, the nearest first, and their distances, shapes (n, count)."""
    x, y = points.astype(np.float64), others.astype(np.float64)
    squared = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y) - 2 * x @ y.T
    order = np.argsort(squared, axis=1, kind="stable")[:, :count]
    return order, np.sqrt(np.maximum(np.take_along_axis(squared, order, axis=1), 0))


def check_neighbours(neighbours: int, counts: Any) -> None:
    """Refuse more neighbours than a set has points.

    Raises
    ------
    InputError
    """
    fewest = min(counts)
    if not 1 <= neighbours < fewest:
        raise InputError(
            f"--neighbours must be at least 1 and less than the {fewest} images of a set, got {neighbours}; "
            "give more images or a smaller number"
        )
