"""Arrays in the IDX format of MNIST, plain or packed with gzip.

A file is two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension in 4 bytes, big endian,
and then the numbers (LeCun, Cortes, Burges: "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import dataclasses
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.array_source import numbered
from toolkit.layouts.byte_ranges import GZIP, ByteRange, Inflated, Stored
from toolkit.layouts.labels import Labels

_UNSIGNED_BYTES = b"\0\0\x08"
_TRAIN = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
_BORDERS = {28: 2}  # side -> black on each side, up to a power of two, as the 2017 tools do it


@dataclasses.dataclass(frozen=True)
class IdxFile:
    """A file of unsigned bytes.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        Of the array in it.
    """

    path: Path
    shape: tuple[int, ...]
    content: ByteRange  # header and numbers

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:])

    def rows(self, first: int, count: int) -> NDArray[np.uint8]:
        """Some rows, read-only."""
        start = 4 + 4 * len(self.shape) + first * self.row_bytes
        return np.frombuffer(self.content.read(start, count * self.row_bytes), np.uint8).reshape(count, *self.shape[1:])


def open_idx(path: Path, dimensions: int) -> IdxFile | None:
    """Open a file of unsigned bytes of so many dimensions; None if it is something else."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    content: ByteRange = Inflated(path, GZIP) if packed else Stored(path)
    try:
        if content.read(0, 4) != _UNSIGNED_BYTES + bytes([dimensions]):
            return None
        shape = struct.unpack(f">{dimensions}I", content.read(4, 4 * dimensions))
    except InputError:  # shorter than that, or gzip of something else that is damaged
        return None
    return IdxFile(path, shape, content)


class Digits:
    """Images of an MNIST-like set with their labels, padded to a power of two.

    Parameters
    ----------
    path : Path
        The folder as it was downloaded, for the training images; or one file of images, whatever its name.

    Attributes
    ----------
    num_images : int
        At least 1.
    side : int
        Of a padded image, in pixels.
    files : list of Path
        The file of images, and that of labels beside it, if there is one.

    Raises
    ------
    InputError
        If there are no images, or they are damaged.
    """

    def __init__(self, path: Path) -> None:
        images = _find_images(path)
        if images is None:
            raise InputError(
                f"{path} is neither an IDX file of images nor a folder with {_TRAIN[0]}[.gz]; name one of these"
            )
        self.num_images, height, width = images.shape
        if not self.num_images or height != width or not 0 < height <= 1 << 11:
            raise InputError(f"{images.path} has {self.num_images} images of {width}x{height} pixels; use square ones")
        self._images = images
        self._border = _BORDERS.get(width, 0)
        self.side = width + 2 * self._border
        self.files = [images.path, *_labels_beside(images.path)]
        if isinstance(images.content, Stored):
            images.rows(self.num_images - 1, 1)  # so that a file that is cut short is found before any work is done

    def labels(self) -> Labels | None:
        """Classes from the file of labels; None if there is none.

        Raises
        ------
        InputError
            If it is damaged, or not of these images.
        """
        if len(self.files) == 1:
            return None
        images, path = self.files
        stored = open_idx(path, 1)
        if stored is None or stored.shape[0] != self.num_images:
            found = "no IDX file of labels" if stored is None else f"of {stored.shape[0]} labels"
            raise InputError(
                f"{path} is {found}, but {images} has {self.num_images} images; download it again or pass --no-labels"
            )
        numbers = stored.rows(0, self.num_images).astype(np.int64)
        return numbered(numbers, int(numbers.max()) + 1)

    def padded(self, index: int) -> NDArray[np.uint8]:
        """One image with black on all sides, shape (side, side)."""
        padded = np.zeros((self.side, self.side), np.uint8)
        inside = slice(self._border, self.side - self._border)
        padded[inside, inside] = self._images.rows(index, 1)[0]
        return padded


def recognises(path: Path) -> bool:
    """True if `Digits` opens it, as far as the start of the images tells."""
    try:
        return _find_images(path) is not None
    except OSError:
        return False


def _find_images(path: Path) -> IdxFile | None:
    places = [path / (name + suffix) for name in _TRAIN for suffix in ("", ".gz")] if path.is_dir() else [path]
    return next((found for place in places if place.is_file() and (found := open_idx(place, 3))), None)


def _labels_beside(images: Path) -> list[Path]:
    """File of labels that is named like a file of images, packed or not; one or none."""
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    places = [images.with_name(name + suffix) for suffix in ("", ".gz")]
    return [place for place in places if place != images and place.is_file()][:1]
