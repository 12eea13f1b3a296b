"""Export a pyramid as the HDF5 file of the 2017 Theano tools: every level down to 1x1, gzip, labels beside."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.atomic import check_writable, replacing, system_errors
from datasets.formats import open_pyramid
from datasets.levels import levels_up_to, name_of, resolution_of
from datasets.manifest import one_hot
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.exports.rows import Exported, check_space, chosen_level, exported, verified_rows

_COARSEST = (1, 0)  # levels that a pyramid of ours does not have: 2x2 and 1x1
_CHUNK_BYTES = 128  # at least, by the released tool
_GZIP_LEVEL = 4  # likewise


def export_hdf5_2017(
    path: Path, out: Path, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Exported:
    """Write ``OUT.h5`` with the data sets ``data{r}x{r}``, finest first, and ``OUT-labels.npy`` if there are labels.

    Data sets are uint8 of shape (N, 3, r, r), extensible in N, in chunks of ceil(128 / (3 r^2)) images packed with
    gzip at level 4. The levels 2x2 and 1x1, which that tool's reader wants, are box filters of the full resolution,
    rounded once like all others. The labels are float32 of shape (N, classes), one hot. (Karras et al. 2018, released
    Theano code, h5tool; its float32 sums lose bits after more than eight halvings, these do not.)

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        File to make; it appears when it is whole, and after its labels.
    resolution : int or None
        Side of the finest level to write, in pixels; None: all levels.
    labels : bool
        Write the labels, if there are any.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If the pyramid is damaged or has no such level, or `out` or its labels exist or cannot be written.
    """
    labels_path = out.with_name(f"{out.name.removesuffix(out.suffix)}-labels.npy")
    check_writable(out)
    reader = open_pyramid(path)
    levels = levels_up_to(chosen_level(reader, resolution))
    size, classes = reader.manifest.num_images, reader.labels() if labels else None
    if classes is not None:
        check_writable(labels_path)
    check_space(out, size * sum(3 * resolution_of(level) ** 2 for level in levels))
    with replacing(out) as temporary, progress(size * (1 + len(levels)), "writing levels") as bar:
        meter = Meter(bar)
        with _HonestFile(temporary, out) as file:
            for level in reversed(levels):
                pack = _packed if _images_in_chunk(level) == 1 else np.copy
                rows = verified_rows(reader, level, pack, jobs=jobs, meter=meter)
                _write_level(file, level, size, rows)
            coarse = verified_rows(reader, reader.manifest.top_level, _coarse, jobs=jobs, meter=meter)
            for level, images in zip(_COARSEST, zip(*coarse, strict=True), strict=True):
                _write_level(file, level, size, images)
        if classes is None:
            return exported(out, temporary, "hdf5-2017", reader, (*_COARSEST[::-1], *levels), labelled=False)
        with system_errors(labels_path), replacing(labels_path) as hidden, hidden.open("wb") as labels_file:
            np.save(labels_file, one_hot(classes, reader.manifest.num_classes or 0), allow_pickle=False)
        found = exported(out, temporary, "hdf5-2017", reader, (*_COARSEST[::-1], *levels), labelled=True)
        return dataclasses.replace(found, files=2, bytes=found.bytes + labels_path.stat().st_size)


def _images_in_chunk(level: int) -> int:
    return -(-_CHUNK_BYTES // (3 * resolution_of(level) ** 2))


def _packed(pixels: NDArray[np.uint8]) -> bytes:
    return zlib.compress(np.ascontiguousarray(pixels).data, _GZIP_LEVEL)


def _coarse(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """2x2 and 1x1 of one image; the means are exact in float64, whose division by a power of two loses nothing."""
    channels, side, _ = pixels.shape
    quarters = pixels.reshape(channels, 2, side // 2, 2, side // 2).sum(axis=(2, 4), dtype=np.int64)
    means = quarters * 4 / side**2, quarters.sum(axis=(1, 2), keepdims=True) / side**2
    return tuple(np.rint(mean).astype(np.uint8) for mean in means)


def _write_level(file: _HonestFile, level: int, size: int, rows: Iterable[Any]) -> None:
    """Write a level from its rows: pixels, or packed chunks if a chunk holds one image."""
    import h5py

    side, count = resolution_of(level), _images_in_chunk(level)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((count, 3, side, side))
    plan.set_deflate(_GZIP_LEVEL)
    plan.set_obj_track_times(False)  # equal pixels give equal bytes
    space = h5py.h5s.create_simple((size, 3, side, side), (h5py.h5s.UNLIMITED, 3, side, side))
    data = h5py.h5d.create(file.library.id, name_of(level).encode(), h5py.h5t.STD_U8LE, space, plan)
    for number, chunk in enumerate(_chunks(rows, count)):
        data.write_direct_chunk((number * count, 0, 0, 0), chunk)
        file.check()


def _chunks(rows: Iterable[Any], count: int) -> Iterable[bytes]:
    """Packed chunks; the last is filled up with black."""
    if count == 1:
        yield from rows
        return
    iterator = iter(rows)
    while images := list(itertools.islice(iterator, count)):
        yield _packed(np.stack(images + [np.zeros_like(images[0])] * (count - len(images))))


class _HonestFile(io.RawIOBase):
    """A new HDF5 file whose errors are told by us, as a context manager.

    The HDF5 library may crash the program when its own writing fails, such as on a full disk. So it is told that all is
    well, and `check`, like the end of the block, tells the truth.

    Parameters
    ----------
    path : Path
        The file.
    name : Path
        What it is called in messages.
    """

    def __init__(self, path: Path, name: Path) -> None:
        import h5py

        self._name = name
        self._error: OSError | None = None
        with system_errors(name):
            self._file = path.open("w+b", buffering=1 << 20)
        self.library = h5py.File(self, "w")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.library.close()
            self._do(self._file.flush)
        finally:
            with contextlib.suppress(OSError):  # only what is known already
                self._file.close()
            # Once something went wrong, the library reads zeros and may stumble over them.
            if error is None or isinstance(error, OSError | RuntimeError):
                self.check()

    def check(self) -> None:
        """Raise what went wrong so far, as an InputError."""
        if self._error is not None:
            with system_errors(self._name):
                raise self._error

    def _do(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments) if self._error is None else None
        except OSError as error:
            self._error = error
            return None

    def write(self, data: Any) -> int:
        self._do(self._file.write, data)
        return len(data)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        content = self._do(self._file.read, len(view)) or bytes(len(view))
        view[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._do(self._file.seek, offset, whence) or 0

    def tell(self) -> int:
        return self._do(self._file.tell) or 0

    def truncate(self, size: int | None = None) -> int:
        self._do(self._file.truncate, size)
        return size or 0

    def flush(self) -> None:
        if not self._file.closed:
            self._do(self._file.flush)
