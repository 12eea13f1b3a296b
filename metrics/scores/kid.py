"""Kernel Inception distance (KID): squared maximum mean discrepancy of Inception features, without bias.

Bińkowski, Sutherland, Arbel, Gretton: "Demystifying MMD GANs", ICLR 2018 (arXiv 1801.01401). The kernel is
(x y / d + 1)^3; the value is the mean over 100 pairs of random subsets of 1000 images, each drawn without replacement.
It does not depend on the number of images, and may be slightly negative when the sets are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore, number_of
from metrics.scores import Option, Plan
from metrics.subsampling import errors_of
from metrics.workers import parallel_map

Kernel = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

_SUBSET_SIZE = 1000  # of the paper
_BLOCKS = 10  # disjoint parts of both sets, for the error; more if they would be larger than a subset


def polynomial(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel (x y / d + 1)^3, shape (n, m), of features of shapes (n, d) and (m, d)."""
    values: NDArray[np.float64] = x @ y.T / x.shape[1] + 1
    cubes: NDArray[np.float64] = values * values * values  # thirty times as fast as ** 3
    return cubes


def gaussian(x: NDArray[np.float64], y: NDArray[np.float64], sigma: float = 10.0) -> NDArray[np.float64]:
    """Kernel exp(-|x - y|^2 / (2 sigma^2)), shape (n, m), of features of shapes (n, d) and (m, d)."""
    squared = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y) - 2 * x @ y.T
    return np.asarray(np.exp(np.maximum(squared, 0) / (-2 * sigma**2)))


KERNELS: dict[str, Kernel] = {"poly": polynomial, "rbf": gaussian}
_FORMULAS = {"poly": "(x y / d + 1)^3", "rbf": "exp(-|x - y|^2 / 200)"}


def squared_mmd(real: NDArray[np.floating[Any]], fake: NDArray[np.floating[Any]], kernel: Kernel = polynomial) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy, in float64.

    Parameters
    ----------
    real, fake : ndarray, shapes (n, d) and (m, d)
        n and m at least 2.
    kernel : callable
        `polynomial` or `gaussian`.
    """
    x, y = real.astype(np.float64), fake.astype(np.float64)
    within = 0.0
    for points in (x, y):
        gram = kernel(points, points)
        within += (gram.sum() - np.trace(gram)) / (len(points) * (len(points) - 1))
    return float(within - 2 * kernel(x, y).mean())


def subset_values(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    *,
    subsets: int,
    size: int,
    seed: int,
    kernel: Kernel = polynomial,
) -> NDArray[np.float64]:
    """Squared MMD of random subsets, drawn as torch-fidelity draws them if the reals are its first set.

    With the two sets exchanged they are drawn as NVIDIA's programs do, whose generator has no seed.

    Returns
    -------
    ndarray of float64, shape (subsets,)
    """
    stream = np.random.RandomState(seed)
    choices = [
        (stream.choice(len(real), size, replace=False), stream.choice(len(fake), size, replace=False))
        for _ in range(subsets)
    ]
    return np.array(parallel_map(lambda rows: squared_mmd(real[rows[0]], fake[rows[1]], kernel), choices))


def of_blocks(
    real: NDArray[np.float32], fake: NDArray[np.float32], most: int, kernel: Kernel = polynomial
) -> NDArray[np.float64]:
    """Squared MMD of disjoint blocks of both sets, at most `most` images each, shape (1, blocks, 1).

    Blocks share no image, so their values are independent, and the error of their mean covers the draw of images on
    both sides. It is a little too large: blocks are smaller than the sets they stand for.
    """
    blocks = max(_BLOCKS, -(-min(len(real), len(fake)) // most))
    parts = (np.array_split(points, blocks) for points in (real, fake))
    values = [squared_mmd(x[:most], y[:most], kernel) for x, y in zip(*parts, strict=True)]
    return np.array(values)[None, :, None]


def kid(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    kernel: Kernel = polynomial,
) -> float:
    """KID of two sets of features, shapes (n, d) and (m, d), n and m at least 2.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, least=2)
    size = min(subset_size, len(real), len(fake))
    return float(subset_values(real, fake, subsets=subsets, size=size, seed=seed, kernel=kernel).mean())


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
    enough = 0  # `measure` says how large the subsets are
    options = (
        Option("subsets", 100, "Number of random subsets.", at_least=1),
        Option("subset-size", _SUBSET_SIZE, "Images of each; smaller if there are fewer.", at_least=2),
        Option("kernel", "poly", "The paper's cubic polynomial, or a Gaussian of width 10.", choices=tuple(KERNELS)),
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
        kernel: str = "poly",
    ) -> None:
        super().__init__(plan, resolution, seed=seed, keep_real=keep_real)
        self.subsets, self.subset_size, self.kernel = subsets, subset_size, kernel

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Kernel and subsets."""
        plan = self.plan_of_images
        return {
            "kernel": _FORMULAS[self.kernel],
            "subsets": self.subsets,
            "subset_size": min(self.subset_size, plan.num_images, plan.num_reals or plan.wanted["real"]),
            "error": "disjoint blocks",
        }

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Mean over the subsets, their spread, and the standard error.

        ``subset_std`` is what other programs print behind +-; it is the spread of single subsets, which share images,
        and no error of the mean. The standard error is that of `of_blocks`.
        """
        size, kernel = min(self.subset_size, len(real), len(fake)), KERNELS[self.kernel]
        values = subset_values(real, fake, subsets=self.subsets, size=size, seed=self.seed, kernel=kernel)
        return {
            "value": float(values.mean()),
            **errors_of(of_blocks(real, fake, self.subset_size, kernel), ["standard_error"]),
            "subset_std": float(values.std()),
            "warnings": [f"subsets are of {number_of(size)}; the protocol has {_SUBSET_SIZE}"] * (size < _SUBSET_SIZE),
        }
