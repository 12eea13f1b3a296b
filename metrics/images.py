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
    passing : bool
        The set will not be seen again, as that of a snapshot: its features are not kept on disk.
    """

    name: str
    kind: str
    num_images: int | None
    resolution: int | None
    details: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    passing: bool = False

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
        remedy = remedy_for(images)
        if not remedy and images.shape[1] != 3:
            remedy = "put the channels first: x.transpose(0, 3, 1, 2)"
        if remedy:
            found = f"{images.dtype} {images.shape}"
            raise InputError(f"{name}: images must be uint8 in 0..255 of shape (n, 3, r, r), got {found}; {remedy}")
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


def remedy_for(images: NDArray[Any]) -> str:
    """How to turn an array, called x, into images: uint8 of shape (n, 3, r, r) or (n, r, r, 3); empty if it is so.

    Recipes follow the range of the numbers and the axes that were found, so that none of them makes wrong images.
    """
    shape = images.shape
    if images.size == 0:
        return "it holds no image"
    if images.ndim == 3 and (3 in (shape[0], shape[2])):
        return "a single image needs an axis before its own: x[None]"
    if images.ndim == 3:
        return "grey images need three equal channels: numpy.repeat(x[:, None], 3, axis=1)"
    if images.ndim != 4:
        return "give it four axes: images, channels, rows, columns"
    first = shape[1] <= 4 and shape[1] < shape[3]  # channels before rows, as far as the shape tells
    channels, sides = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
    if channels == 1:
        return f"repeat grey three times: numpy.repeat(x, 3, axis={1 if first else 3})"
    if channels in (2, 4):
        kept = "1" if channels == 2 else "3"
        return f"RGB only, drop the alpha channel: {f'x[:, :{kept}]' if first else f'x[..., :{kept}]'}"
    if channels != 3:
        return f"RGB only, these have {channels} channels"
    if sides[0] != sides[1]:
        return f"they are {sides[1]}x{sides[0]} pixels: crop them to squares, or give files to a metric on features"
    return "" if images.dtype == np.uint8 else _recipe(images)


def _recipe(images: NDArray[Any]) -> str:
    """How to turn numbers of another type into uint8, by their range."""
    if images.dtype.kind == "b":
        return "turn truth values into grey levels: x.astype('uint8') * 255"
    if images.dtype.kind not in "fiu":
        return "give it numbers"
    extremes = [(part.min(), part.max()) for part in (images[k : k + 256] for k in range(0, len(images), 256))]
    low, high = float(min(one for one, _ in extremes)), float(max(one for _, one in extremes))
    if not all(np.isfinite(pair).all() for pair in extremes):
        return "it holds numbers that are not finite"
    found, whole = f"its numbers run from {low:.6g} to {high:.6g}", images.dtype.kind != "f"
    if low >= 0 and high <= 255 and whole:
        return f"{found}, so x.astype('uint8') will do"
    if low >= 0 and high <= 65535 and images.dtype == np.uint16:
        return f"{found}; if white is 65535: numpy.round(x / 257).astype('uint8')"
    if low >= 0 and high <= 1 and not whole:
        return f"{found}; if white is 1: numpy.clip(x * 255, 0, 255).round().astype('uint8')"
    if -2 <= low < 0 and high <= 2 and not whole:
        return f"{found}; if black is -1 and white 1: numpy.clip(x * 127.5 + 127.5, 0, 255).round().astype('uint8')"
    if low >= 0 and 2 < high <= 256 and not whole:
        return f"{found}; if white is 255: numpy.clip(x, 0, 255).round().astype('uint8')"
    return f"{found}: bring black to 0 and white to 255, then numpy.clip(x, 0, 255).round().astype('uint8')"


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
