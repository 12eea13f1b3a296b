"""Kernel Inception distance (KID): squared maximum mean discrepancy of Inception features, without bias.

Bińkowski, Sutherland, Arbel, Gretton: "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401). The kernel is
(x y / d + 1)^3; the value is the mean over 100 pairs of random subsets of 1000 images, each drawn without replacement.
It does not depend on the number of images, and may be slightly negative when the sets are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_score import FeatureScore
from metrics.scores import Option, Plan
from metrics.workers import parallel_map

_BLOCKS = 10  # disjoint parts of both sets, for the error; more if they would be larger than a subset


def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Polynomial kernel of degree 3, shape (n, m), of features of shapes (n, d) and (m, d)."""
    values: NDArray[np.float64] = x @ y.T / x.shape[1] + 1
    cubes: NDArray[np.float64] = values * values * values  # thirty times as fast as ** 3
    return cubes


def squared_mmd(real: NDArray[np.floating[Any]], fake: NDArray[np.floating[Any]]) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy, in float64.

    Parameters
    ----------
    real, fake : ndarray, shapes (n, d) and (m, d)
        n and m at least 2.
    """
    x, y = real.astype(np.float64), fake.astype(np.float64)
    within = 0.0
    for points in (x, y):
        gram = kernel(points, points)
        within += (gram.sum() - np.trace(gram)) / (len(points) * (len(points) - 1))
    return float(within - 2 * kernel(x, y).mean())


def subset_values(
    real: NDArray[np.float32], fake: NDArray[np.float32], *, subsets: int, size: int, seed: int
) -> NDArray[np.float64]:
    """Squared MMD of random subsets, drawn as torch-fidelity draws them if the reals are its first set.

    Returns
    -------
    ndarray of float64, shape (subsets,)
    """
    stream = np.random.RandomState(seed)
    choices = [
        (stream.choice(len(real), size, replace=False), stream.choice(len(fake), size, replace=False))
        for _ in range(subsets)
    ]
    return np.array(parallel_map(lambda rows: squared_mmd(real[rows[0]], fake[rows[1]]), choices))


def blocks_error(real: NDArray[np.float32], fake: NDArray[np.float32], most: int) -> float:
    """Standard error of the mean squared MMD of disjoint blocks of both sets, at most `most` images each.

    Blocks share no image, so their values are independent, and the error covers the draw of images on both sides. It is
    a little too large: blocks are smaller than the sets they stand for.
    """
    blocks = max(_BLOCKS, -(-min(len(real), len(fake)) // most))
    values = [
        squared_mmd(x[:most], y[:most])
        for x, y in zip(np.array_split(real, blocks), np.array_split(fake, blocks), strict=True)
    ]
    return float(np.std(values, ddof=1) / blocks**0.5)


def kid(
    real: NDArray[np.float32], fake: NDArray[np.float32], *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> float:
    """KID of two sets of features, shapes (n, d) and (m, d), n and m at least 2."""
    size = min(subset_size, len(real), len(fake))
    return float(subset_values(real, fake, subsets=subsets, size=size, seed=seed).mean())


class Score(FeatureScore):
    """KID of fakes from reals."""

    title = "KID"
    stem = "kd"
    summary = (
        "Kernel Inception distance of FAKE from REAL: 0 on average if both are drawn alike, whatever their number, so "
        "it may be slightly negative. Papers print it times 1000."
    )
    two_sets = True
    fewest = 20
    enough = 1000
    few_means = "subsets of 1000 images are the protocol, so smaller subsets are used"
    options = (
        Option("subsets", 100, "Number of random subsets.", at_least=1),
        Option("subset-size", 1000, "Images of each; smaller if there are fewer.", at_least=2),
    )

    def __init__(
        self,
        plan: Plan,
        resolution: int,
        *,
        seed: int,
        keep_real: bool = False,
        subsets: int = 100,
        subset_size: int = 1000,
    ) -> None:
        super().__init__(plan, resolution, seed=seed, keep_real=keep_real)
        self.subsets, self.subset_size = subsets, subset_size

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Kernel and subsets."""
        return {
            "kernel": "(x y / d + 1)^3",
            "subsets": self.subsets,
            "subset_size": min(self.subset_size, *self.plan_of_images.wanted.values()),
            "error": "disjoint blocks",
        }

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Mean over the subsets, their spread, and the standard error.

        ``subset_std`` is what other programs print behind +-; it is the spread of single subsets, which share images,
        and no error of the mean. The standard error is `blocks_error`.
        """
        size = min(self.subset_size, len(real), len(fake))
        values = subset_values(real, fake, subsets=self.subsets, size=size, seed=self.seed)
        return {
            "value": float(values.mean()),
            "standard_error": blocks_error(real, fake, self.subset_size),
            "subset_std": float(values.std()),
        }
