"""What a metric measures: a set of RGB images, read by number. `metrics.opening` opens them."""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import formats, levels, manifest
from datasets.errors import InputError


class ImageSet(abc.ABC):
    """Square RGB images of one size, each known by its number.

    Attributes
    ----------
    name : str
        What the user calls it, as a rule the path.
    kind : str
        ``"pyramid"``, ``"folder"``, ``"array"``, ``"run"``, ...
    num_images : int or None
        How many there are; None if there are as many as are asked for (a generator).
    resolution : int or None
        Side length in pixels; None if the images differ in size or are not square, and then `read` refuses.
    details : mapping
        What else a result says of the set, JSON-able: the seed of a generator, images that were left out.
    warnings : tuple of str
        What a reader of a value must know about the set.
    """

    name: str
    kind: str
    num_images: int | None
    resolution: int | None
    details: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of the content: equal images (or generators and seeds) have equal digests."""

    @abc.abstractmethod
    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of the given numbers.

        What image number k is must not depend on the other numbers of the call, nor on earlier calls.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Numbers in [0, num_images), in any order.

        Returns
        -------
        ndarray of uint8, shape (n, 3, resolution, resolution)

        Raises
        ------
        InputError
            If an image is damaged, or they are not square and of one size.
        """

    def read_each(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.uint8]]:
        """Images of the given numbers, each of shape (3, h, w), whatever their sizes."""
        return list(self.read(rows))

    def check_uniform(self) -> int:
        """Give the side of the images, if they are square and of one size.

        Raises
        ------
        InputError
            If they are not.
        """
        if self.resolution is None:
            raise InputError(f"{self.name}: the images differ in size; this metric needs square images of one size")
        return self.resolution


class ArrayImageSet(ImageSet):
    """Images in memory.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, r, r)
        RGB in [0, 255]; not copied, so do not change it while it is in use.
    name, kind : str
        How results call it.

    Raises
    ------
    InputError
        If the array is of another shape or type, or empty.
    """

    def __init__(self, images: NDArray[np.uint8], name: str = "array", kind: str = "array") -> None:
        fault = ""
        if images.dtype != np.uint8:
            fault = "; turn floats in [-1, 1] into uint8 first"
        elif images.ndim != 4 or images.shape[2] != images.shape[3]:
            fault = "; crop them to squares, or give files of images to a metric on features"
        elif images.shape[1] != 3:
            fault = "; repeat grey three times: numpy.repeat(x, 3, axis=1)" if images.shape[1] == 1 else "; RGB only"
        elif images.size == 0:
            fault = ", which is none"
        if fault:
            found = f"{images.dtype} {images.shape}"
            raise InputError(f"{name}: images must be uint8 in 0..255 of shape (n, 3, r, r), got {found}{fault}")
        self.name, self.kind = name, kind
        self.num_images, self.resolution = len(images), images.shape[-1]
        self._images = images

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        digest = hashlib.sha256()
        for start in range(0, len(self._images), 256):  # the array may be larger than memory
            digest.update(self._images[start : start + 256].tobytes())
        return digest.hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy of the given images."""
        return self._images[rows]


class PyramidImageSet(ImageSet):
    """One level of a finished pyramid; every image read is checked against the digest stored beside it.

    Parameters
    ----------
    reader : PyramidReader
        From `datasets.formats.open_pyramid`.
    resolution : int, optional
        Side of the level; the finest one if not given.
    """

    def __init__(self, reader: formats.PyramidReader, resolution: int | None = None) -> None:
        self._level = levels.level_of(resolution or reader.manifest.resolution)
        self._pixels = reader.level(self._level)  # refuses a level that is not there
        self._row_digests = reader.row_digests(self._level)
        self._digest = reader.manifest.level_digests[levels.name_of(self._level)]
        self.name, self.kind = str(reader.path), "pyramid"
        self.num_images, self.resolution = len(self._pixels), levels.resolution_of(self._level)

    @property
    def digest(self) -> str:
        """Digest of the level, from the manifest: equal for all file formats."""
        return self._digest

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the given images.

        Raises
        ------
        InputError
            If the pixels of an image are not the ones that were written.
        """
        images = self._pixels.gather(rows)
        for row, image in zip(rows, images, strict=True):
            if manifest.row_digest(image) != self._row_digests[row].tobytes():
                raise InputError(
                    f"{self.name}: image {row} of {levels.name_of(self._level)} is damaged; build the file again"
                )
        return images


class BoxFiltered(ImageSet):
    """Another set at a coarser resolution, by the box filter of `datasets.levels` (the one pyramids are made with)."""

    def __init__(self, source: ImageSet, resolution: int) -> None:
        self._level = levels.level_of(resolution)
        if levels.level_of(source.check_uniform(), f"{source.name}: side") < self._level:
            raise InputError(
                f"{source.name} has {source.resolution} pixels a side; resolution {resolution} would enlarge it"
            )
        self._source = source
        self.name, self.kind, self.num_images, self.resolution = source.name, source.kind, source.num_images, resolution
        self.details, self.warnings = source.details, source.warnings

    @property
    def digest(self) -> str:
        """Digest of the images before the filter."""
        return self._source.digest

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the given images and shrink them."""
        return levels.pyramid(self._source.read(rows))[self._level]
