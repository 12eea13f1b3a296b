"""Some images of a set at a time: pixels and features are made when a metric asks for them, and once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics import features
from metrics.extraction import Done, Extraction, tell_nobody
from metrics.feature_sets import FeatureSet
from metrics.images import ImageSet
from metrics.scores import Bar, Score

_MOST_BYTES = 32 << 20  # of pixels in memory at a time
_OF_ANY_SIZE = 64  # images of a batch if their sizes are not known
_SLOW_TO_READ = ("folder", "archive")  # kinds of sets whose images have to be decoded

Networks = Callable[[str], Extraction]
"""Gives the network of a name, the same one every time."""


@dataclasses.dataclass(frozen=True)
class FeatureSource:
    """Where a metric on features gets them.

    Attributes
    ----------
    name : str
        The network, which names the value.
    network : Extraction or None
        None if both sides are files of features, which need none.
    protocol : dict
        What a result says of the features.
    warnings : tuple of str
        What a reader of the value must know.
    """

    name: str
    network: Extraction | None
    protocol: dict[str, Any]
    warnings: tuple[str, ...]


def feature_source(
    score: type[Score], sets: Sequence[ImageSet], extractor: str | None, networks: Networks | None
) -> FeatureSource:
    """Find where a metric gets its features: the network is opened only if something has to go through it.

    Parameters
    ----------
    score : type of Score
        A metric on features.
    sets : sequence of ImageSet
        All sets that it looks at.
    extractor : str, optional
        The network that the user asks for; otherwise the one that a file of features names, or the metric's own.
    networks : callable, optional
        Opens networks.

    Raises
    ------
    InputError
        If files of features do not fit the network, each other or the metric, or the network cannot be had.
    """
    given = [images for images in sets if isinstance(images, FeatureSet)]
    recorded = [images.network["network"] for images in given if images.network is not None]
    name = score.network(extractor or next(iter(recorded), None)) or ""
    if score.own_network_only:
        _check_special(score, name, sets)
    unknown = tuple(
        f"which network made the features of {images.name} is not recorded in it; they are taken for those of {name}"
        for images in given
        if images.network is None
    )
    if len(given) == len(sets) and score.needs != "logits":
        known = next((images.network for images in given if images.network is not None), {"network": name})
        for images in given:
            images.check_fits(name, given[0].feature_size, {**known, "network": name})
        return FeatureSource(name, None, {**known, "feature_size": given[0].feature_size}, unknown)
    if networks is None:
        raise ValueError(f"{score.__module__} needs networks")
    network = networks(name)
    if score.needs == "logits" and network.extractor.num_classes is None:
        raise InputError(f"{name} is no classifier, which {score.title} needs; choose another --extractor")
    for images in given:
        images.check_fits(name, network.extractor.feature_size, network.extractor.cache_key)
    return FeatureSource(name, network, network.extractor.protocol, (*network.extractor.warnings, *unknown))


def _check_special(score: type[Score], name: str, sets: Sequence[ImageSet]) -> None:
    """Refuse images of another size than the network of a metric of special images sees, and features of another."""
    network = features.load(name)
    for images in sets:
        if isinstance(images, FeatureSet):
            images.check_fits(name, network.feature_size, {"network": name})
        elif (side := images.check_uniform()) != network.input_size:
            raise InputError(
                f"{images.name} has images of {side}x{side}; {score.title} are measured on images of "
                f"{network.input_size}x{network.input_size} by the {network.title}"
            )


class Batch:
    """Some images of a set.

    Parameters
    ----------
    images : ImageSet
    rows : ndarray of int64, shape (n,)
        Their numbers in the set.
    first : int
        Place of the first one in the order of the measurement.
    """

    def __init__(self, images: ImageSet, rows: NDArray[np.int64], first: int = 0) -> None:
        self.images, self.rows, self.first = images, rows, first
        self._features: dict[Extraction | None, NDArray[np.float32]] = {}
        self._read: dict[int, NDArray[np.uint8]] = {}  # images read ahead, by number

    def read_ahead(self, pixels: bool, networks: Mapping[Extraction | None, int]) -> None:
        """Read what will be asked for: all pixels, or the images whose features are not known.

        Parameters
        ----------
        pixels : bool
            Metrics on pixels will look at this batch.
        networks : mapping of Extraction to int
            Networks whose features will be asked for, and of how many of the first images.
        """
        if self.images.kind not in _SLOW_TO_READ:
            return
        if pixels:
            _ = self.pixels
            return
        unknown = [net.unknown(self.images, self.rows[: max(0, n)]) for net, n in networks.items() if net is not None]
        if unknown and len(rows := np.unique(np.concatenate(unknown))):
            self._read = dict(zip(rows.tolist(), self.images.read_each(rows), strict=True))

    @functools.cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """Images of one size, shape (n, 3, r, r)."""
        return self.images.read(self.rows)

    def features(
        self, network: Extraction | None, count: int, *, logits: bool, done: Done = tell_nobody
    ) -> NDArray[np.float32]:
        """Features, or logits, of at least the first `count` images, one row each.

        `done` is told of images that a network works on, see `Extraction.features`.
        """
        if network not in self._features:
            if isinstance(self.images, FeatureSet) and self.images.features is not None:
                self._features[network] = self.images.features[self.rows]
            elif network is not None:
                self._features[network] = network.features(self.images, self.rows[:count], self._each, done)
        found = self._features[network]
        return network.logits(found) if logits and network is not None else found

    def _each(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Pixels of some of the rows, each image of its own size; from what was read already if it was."""
        if self._read:
            return [self._read[row] for row in rows.tolist()]
        if "pixels" in self.__dict__:
            return list(self.pixels[np.isin(self.rows, rows)])
        if len(rows) == len(self.rows) and self.images.resolution is not None:
            return list(self.pixels)
        return self.images.read_each(rows)


