"""Clouds of patches along directions: the products, the sorts and the distances of SWD, which are all of its time.

On the processor every core multiplies and sorts by itself. Patches are multiplied some thousand rows at a time, by as
many directions as there is room for (few directions starve the product); values along a direction lie side by side,
where numpy sorts 16 times as fast as down the columns of the transpose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from metrics.patches import Descriptors, leave_to_disk
from metrics.workers import one_thread_a_product, parallel_map

FLAT = 255 * 2.0**-20  # a deviation below the rounding errors of the pyramid is no structure
_ROWS = 8192  # patches multiplied at a time: 5 MB, read once for all directions


@dataclasses.dataclass(frozen=True)
class Projections:
    """Patches of one set along some directions.

    Attributes
    ----------
    values : ndarray or Tensor of float32, shape (directions, patches)
        Each row sorted; a tensor if the patches lie on a device.
    offsets : ndarray of float64, shape (directions,)
        To be added to the rows: what subtracting the mean of the patches amounts to.
    """

    values: Any
    offsets: NDArray[np.float64]


def weights_and_offsets(
    descriptors: Descriptors, directions: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Directions with the normalisation folded in.

    ``((x - mean) / deviation) @ d`` is ``x @ (d / deviation) - mean @ (d / deviation)``: patches stay as they were cut.
    A channel without structure (deviation below `FLAT`) counts as 0 everywhere.

    Returns
    -------
    weights : ndarray of float32, shape (d, 3 * patch_size^2)
    offsets : ndarray of float64, shape (d,)
    """
    structured = descriptors.deviation > FLAT
    scale = np.where(structured, 1 / np.where(structured, descriptors.deviation, 1), 0)
    by_channel = directions.reshape(len(directions), 3, -1) * scale[:, None]  # float64
    offsets = -(by_channel * descriptors.mean[:, None]).sum(axis=(1, 2))
    return by_channel.reshape(len(directions), -1).astype(np.float32), offsets


def project(
    descriptors: Descriptors, directions: NDArray[np.float32], room: NDArray[np.float32] | None = None
) -> Projections:
    """Normalised patches along unit vectors, sorted.

    Parameters
    ----------
    descriptors : Descriptors
        n patches of 3 channels.
    directions : ndarray of float32, shape (d, 3 * patch_size^2)
    room : ndarray of float32, shape (at least d * n,), optional
        Main memory for the result: using it again and again is faster than fresh memory.
    """
    if not isinstance(descriptors.patches, np.ndarray):
        there: Projections = _on_device().project(descriptors, directions)
        return there
    weights, offsets = weights_and_offsets(descriptors, directions)
    patches = descriptors.patches
    shape = len(weights), len(patches)
    values = np.empty(shape, np.float32) if room is None else room[: shape[0] * shape[1]].reshape(shape)

    def multiply(start: int) -> None:
        rows = patches[start : start + _ROWS]
        np.matmul(weights, np.asarray(rows).T, out=values[:, start : start + _ROWS])
        leave_to_disk(rows)

    with one_thread_a_product():
        parallel_map(multiply, range(0, len(patches), _ROWS))
    parallel_map(np.ndarray.sort, values)  # in place, contiguous rows: numpy's vectorised sort, outside of the GIL
    return Projections(values, offsets)


def project_apart(
    parts: Sequence[Descriptors], directions: NDArray[np.float32], room: NDArray[np.float32]
) -> list[Projections]:
    """`project` for disjoint parts of a set, each normalised by itself; one part on each core.

    Parameters
    ----------
    parts : sequence of Descriptors
    directions : ndarray of float32, shape (d, 3 * patch_size^2)
    room : ndarray of float32, shape (at least d * n,)
        For the values of all n patches, see `apart`.
    """
    if not isinstance(parts[0].patches, np.ndarray):
        return [project(part, directions) for part in parts]
    shape = len(directions), sum(len(part.patches) for part in parts)
    found = apart(parts, directions, room[: shape[0] * shape[1]].reshape(shape))

    def fill(k: int) -> None:
        multiply_and_sort(parts[k].patches, weights_and_offsets(parts[k], directions)[0], found[k].values)

    with one_thread_a_product():
        parallel_map(fill, range(len(parts)))
    return found


def apart(
    parts: Sequence[Descriptors], directions: NDArray[np.float32], values: NDArray[np.float32]
) -> list[Projections]:
    """Projections of the parts of a set, whose values lie side by side in the rows of `values`, shape (d, n)."""
    ends = np.cumsum([len(part.patches) for part in parts])
    return [
        Projections(values[:, end - len(part.patches) : end], weights_and_offsets(part, directions)[1])
        for part, end in zip(parts, ends, strict=True)
    ]


def multiply_and_sort(patches: NDArray[np.float32], weights: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Fill the rows of `values`, on this core."""
    for start in range(0, len(patches), _ROWS):
        rows = patches[start : start + _ROWS]
        np.matmul(weights, np.asarray(rows).T, out=values[:, start : start + _ROWS])
        leave_to_disk(rows)
    for row in values:
        row.sort()


def wasserstein(a: Projections, b: Projections) -> NDArray[np.float64]:
    """1-Wasserstein distance along every direction: mean |a_i - b_i| of the sorted values, equally many in both.

    Overwrites the values of `b`.
    """
    if not isinstance(a.values, np.ndarray):
        found: NDArray[np.float64] = _on_device().wasserstein(a, b)
        return found

    def along(k: int) -> float:
        b.values[k] += np.float32(b.offsets[k] - a.offsets[k])
        total = float(cv2.norm(a.values[k], b.values[k], cv2.NORM_L1))  # one pass, summed in float64
        return total / len(b.values[k])

    return np.array(parallel_map(along, range(len(a.values))))


def _on_device() -> ModuleType:
    from metrics import device_patches  # torch, which takes a second to import

    return device_patches


def sliced_wasserstein(a: Descriptors, b: Descriptors, directions: NDArray[np.float32]) -> float:
    """Mean over `directions` of the 1-Wasserstein distance of two equally large sets of patches, not times 1000."""
    return float(wasserstein(project(a, directions), project(b, directions)).mean())
