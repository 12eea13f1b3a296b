"""Standard errors from disjoint blocks of images, and the values of blocks by which two results are compared.

A bootstrap repeats images, and the nearest neighbour of a repeated image is itself: metrics on neighbours and all whose
bias depends on the number of different images are moved by that. Blocks of a random partition share no image, so their
values are independent draws of the metric at fewer images. Metrics here scatter as 1/sqrt(n), so the mean of the blocks
scatters as the value of the whole set does (Politis, Romano, Wolf: "Subsampling", 1999). One partition gives a coarse
estimate; some are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.workers import parallel_map

Measure = Callable[[NDArray[np.float32], NDArray[np.float32]], Sequence[float]]

_SMALL = 4000  # below, fewer and larger blocks: they must stay large beside the neighbourhoods
_EVALUATIONS = 32  # blocks times partitions


def num_blocks(count: int, least: int) -> int:
    """Blocks of a partition of `count` images, 0 if they would hold fewer than `least`."""
    blocks = 4 if count < _SMALL else 8
    return blocks if count // blocks >= least else 0


def block_values(
    real: NDArray[np.float32], fake: NDArray[np.float32], measure: Measure, *, least: int, seed: int
) -> NDArray[np.float64] | None:
    """Values of the blocks of random partitions of both sets.

    Parameters
    ----------
    real, fake : ndarray of float32, shapes (n, d) and (m, d)
    measure : callable
        Gives one or several values of a block of reals and a block of fakes.
    least : int
        Fewest images of a block that it can measure.
    seed : int
        Of the partitions.

    Returns
    -------
    ndarray of float64, shape (partitions, blocks, values), or None
        None if there are too few images.
    """
    blocks = num_blocks(min(len(real), len(fake)), least)
    if not blocks:
        return None
    pairs = []
    for partition in range(_EVALUATIONS // blocks):
        stream = np.random.default_rng([seed, partition])
        parts = [np.array_split(stream.permutation(len(points)), blocks) for points in (real, fake)]
        pairs += list(zip(*parts, strict=True))
    values = np.array(parallel_map(lambda pair: tuple(measure(real[pair[0]], fake[pair[1]])), pairs))
    found: NDArray[np.float64] = values.reshape(_EVALUATIONS // blocks, blocks, -1)
    return found


def standard_errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors, shape (values,), of the metric on all images, from `block_values`."""
    errors: NDArray[np.float64] = np.sqrt((values.var(axis=1, ddof=1) / values.shape[1]).mean(axis=0))
    return errors


def grouped(influence: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Means of an influence function over consecutive groups of images, shape (groups,)."""
    return np.array([part.mean() for part in np.array_split(influence, groups)])


def errors_of(values: NDArray[np.float64] | None, names: Sequence[str]) -> dict[str, Any]:
    """Fields of a result: a standard error for every value of the blocks by name, and the replicates of the first.

    Of two results on the same reals in the same order, the differences block by block are free of what the reals have
    in common; see `difference_error`.
    """
    if values is None:
        return dict.fromkeys(names)
    errors = standard_errors(values).tolist()
    return {**dict(zip(names, errors, strict=True)), "replicates": values[:, :, 0].tolist()}


def difference_error(first: Any, second: Any) -> tuple[float, int] | None:
    """Standard error of the difference of two results by their replicates, and its degrees of freedom.

    Parameters
    ----------
    first, second
        ``replicates`` of results, or what a file has in their place.

    Returns
    -------
    tuple of (float, int), or None
        None if the two are not replicates of equal number.
    """
    try:
        one, other = np.array(first, np.float64), np.array(second, np.float64)
    except (TypeError, ValueError):
        return None
    if one.ndim != 2 or one.shape != other.shape or one.shape[1] < 2 or not np.isfinite(other - one).all():
        return None
    partitions, blocks = one.shape
    variance = (other - one).var(axis=1, ddof=1).mean() / blocks
    # Partitions of the same images are not independent: they know the variance as well as about half of them would.
    return float(variance**0.5), max(1, partitions // 2) * (blocks - 1)
