"""Sources whose images are rows of an array: all of one size, 8 bits a channel, named by their numbers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit import sources
from toolkit.layouts.labels import MAX_CLASSES, Labels
from toolkit.layouts.npy import NpyArray
from toolkit.sources import Item, file_stamp

_ADVICE = "mend it, or pass --no-labels"
_ROWS = 1 << 12  # of one-hot vectors looked at in one go


class ArraySource(sources.Source):
    """Base of the sources that have an array of pixels. A subclass opens it and calls this constructor.

    Parameters
    ----------
    path : Path
        Where the source is.
    num_images : int
        At least 1.
    size : tuple of int
        Width and height of every image.
    files : sequence of Path
        All files that the images and labels come from.
    """

    def __init__(self, path: Path, num_images: int, size: tuple[int, int], files: Sequence[Path]) -> None:
        self.path = path
        self.name = path.resolve().name
        self._num_images = num_images
        self._size = size
        self._files = files
        self._labels: NDArray[np.int64] | None = None

    def find_labels(self) -> Labels | None:
        """Classes of all images; None if they have none. An InputError if they are at fault."""
        return None

    def read_labels(self) -> None:
        """Find the labels, see `toolkit.sources.Source`."""
        found = self.find_labels()
        if found is not None:
            self.label_names, self._labels = found.names, found.numbers

    @property
    def stamp(self) -> str:
        """Sizes and times of the files."""
        return " ".join(map(file_stamp, self._files))

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self._num_images:
            raise IndexError(index)
        name = self.image_name(index)
        where = f"{self.path}: {name}"
        label = None if self._labels is None else int(self._labels[index])
        return Item(name, where, partial(_size, *self._size, where), partial(self.image, index), label)

    def image_name(self, index: int) -> str:
        """Name of image number `index`: the number itself, unless a subclass knows better."""
        return f"{index:06d}"

    @abc.abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels of image number `index`, shape (H, W) or (H, W, 3); safe in threads."""


def labels_from(array: NpyArray, num_images: int) -> Labels:
    """Classes from a stored array: numbers of shape (N,) or (N, 1), or one-hot vectors of shape (N, C).

    Raises
    ------
    InputError
        If it is neither, or not of that length.
    """
    width = array.shape[1] if len(array.shape) == 2 else 1
    if len(array.shape) not in (1, 2) or array.shape[0] != num_images or array.dtype.kind not in "iufb" or width < 1:
        raise InputError(
            f"{array.where} is {array.dtype} of shape {array.shape}, not class numbers or one-hot vectors of "
            f"{num_images} images; {_ADVICE}"
        )
    if width > MAX_CLASSES:
        raise InputError(f"{array.where}: vectors of {width} numbers, more than {MAX_CLASSES} classes; {_ADVICE}")
    numbers = np.empty(num_images, np.int64)
    for first in range(0, num_images, _ROWS):
        rows = array.rows(first, min(_ROWS, num_images - first)).reshape(-1, width)
        if width == 1:
            good = np.isin(rows, np.arange(MAX_CLASSES)).all(axis=1)
        else:
            good = ((rows == 1).sum(axis=1) == 1) & ((rows != 0).sum(axis=1) == 1)
        if not good.all():
            wrong = int(np.flatnonzero(~good)[0])
            found = "a vector that is not one-hot" if width > 1 else f"{rows[wrong, 0]}, not in 0..{MAX_CLASSES - 1}"
            raise InputError(
                f"{array.where}: the label of image {first + wrong} is {found}; class numbers are needed; {_ADVICE}"
            )
        numbers[first : first + len(rows)] = rows.argmax(axis=1) if width > 1 else rows[:, 0]
    return numbered(numbers, width if width > 1 else int(numbers.max()) + 1)


def numbered(numbers: NDArray[np.int64], num_classes: int) -> Labels:
    """Labels of classes that have no names but their numbers."""
    return Labels(numbers, tuple(map(str, range(num_classes))))


def named(numbers: NDArray[np.int64], names: tuple[str, ...], where: str) -> Labels:
    """Labels of classes that have names.

    Raises
    ------
    InputError
        If there is a number that has no name.
    """
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(names):
        index = int(np.flatnonzero((numbers < 0) | (numbers >= len(names)))[0])
        raise InputError(
            f"{where}: the label of image {index} is {numbers[index]}, not a class number in 0..{len(names) - 1}; "
            "it is damaged, copy or download it again"
        )
    return Labels(numbers, names)


def _size(width: int, height: int, where: str, *, max_pixels: int | None = None) -> tuple[int, int]:
    """Size of an image, in the manner of `datasets.decode.upright_size`."""
    if max_pixels is not None and width * height > max_pixels:
        raise InputError(
            f"{where} has {width}x{height} pixels, more than the {max_pixels} allowed; "
            "make it smaller, remove it or raise the limit"
        )
    return width, height
