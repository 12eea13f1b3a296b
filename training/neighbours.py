"""The real images that samples come closest to: whether a generator repeats what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.levels import level_of, pyramid
from datasets.order import Order
from metrics import features
from metrics.batches import choose_batch_size
from metrics.images import ArrayImageSet, ImageSet
from metrics.measuring import open_networks
from metrics.opening import open_image_set

PIXELS = "pixels"


class Counter(Protocol):
    """Is told how many images are done, as a progress bar is."""

    def update(self, n: float) -> object:
        """Add `n`."""
        ...


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Nearest of many points.

    Attributes
    ----------
    rows : ndarray of int64, shape (n, k)
        Their numbers, nearest first; of equally near ones the lower number first.
    distances : ndarray of float64, shape (n, k)
        Euclidean.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """What real images samples come close to, and for comparison what other reals reals come close to.

    Attributes
    ----------
    samples : Nearest
        Nearest reals of every sample. Distances by pixels are root mean squares of differences, in grey levels of 255.
    reals : Nearest
        Nearest other reals of as many reals, which are drawn evenly from the set.
    by : str
        What was compared, for people.
    """

    samples: Nearest
    reals: Nearest
    by: str


class Search:
    """Nearest points, exactly, of points that come in portions.

    Squared distances are computed in float64 as |x|^2 - 2xy + |y|^2. For pixels, whole numbers, that is exact; features
    lose no digit that matters.

    Parameters
    ----------
    queries : ndarray, shape (n, d)
        Points whose neighbours are wanted.
    count : int
        How many for each.
    excluded : ndarray of int64, shape (n,), optional
        Number of a point that is no neighbour of the query, being the query itself; -1: none.
    """

    def __init__(self, queries: NDArray[np.float64], count: int, excluded: NDArray[np.int64] | None = None) -> None:
        self._queries, self._count = queries.astype(np.float64), count
        self._norms = np.square(self._queries).sum(axis=1)
        self._excluded = np.full(len(queries), -1) if excluded is None else excluded
        self._rows = np.zeros((len(queries), 0), np.int64)
        self._squared = np.zeros((len(queries), 0))

    def add(self, rows: NDArray[np.int64], points: NDArray[np.float64]) -> None:
        """Look at more points, whose numbers are above all earlier ones'."""
        points = points.astype(np.float64)
        squared = self._norms[:, None] - 2 * (self._queries @ points.T) + np.square(points).sum(axis=1)
        squared[self._excluded[:, None] == rows] = np.inf
        both = np.concatenate([self._squared, squared], axis=1)
        numbers = np.concatenate([self._rows, np.broadcast_to(rows, squared.shape)], axis=1)
        nearest = np.argsort(both, axis=1, kind="stable")[:, : self._count]
        self._squared = np.take_along_axis(both, nearest, axis=1)
        self._rows = np.take_along_axis(numbers, nearest, axis=1)

    def found(self) -> Nearest:
        """Nearest of all points so far."""
        return Nearest(self._rows, np.sqrt(np.maximum(self._squared, 0)))


def open_reals(path: Path, resolution: int) -> ImageSet:
    """Real images at the side of the samples: a pyramid, or any other image set that `metrics` can read.

    Raises
    ------
    InputError
        If it cannot be opened, generates its images, or its images are smaller than the samples.
    """
    reals = open_image_set(path)
    if reals.num_images is None:
        raise InputError(f"{path} draws its images; --neighbours needs the real ones, such as the pyramid trained on")
    if reals.check_uniform() < resolution:
        raise InputError(
            f"{path} has images of {reals.resolution}x{reals.resolution}, the samples have {resolution}x{resolution}; "
            "name the data set that the run was trained on"
        )
    return reals if reals.resolution == resolution else open_image_set(path, resolution=resolution)


