"""MNIST or Fashion-MNIST, IDX files packed or not: the folder (training), or one file; 28 -> 32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.layouts import idx
from toolkit.layouts.array_source import ArraySource
from toolkit.layouts.labels import Labels


def recognises(path: Path) -> bool:
    """True for an IDX file of images, and for a folder with one of the usual name."""
    return idx.recognises(path)


class Source(ArraySource):
    """Grey images with two black pixels added on every side, and the labels of the file beside."""

    def __init__(self, path: Path) -> None:
        self._digits = digits = idx.Digits(path)
        super().__init__(path, digits.num_images, (digits.side, digits.side), digits.files)

    def find_labels(self) -> Labels | None:
        """Classes from the file beside the images."""
        return self._digits.labels()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (32, 32)."""
        return self._digits.padded(index)
