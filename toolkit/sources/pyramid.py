"""A pyramid made by this program, of any format: its finest level, with names and labels."""

from __future__ import annotations

import threading
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.formats import is_pyramid, open_pyramid
from datasets.levels import name_of
from datasets.manifest import row_digest
from toolkit.layouts.array_source import ArraySource
from toolkit.layouts.labels import Labels
from toolkit.sources import hdf5_2017


def recognises(path: Path) -> bool:
    """True for all that one of the formats recognises, other than HDF5 files of the 2017 tools."""
    try:
        return is_pyramid(path) and not hdf5_2017.recognises(path)
    except (OSError, InputError):
        return False


class Source(ArraySource):
    """Rows of the finest level; each is checked against its digest when it is read."""

    def __init__(self, path: Path) -> None:
        self._reader = reader = open_pyramid(path)
        self._level = reader.manifest.top_level
        self._lock = threading.Lock()
        self._names = _unique(reader.sources())
        side = reader.manifest.resolution
        super().__init__(path, reader.manifest.num_images, (side, side), reader.files())

    def find_labels(self) -> Labels | None:
        """Classes that are stored with the pyramid."""
        numbers, manifest = self._reader.labels(), self._reader.manifest
        if numbers is None:
            return None
        num_classes = manifest.num_classes or int(numbers.max()) + 1
        return Labels(numbers, tuple(manifest.label_names or map(str, range(num_classes))))

    @cached_property
    def _digests(self) -> NDArray[np.uint8]:
        return self._reader.row_digests(self._level)

    def image_name(self, index: int) -> str:
        """Name of the image from which the row was made."""
        return self._names[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (R, R, 3)."""
        pixels = np.array(self._reader.level(self._level)[index])
        with self._lock:
            digest = self._digests[index]
        if row_digest(pixels) != digest.tobytes():
            raise InputError(
                f"{self.path}: {name_of(self._level)}, row {index} ({self._names[index]}): the pixels do not match "
                "their digest; it is damaged, build it again"
            )
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _unique(names: list[str]) -> list[str]:
    """Names, those that are there more than once with the number of their row."""
    count = Counter(names)
    return [name if count[name] == 1 else f"{name}#{row}" for row, name in enumerate(names)]