def find_neighbours(
    samples: NDArray[np.uint8],
    reals: ImageSet,
    count: int,
    *,
    by: str = PIXELS,
    resolution: int | None = None,
    weights: Sequence[str] = (),
    cache_folder: Path | None = None,
    progress: Counter | None = None,
) -> Neighbours:
    """Find the nearest real images of samples.

    Parameters
    ----------
    samples : ndarray of uint8, shape (n, 3, r, r)
    reals : ImageSet
        Of the same side.
    count : int
        Neighbours of each.
    by : str
        ``pixels``: all values of the two images are compared. Otherwise a network of metrics/features, whose features
        are; ``inception`` and ``vgg16`` see what is in a picture rather than where.
    resolution : int, optional
        Side to which images are brought (by the box filter) before their pixels are compared: a coarse one compares
        layout and colour. The samples' own by default.
    weights : sequence of str
        Files of the network's weights, see `metrics.measuring.open_networks`; the published ones by default.
    cache_folder : Path, optional
        Where a network's features are kept, see `metrics.cache`.
    progress : Counter, optional
        Is told how many reals are done.

    Raises
    ------
    InputError
        If the options do not fit the images, or the network cannot be had.
    """
    total, side = reals.num_images or 0, samples.shape[-1]
    if not 1 <= count < total:
        raise InputError(f"{reals.name} has {total} images; --nearest must be from 1 to {total - 1}, got {count}")
    if by != PIXELS and by not in features.names():
        raise InputError(f"--by {by} is unknown; choose {PIXELS} or a network: {', '.join(features.names())}")
    if resolution is not None and (by != PIXELS or level_of(resolution, "--compare-at") > level_of(side)):
        raise InputError(f"--compare-at {resolution} needs --by {PIXELS} and images of that side; these have {side}")
    if weights and by == PIXELS:
        raise InputError(f"--weights needs --by and a network ({', '.join(features.names())}); leave it out")
    networks = open_networks([by], weights=weights, cache=cache_folder, no_cache=cache_folder is None)
    if unused := [f"{name}={file}" for name, file in networks.weights.items() if name != by]:
        raise InputError(f"--weights {unused[0]} is not of what is compared, --by {by}; leave it out or change --by")
    network = None if by == PIXELS else networks(by)

    def points(images: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if network is not None:
            return network.features(images, rows, images.read_each).astype(np.float64)
        pixels = images.read(rows)
        if resolution is not None:
            pixels = pyramid(pixels)[level_of(resolution)]
        return pixels.reshape(len(rows), -1).astype(np.float64)

    some = np.sort(Order(total, 0).rows(0, min(len(samples), total)))
    queries = np.concatenate([points(ArrayImageSet(samples), np.arange(len(samples))), points(reals, some)])
    search = Search(queries, count, np.concatenate([np.full(len(samples), -1), some]))
    batch = choose_batch_size(side, [] if network is None else [network])
    for start in range(0, total, batch):
        rows = np.arange(start, min(start + batch, total))
        search.add(rows, points(reals, rows))
        if progress is not None:
            progress.update(len(rows))
    networks.close()
    found = search.found()
    unit = 1 / np.sqrt(queries.shape[1]) if network is None else 1.0
    of_samples, of_reals = (
        Nearest(found.rows[part], found.distances[part] * unit)
        for part in (slice(len(samples)), slice(len(samples), None))
    )
    compared = resolution or side
    text = f"pixels at {compared}x{compared}, rms in grey levels" if network is None else f"features of {by}"
    return Neighbours(of_samples, of_reals, text)


def picture(samples: NDArray[np.uint8], reals: ImageSet, nearest: Nearest) -> NDArray[np.uint8]:
    """One row for every sample: the sample, a white gap, its neighbours from near to far; (height, width, 3)."""
    count, _, side, _ = samples.shape
    gap = max(2, side // 8)
    out = np.full((count * side, side + gap + nearest.rows.shape[1] * side, 3), 255, np.uint8)
    for k, rows in enumerate(nearest.rows):
        band = out[k * side : (k + 1) * side]
        band[:, :side] = samples[k].transpose(1, 2, 0)
        band[:, side + gap :] = reals.read(rows).transpose(2, 0, 3, 1).reshape(side, -1, 3)
    return out
