"""MNIST-RGB, the set of 1000 modes, made from MNIST: three random digits an image (by name only)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts import idx
from toolkit.layouts.array_source import ArraySource
from toolkit.layouts.labels import Labels

NUM_IMAGES = 1_000_000
_SEED = 123
_NUM_DIGITS = 10


def recognises(path: Path) -> bool:  # noqa: ARG001
    """Never: the same files are also MNIST."""
    return False


class Source(ArraySource):
    """Every image has three digits, drawn with replacement; its label is 100 red + 10 green + blue.

    The paper measures on it how many of the 1000 modes a generator finds (Karras et al. 2018, appendix E, after Metz
    et al. 2017). Number, seed and order of the draws are those of its released data tool.
    """

    def __init__(self, path: Path) -> None:
        self._digits = digits = idx.Digits(path)
        # One call draws what one call per image would: the generator is asked for the same numbers in the same order.
        draws = np.random.RandomState(_SEED).randint(digits.num_images, size=(NUM_IMAGES, 3))
        self._draws = draws.astype(np.uint32)
        super().__init__(path, NUM_IMAGES, (digits.side, digits.side), digits.files)

    def find_labels(self) -> Labels | None:
        """Modes from the classes of the digits."""
        digits = self._digits.labels()
        if digits is None:
            return None
        if len(digits.names) > _NUM_DIGITS:
            raise InputError(
                f"{self.path} has {len(digits.names)} classes, not {_NUM_DIGITS} digits; use MNIST or pass --no-labels"
            )
        modes = digits.numbers[self._draws] @ np.array([100, 10, 1])
        return Labels(modes, tuple(f"{mode:03d}" for mode in range(_NUM_DIGITS**3)))

    def image_name(self, index: int) -> str:
        """Number of the image, and of its three digits in MNIST."""
        red, green, blue = self._draws[index]
        return f"{index:06d}-{red}-{green}-{blue}"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (32, 32, 3)."""
        return np.stack([self._digits.padded(int(digit)) for digit in self._draws[index]], axis=-1)