class Steps:
    """Moves a bar through a batch, as networks work on its images.

    Parameters
    ----------
    bar : Bar
    count : int
        What the batch counts for, all in all.
    work : int
        Images that networks will work on, each network's by itself; 0 if none does.
    """

    def __init__(self, bar: Bar, count: int, work: int) -> None:
        self._bar, self._count, self._work = bar, count, work
        self._done = self._shown = 0

    def __call__(self, images: int) -> None:
        """Some more images are done."""
        self._done += images
        self._show(self._count * self._done // max(1, self._work))

    def finish(self) -> None:
        """The batch is done, by metrics without networks too."""
        self._show(self._count)

    def _show(self, place: int) -> None:
        place = min(place, self._count)
        if place > self._shown:
            self._bar.update(place - self._shown)
            self._shown = place


def one_ahead(batches: Iterable[Batch], prepare: Callable[[Batch], None]) -> Iterator[Batch]:
    """Batches in their order; while one is worked on, a thread prepares the next."""
    with ThreadPoolExecutor(1) as reader:
        waiting = None
        for batch in batches:
            started = batch, reader.submit(prepare, batch)
            if waiting is not None:
                waiting[1].result()
                yield waiting[0]
            waiting = started
        if waiting is not None:
            waiting[1].result()
            yield waiting[0]


def choose_batch_size(resolution: int | None, networks: Sequence[Extraction]) -> int:
    """Images to read at a time: some 32 MiB of pixels, and no fewer than a network works on at once.

    A power of two, since generators work in such blocks.
    """
    blocks = [1 << (network.extractor.block_size - 1).bit_length() for network in networks]
    if resolution is None:
        return max([_OF_ANY_SIZE, *blocks])
    fitting = _MOST_BYTES // (3 * resolution**2)
    return max(1 << max(1, min(8, fitting.bit_length() - 1)), *blocks, 1)
