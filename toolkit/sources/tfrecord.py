"""TFRecord files of the 2017 TensorFlow tools: the folder (finest level), or one file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.tfrecord import HEADER_BYTES, OVERHEAD_BYTES, image_of, payload_length
from toolkit.layouts.array_source import ArraySource, labels_from
from toolkit.layouts.byte_ranges import Stored
from toolkit.layouts.labels import Labels
from toolkit.layouts.npy import open_npy

_LEVEL = re.compile(r"(?P<stem>.*)-r(?P<level>\d\d)\.tfrecords")


def recognises(path: Path) -> bool:
    """True for a file that begins with a record, and for a folder with such a file of the usual name."""
    try:
        files = _levels(path) if path.is_dir() else [path]
        return any(file.is_file() and _first_record(file) for file in files[-1:])
    except OSError:
        return False


class Source(ArraySource):
    """Images of the finest level, in the order of their records; labels of NAME-rxx.labels, if it is there."""

    def __init__(self, path: Path) -> None:
        files = _levels(path) if path.is_dir() else [path]
        stems = sorted({match["stem"] for file in files if (match := _LEVEL.fullmatch(file.name))})
        if not files:
            raise InputError(f"{path} holds no file NAME-rNN.tfrecords; name a folder that does")
        if len(stems) > 1:
            raise InputError(f"{path} holds several data sets ({', '.join(stems)[:200]}); name the file of one level")
        self._file = files[-1]
        self._content = Stored(self._file)
        self._record = _first_record(self._file)
        size = self._file.stat().st_size
        if not self._record or size < self._record:
            raise InputError(f"{self._file} does not begin with a whole record; it is damaged or no TFRecord file")
        first = image_of(self._content.read(0, self._record), f"{self._file}: record 0")
        num_images, rest = divmod(size, self._record)
        if rest:
            raise InputError(
                f"{self._file} has {size} bytes, no multiple of the {self._record} of its first record; "
                "it is cut short or its images are of several sizes, make or copy it again"
            )
        if len(first) not in (1, 3):
            raise InputError(f"{self._file}: images of {len(first)} channels; 1 or 3 are allowed")
        self._shape = first.shape
        beside = [self._file.with_name(f"{stem}-rxx.labels") for stem in stems]
        files = [self._file, *(file for file in beside if file.is_file())]
        super().__init__(path, num_images, (first.shape[2], first.shape[1]), files)

    def find_labels(self) -> Labels | None:
        """Classes from the file of labels."""
        if len(self._files) == 1:
            return None
        vectors = open_npy(self._files[1])
        # A set without classes has vectors of no numbers.
        return None if vectors.shape[1:] == (0,) else labels_from(vectors, len(self))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (H, W) or (H, W, 3)."""
        where = f"{self._file}: record {index}"
        pixels = image_of(self._content.read(index * self._record, self._record), where)
        if pixels.shape != self._shape:
            raise InputError(f"{where} is of shape {pixels.shape}, the first of {self._shape}; make the file again")
        return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _levels(folder: Path) -> list[Path]:
    """Files of a folder that are named as levels, the finest last."""
    found = {file: match for file in folder.glob("*.tfrecords") if (match := _LEVEL.fullmatch(file.name))}
    return sorted(found, key=lambda file: (found[file]["level"], file.name))


def _first_record(file: Path) -> int:
    """Length of the first record of a file, 0 if it does not begin with one."""
    with file.open("rb") as opened:
        length = payload_length(opened.read(HEADER_BYTES))
    return 0 if length is None else length + OVERHEAD_BYTES
