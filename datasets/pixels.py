"""The pixels of one level of a pyramid: an array that is read when it is indexed, and `gather`, which makes batches.

Four kinds, which differ in where the bytes of a row are: `MappedPixels` one after another in a file, `ScatteredPixels`
anywhere in it, `EncodedPixels` likewise but compressed, `SpanningPixels` in several files. All are read-only and are
safe in threads and in forked or spawned workers: they hold memory maps, which have no position and no lock.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from datasets.errors import InputError
from datasets.levels import name_of, resolution_of
from datasets.mapping import FileMap, Use

_INT64 = np.dtype(np.int64)
_SMALL_ROW = 1 << 14  # bytes; below, the calls of a loop over rows take longer than the copies
_SMALL_BATCH = 1 << 16  # bytes; below, looking at the rows beforehand takes longer than copying twice
_SMALL_LEVEL = 1 << 26  # bytes of a level that may be kept in memory, if it is not in one piece in a file


class Pixels(abc.ABC):
    """Pixels of one level: array-like, uint8 of shape (N, 3, r, r), read-only.

    Index it with a row, a slice, or an array of rows (or a mask of all), alone or as the first entry of a tuple whose
    other entries are numbers and slices. A pickled one holds the path of the pyramid instead of its pixels.

    Parameters
    ----------
    path : Path
        The pyramid it belongs to.
    level : int
    num_images : int
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, level: int, num_images: int) -> None:
        self.path = path
        self.level = level
        self.shape = (num_images, 3, resolution_of(level), resolution_of(level))
        self.row_bytes = 3 * resolution_of(level) ** 2
        self._array: NDArray[np.uint8] | None = None  # the whole level, where it is in one piece
        self._use: Use | None = None
        self._until_kept = num_images // 2 if self.nbytes <= _SMALL_LEVEL else 1 << 62

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, as they are in memory."""
        return len(self) * self.row_bytes

    def gather(self, rows: ArrayLike, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Copy rows into one array, the fastest way there is for this format.

        Parameters
        ----------
        rows : array_like of int, shape (n,)
            In any order, with repetitions if you like; negative ones count from the end.
        out : ndarray of uint8, shape (n, 3, r, r), optional
            C-contiguous array to fill. Reuse one where you can: the system needs about as long to find new memory for
            large batches as it takes to fill it.

        Returns
        -------
        ndarray of uint8, shape (n, 3, r, r)
            C-contiguous; `out` if it was given.

        Raises
        ------
        IndexError
            If there is no such row.
        InputError
            If a row is damaged in such a way that it cannot be decoded.
        """
        numbers = np.asarray(rows)
        if numbers.dtype is not _INT64:
            numbers = _whole_numbers(numbers)
        if numbers.ndim != 1:
            raise IndexError(f"gather takes rows of shape (n,), got {numbers.shape}")
        shape = (len(numbers), *self.shape[1:])
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be a C-contiguous uint8 array of shape {shape}, got {out.dtype} {out.shape}")
        if self._array is None:
            self._keep(len(numbers))
        if self._array is None:
            self._fill(out, self._existing(numbers))
        else:
            self.note_use(out.nbytes)
            if out.nbytes <= _SMALL_BATCH:
                self._array.take(numbers, 0, out)  # numpy checks the rows, and copies twice so as not to spoil `out`
            else:
                self._array.take(self._existing(numbers), 0, out, "clip")
        return out

    @abc.abstractmethod
    def _fill(self, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """Copy `rows`, which exist, into `out`, which fits."""

    def _keep(self, count: int) -> None:
        """Read a small level into memory when it has been read in part often enough."""
        self._until_kept -= count
        if self._until_kept < 0:
            self._until_kept = 1 << 62
            array = np.empty(self.shape, np.uint8)
            try:
                self._fill(array, np.arange(len(self)))
            except InputError:  # of a row that nobody asked for
                return
            array.flags.writeable = False
            self._array = array

    def note_use(self, num_bytes: int) -> None:
        """Say that so many bytes are about to be read; see `datasets.mapping.Use`."""
        if self._use is not None:
            self._use.count(num_bytes)

    def _existing(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows from 0 to N - 1, after checking that they exist."""
        if not numbers.size:
            return numbers
        # As unsigned numbers negative ones are large, so one look finds both kinds of rows that need a second one.
        if int(np.maximum.reduce(numbers.view(np.uint64), axis=None)) < len(self):
            return numbers
        wrong = numbers[(numbers < -len(self)) | (numbers >= len(self))]
        if wrong.size:
            raise IndexError(f"row {wrong[0]} is not in 0..{len(self) - 1} ({self.path}: {name_of(self.level)})")
        return np.where(numbers < 0, numbers + len(self), numbers)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        entries = index if isinstance(index, tuple) else (index,)
        first, rest = (entries[0], entries[1:]) if entries else (..., ())
        if first is Ellipsis:
            if rest:
                raise IndexError("an index that begins with ... must end there")
            first = slice(None)
        if any(not isinstance(entry, int | np.integer | slice) and entry is not Ellipsis for entry in rest):
            raise IndexError("only the first entry of an index may be an array")
        if isinstance(first, slice):
            images, kept = self._slice(first), 1
        else:
            rows = self._existing(_whole_numbers(self._from_mask(first)))
            kept = rows.ndim
            images = self._row(int(rows)) if kept == 0 else self.gather(rows.reshape(-1))
            images = images.reshape(rows.shape + self.shape[1:])
        part: NDArray[np.uint8] = images[(slice(None),) * kept + rest]
        return part

    def _from_mask(self, first: Any) -> NDArray[Any]:
        """Rows that a mask means; anything else as it is."""
        wanted = np.asarray(first)
        if wanted.dtype != np.bool_:
            return wanted
        if wanted.shape != self.shape[:1]:
            raise IndexError(f"a mask must have the shape ({len(self)},), got {wanted.shape}")
        return np.flatnonzero(wanted)

    def _row(self, row: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self.gather([row])[0]
        return image

    def _slice(self, rows: slice) -> NDArray[np.uint8]:
        return self.gather(np.arange(*rows.indices(len(self))))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype, copy=copy)

    def __reduce__(self) -> tuple[Callable[[Path, int], Pixels], tuple[Path, int]]:
        return _open_again, (self.path, self.level)


class RawPixels(Pixels):
    """Uncompressed rows in one file: row k is ``table[places[k]]``. Indexed by a row it gives a view.

    Attributes
    ----------
    table : ndarray of uint8, shape (m, 3 * r * r)
        A view of the file.
    places : ndarray of int64, shape (N,)
    """

    table: NDArray[np.uint8]
    places: NDArray[np.int64]

    def _fill(self, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self.note_use(out.nbytes)
        flat = out.reshape(len(out), self.row_bytes)
        if self.row_bytes <= _SMALL_ROW:
            flat[:] = self.table[self.places[rows]]
        else:
            table = self.table
            for k, place in enumerate(self.places[rows].tolist()):
                flat[k] = table[place]

    def _row(self, row: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self.table[self.places[row]]
        return image.reshape(self.shape[1:])


class MappedPixels(RawPixels):
    """Rows that lie one after another in a file. Indexed by a slice it gives a view.

    Parameters
    ----------
    path, level, num_images
        See `Pixels`.
    file : FileMap
        The file.
    offset : int
        Where the first row begins in the file, in bytes. The caller has checked that all rows are there.
    """

    def __init__(self, path: Path, level: int, num_images: int, file: FileMap, offset: int) -> None:
        super().__init__(path, level, num_images)
        self.table = file.bytes[offset : offset + self.nbytes].reshape(num_images, self.row_bytes)
        self.places = np.arange(num_images)
        self._array = self.table.reshape(self.shape)
        self._use = Use(file, offset, offset + self.nbytes)

    def _slice(self, rows: slice) -> NDArray[np.uint8]:
        return self.table[rows].reshape(-1, *self.shape[1:])


class ScatteredPixels(RawPixels):
    """Rows that lie at given places of a file.

    Parameters
    ----------
    path, level
        See `Pixels`.
    file : FileMap
        The file.
    offsets : ndarray of int64, shape (N,)
        Where every row begins. The caller has checked that all of them are there.
    """

    def __init__(self, path: Path, level: int, file: FileMap, offsets: NDArray[np.int64]) -> None:
        super().__init__(path, level, len(offsets))
        # Every place of the file at which a row could begin, as one array that overlaps itself.
        places = len(file.bytes) - self.row_bytes + 1
        self.table = as_strided(file.bytes, (places, self.row_bytes), (1, 1), writeable=False)
        self.places = offsets
        self._use = Use(file, int(offsets.min()), int(offsets.max()) + self.row_bytes)


class EncodedPixels(Pixels):
    """Rows that lie encoded at given places of a file.

    Parameters
    ----------
    path, level, file, offsets
        See `ScatteredPixels`.
    sizes : ndarray of int64, shape (N,)
        Bytes of every encoded row.
    decode : callable
        ``decode(bytes, resolution, where) -> (3, r, r)``; raises InputError if they are damaged.
    """

    def __init__(
        self,
        path: Path,
        level: int,
        file: FileMap,
        offsets: NDArray[np.int64],
        sizes: NDArray[np.int64],
        decode: Callable[[memoryview, int, str], NDArray[np.uint8]],
    ) -> None:
        super().__init__(path, level, len(offsets))
        self._data, self._offsets, self._sizes, self._decode = file.bytes, offsets, sizes, decode

    def _fill(self, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        for image, row in zip(out, rows.tolist(), strict=True):
            image[:] = self._row(row)

    def _row(self, row: int) -> NDArray[np.uint8]:
        start = self._offsets[row]
        data = self._data[start : start + self._sizes[row]].data
        return self._decode(data, self.shape[-1], f"{self.path}: {name_of(self.level)}, row {row}")


class SpanningPixels(Pixels):
    """Rows of several others, one after another.

    Parameters
    ----------
    path, level
        See `Pixels`.
    parts : sequence of Pixels
        Each with at least one row.
    """

    def __init__(self, path: Path, level: int, parts: Sequence[Pixels]) -> None:
        lengths = np.array([len(part) for part in parts], np.int64)
        super().__init__(path, level, int(lengths.sum()))
        self._parts = list(parts)
        self._owners = np.repeat(np.arange(len(parts), dtype=np.int32), lengths)
        self._firsts = np.cumsum(lengths) - lengths

    def _fill(self, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        owners = self._owners[rows]
        inside = rows - self._firsts[owners]
        for owner in np.unique(owners).tolist():
            part = self._parts[owner]
            ours = np.flatnonzero(owners == owner)
            if self.row_bytes <= _SMALL_ROW or not isinstance(part, RawPixels):
                out[ours] = part.gather(inside[ours])
                continue
            part.note_use(len(ours) * self.row_bytes)
            flat, table = out.reshape(len(out), self.row_bytes), part.table
            for k, place in zip(ours.tolist(), part.places[inside[ours]].tolist(), strict=True):
                flat[k] = table[place]

    def _row(self, row: int) -> NDArray[np.uint8]:
        owner = int(self._owners[row])
        return self._parts[owner]._row(row - int(self._firsts[owner]))


def check_level(level: int, there: Iterable[int], path: Path) -> None:
    """Refuse a level that a pyramid does not have."""
    if level not in there:
        allowed = ", ".join(str(resolution_of(k)) for k in there)
        raise InputError(f"{path} has no level of {resolution_of(level)} pixels; it has {allowed}")


def _whole_numbers(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Rows as numbers of the type that is used inside."""
    if rows.size and (rows.dtype.kind not in "iu" or (rows.dtype == np.uint64 and rows.max() >= 1 << 63)):
        raise IndexError(f"rows must be whole numbers, got {rows.dtype}")
    return rows.astype(np.int64)


def _open_again(path: Path, level: int) -> Pixels:
    from datasets.formats import open_pyramid  # the formats are made of what is in this file

    return open_pyramid(path).level(level)
