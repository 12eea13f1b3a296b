"""SVHN, cropped digits: the folder (training), or train_, test_ or extra_32x32.mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.array_source import ArraySource, named
from toolkit.layouts.labels import Labels
from toolkit.layouts.matlab import arrays_in, is_matlab

_TRAIN = "train_32x32.mat"
_DIGITS = tuple("0123456789")
_TEN_IS_ZERO = 10  # the digit 0 has the label 10
_SIDE = 32


def recognises(path: Path) -> bool:
    """True for a MATLAB file with the arrays X and y, and for a folder with the training file."""
    try:
        place = path / _TRAIN if path.is_dir() else path
        return place.is_file() and is_matlab(place) and {"X", "y"} <= arrays_in(place).keys()
    except (OSError, InputError):
        return False


class Source(ArraySource):
    """Images of the array X, uint8 (32, 32, 3, N), labels of the array y (Netzer et al. 2011)."""

    def __init__(self, path: Path) -> None:
        file = path / _TRAIN if path.is_dir() else path
        arrays = arrays_in(file)
        pixels, digits = arrays.get("X"), arrays.get("y")
        if (
            pixels is None
            or pixels.dtype != np.uint8
            or pixels.shape[:3] != (_SIDE, _SIDE, 3)
            or len(pixels.shape) != 4
        ):
            raise InputError(f"{file} has no array X of uint8 and shape (32, 32, 3, N); use the cropped digits of SVHN")
        self._pixels = pixels
        num_images = pixels.shape[3]
        if digits is None or not num_images or sorted(digits.shape) != sorted((num_images, 1)):
            raise InputError(f"{file} has no array y of {num_images} labels; use the cropped digits of SVHN")
        self._digits = digits
        super().__init__(path, num_images, (_SIDE, _SIDE), [file])

    def find_labels(self) -> Labels:
        """Digits from the array y."""
        numbers = self._digits.values().astype(np.int64)
        return named(np.where(numbers == _TEN_IS_ZERO, 0, numbers), _DIGITS, str(self._files[0]))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (32, 32, 3)."""
        size = 3 * _SIDE * _SIDE
        stored = np.frombuffer(self._pixels.content.read(index * size, size), np.uint8)
        return np.ascontiguousarray(stored.reshape(3, _SIDE, _SIDE).transpose(2, 1, 0))  # stored by columns
