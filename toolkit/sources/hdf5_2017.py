"""HDF5 files of the 2017 Theano tools (data1x1, data2x2, ...): the finest level."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.array_source import ArraySource, labels_from
from toolkit.layouts.labels import Labels
from toolkit.layouts.npy import open_npy

_MAGIC = b"\x89HDF\r\n\x1a\n"
_NAME = re.compile(r"data(\d{1,5})x\1")
_MAX_CHUNK = 1 << 28  # bytes; one image of 1024x1024 has 3 MiB
_GZIP_ONLY = ("gzip",)
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}  # those of the library itself, by their numbers


def recognises(path: Path) -> bool:
    """True for an HDF5 file that has such data sets and is no pyramid of this program, which has a manifest."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return False
        with _opened(path) as file:
            ours = "manifest" in file or "manifest" in file.attrs
            return not ours and any(map(_NAME.fullmatch, file))
    except (OSError, InputError):
        return False


class Source(ArraySource):
    """Images in the order of the rows; labels of NAME-labels.npy beside NAME.h5, if it is there.

    Packed chunks are fetched through the library one by one, which it does under a lock of its own, and unpacked here,
    where threads do it at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._handle: tuple[int, Any] | None = None
        with _opened(path) as file:
            self._level, pixels = _finest(file, path)
            shape = tuple(map(int, pixels.shape))
            self._chunk = pixels.chunks
            self._filters = _filters(pixels, path)
        if self._chunk and math.prod(self._chunk) > _MAX_CHUNK:
            raise InputError(f"{path}: {self._level} has chunks of {self._chunk}, which take too much memory to read")
        self._shape = shape
        beside = path.with_name(f"{path.name.removesuffix(path.suffix)}-labels.npy")
        super().__init__(path, shape[0], (shape[3], shape[2]), [path, beside] if beside.is_file() else [path])

    def find_labels(self) -> Labels | None:
        """Classes from the file of labels."""
        return labels_from(open_npy(self._files[1]), len(self)) if len(self._files) > 1 else None

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (H, W) or (H, W, 3)."""
        alone = self._chunk == (1, *self._shape[1:]) and self._filters == _GZIP_ONLY
        pixels = self._from_chunk(index) if alone else self._from_library(index)
        return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))

    def _from_library(self, index: int) -> NDArray[np.uint8]:
        with _one_line(self.path):
            pixels: NDArray[np.uint8] = self._pixels()[index]
        return pixels

    def _from_chunk(self, index: int) -> NDArray[np.uint8]:
        shape = self._shape[1:]
        with _one_line(self.path):
            skipped, packed = self._pixels().id.read_direct_chunk((index, 0, 0, 0))
            stream = zlib.decompressobj()
            content = packed if skipped else stream.decompress(packed, math.prod(shape) + 1)
            if not (skipped or stream.eof):  # too long, or its checksum was not reached
                raise ValueError("a chunk of another length")
            return np.frombuffer(content, np.uint8).reshape(shape)

    def _pixels(self) -> Any:
        """Data set of the finest level, opened once in every process: handles do not survive a fork."""
        with self._lock:
            if self._handle is None or self._handle[0] != os.getpid():
                import h5py

                self._handle = os.getpid(), h5py.File(self.path, "r")
            return self._handle[1][self._level]


def _finest(file: Any, path: Path) -> tuple[str, Any]:
    """Name and data set of the finest level."""
    import h5py

    names = sorted(filter(_NAME.fullmatch, file), key=lambda name: int(name.split("x")[1]))
    if not names:
        raise InputError(f"{path} has no data sets data1x1, data2x2 and so on; it is no file of the 2017 tools")
    counts = {}
    for name in names:
        link = file.get(name, getlink=True)
        pixels = file[name] if isinstance(link, h5py.HardLink) else None  # other links lead to other files
        if not isinstance(pixels, h5py.Dataset) or pixels.external or pixels.is_virtual:
            raise InputError(f"{path}: {name} is no data set of this file; copy all images into one file")
        side = int(name.split("x")[1])
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] not in ((1, side, side), (3, side, side)):
            raise InputError(
                f"{path}: {name} is {pixels.dtype} of shape {pixels.shape}, not uint8 of shape "
                f"(N, 1 or 3, {side}, {side}); make the file again"
            )
        counts[name] = pixels.shape[0]
    if len(set(counts.values())) > 1 or not min(counts.values()):
        found = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"{path} was not finished: its levels have different numbers of images ({found}); make it again"
        )
    return names[-1], file[names[-1]]


def _filters(pixels: Any, path: Path) -> tuple[str, ...]:
    """Names of what is done to a chunk when it is stored."""
    plan = pixels.id.get_create_plist()
    numbers = [plan.get_filter(place)[0] for place in range(plan.get_nfilters())]
    if unknown := [number for number in numbers if number not in _FILTERS]:
        raise InputError(
            f"{path}: its chunks are packed by filter {unknown[0]}; only gzip is known: copy it with h5repack"
        )
    return tuple(_FILTERS[number] for number in numbers)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    with _one_line(path), h5py.File(path, "r") as file:
        yield file


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever the HDF5 library says of a damaged file, in one line."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, zlib.error) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        raise InputError(f"{path} cannot be read as HDF5 ({reason}); it is damaged, copy or make it again") from None
