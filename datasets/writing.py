"""A pyramid being written: what all formats have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to, name_of
from datasets.manifest import ROW_DIGEST_BYTES, Manifest, labels_digest, level_digest, names_digest
from datasets.packing import Packed, Packer


class PyramidWriter(abc.ABC):
    """A pyramid being written, under a hidden name beside its own; nothing stands under its own before `finish`.

    As a context manager it removes what was written unless `finish` was reached, or `keep` was asked for.

    Attributes
    ----------
    path : Path
        The pyramid to be.
    num_images, resolution : int
    pack : callable
        ``pack(levels) -> Packed``: what to do with images before `write`, in any thread or process; see
        `datasets.packing.Packer`.
    """

    path: Path
    num_images: int
    resolution: int
    pack: Packer

    @abc.abstractmethod
    def write(self, rows: Sequence[int] | NDArray[np.int64], packed: Packed) -> None:
        """Store images at `rows`, in any order of rows, from one thread at a time.

        Consecutive rows go to disk together. A row may be written again, also by a resumed writer.

        Raises
        ------
        InputError
            If the system refuses, such as a full disk. What `flush` brought to disk stays good.
        """

    @abc.abstractmethod
    def flush(self) -> None:
        """Bring all that was written to disk for good: neither a crash nor a power cut takes it back."""

    @abc.abstractmethod
    def stored(self, row: int) -> NDArray[np.uint8] | None:
        """Digests of a row, uint8 (L, 16), coarsest level first; None if it is not on disk for good.

        With ``resume=True`` the rows of the interrupted writer count as well. Whatever is promised here survives a
        power cut: the pixels were on disk before the digests were written.
        """

    @abc.abstractmethod
    def finish(
        self,
        names: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        label_names: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Check that every row was written, add all that is not pixels, flush to disk and publish.

        Parameters
        ----------
        names : sequence of str
            Name of the source of every row.
        labels : sequence of int, optional
            Class of every row, 0 .. C - 1.
        label_names : sequence of str, optional
            Names of the C classes.
        options, provenance : mapping, optional
            See `Manifest`.

        Raises
        ------
        InputError
            If names or labels do not fit, or the system refuses. The work can be resumed if it was kept.
        """

    @abc.abstractmethod
    def discard(self) -> None:
        """Remove what was written and close."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the hidden file, which stays."""

    @abc.abstractmethod
    def __enter__(self) -> Self: ...

    @abc.abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileWriter(PyramidWriter):
    """A writer of one file: keeps the digests, and knows which rows were written and which are on disk for good.

    Parameters
    ----------
    path : Path or str
    num_images, resolution : int
    keep : bool
        Leave the hidden file when the writer is left without `finish`.
    encode : callable, optional
        See `Packer`.

    Attributes
    ----------
    digests : ndarray of uint8, shape (N, L, 16)
        Of the rows that were written, coarsest level first.
    """

    def __init__(
        self,
        path: Path | str,
        num_images: int,
        resolution: int,
        *,
        keep: bool = False,
        encode: Callable[[NDArray[np.uint8]], bytes] | None = None,
    ) -> None:
        self.path = Path(path)
        check_place(self.path, num_images)
        self.num_images, self.resolution = num_images, resolution
        self.pack = Packer(resolution, encode)
        self._levels = levels_up_to(level_of(resolution))
        self._keep = keep
        self._finished = False
        self.digests = np.zeros((num_images, len(self._levels), ROW_DIGEST_BYTES), np.uint8)
        self._written = np.zeros(num_images, np.bool_)
        self._stored = np.zeros(num_images, np.bool_)

    @abc.abstractmethod
    def _store(self, rows: NDArray[np.int64], packed: Packed) -> None:
        """Write values whose shapes are right at rows that exist."""

    def write(self, rows: Sequence[int] | NDArray[np.int64], packed: Packed) -> None:
        """See `PyramidWriter.write`."""
        numbers = checked_rows(rows, packed, self.num_images)
        self._store(numbers, packed)
        self.digests[numbers] = packed.digests
        self._written[numbers] = True
        self._stored[numbers] = False

    def missing(self) -> NDArray[np.int64]:
        """Rows that were not written."""
        return np.flatnonzero(~self._written)

    def stored(self, row: int) -> NDArray[np.uint8] | None:
        """See `PyramidWriter.stored`."""
        return self.digests[row].copy() if self._stored[row] else None

    def _manifest(
        self,
        names: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64] | None,
        label_names: Sequence[str] | None,
        options: Mapping[str, Any] | None,
        provenance: Mapping[str, Any] | None,
    ) -> Manifest:
        """Check that all is there; describe it."""
        check_whole(self.missing(), self.num_images)
        tables = (self.digests[:, place] for place in range(len(self._levels)))
        return make_manifest(self, tables, names, labels, label_names, options, provenance)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished or self._keep:
            self.close()
        else:
            self.discard()


def check_place(path: Path, num_images: int) -> None:
    """Refuse, before any work is done, what can never become a pyramid."""
    if num_images < 1:
        raise InputError(f"{path}: a pyramid needs at least one image, got {num_images}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file to write, or remove it")


def check_whole(missing: NDArray[np.int64], num_images: int) -> None:
    """Refuse to finish a pyramid of which rows are missing."""
    if len(missing):
        raise ValueError(f"{len(missing)} of {num_images} rows were not written, the first is {int(missing[0])}")


def checked_rows(rows: Sequence[int] | NDArray[np.int64], packed: Packed, num_images: int) -> NDArray[np.int64]:
    """Rows as an array, after checking that they exist and are as many as the images."""
    numbers = np.asarray(rows, np.int64)
    if numbers.shape != (len(packed),):
        raise ValueError(f"{len(packed)} images need as many rows, got rows of shape {numbers.shape}")
    wrong = numbers[(numbers < 0) | (numbers >= num_images)]
    if len(wrong):
        raise ValueError(f"row {int(wrong[0])} is not in 0..{num_images - 1}")
    return numbers


def make_manifest(
    writer: PyramidWriter,
    digests: Iterable[NDArray[np.uint8]],
    names: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64] | None,
    label_names: Sequence[str] | None,
    options: Mapping[str, Any] | None,
    provenance: Mapping[str, Any] | None,
) -> Manifest:
    """Describe a pyramid whose tables of row digests, (N, 16), are given coarsest level first.

    Raises
    ------
    InputError
        If names or labels do not fit.
    """
    if len(names) != writer.num_images:
        raise InputError(f"{writer.path}: {len(names)} names for {writer.num_images} rows; give every row a name")
    levels = levels_up_to(level_of(writer.resolution))
    classes = _num_classes(writer, labels, label_names)
    return Manifest(
        num_images=writer.num_images,
        resolution=writer.resolution,
        level_digests={name_of(level): level_digest(table) for level, table in zip(levels, digests, strict=True)},
        sources_digest=names_digest(names),
        labels_digest=None if labels is None else labels_digest(labels),
        label_names=None if label_names is None else list(label_names),
        num_classes=classes,
        options=dict(options or {}),
        provenance=dict(provenance or {}),
    )


def _num_classes(
    writer: PyramidWriter, labels: Sequence[int] | NDArray[np.int64] | None, label_names: Sequence[str] | None
) -> int | None:
    """Number of classes, after checking that the labels fit rows and names."""
    if labels is None:
        if label_names is not None:
            raise InputError(f"{writer.path}: names of classes without labels; give both or none")
        return None
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu" or numbers.shape != (writer.num_images,):
        raise InputError(
            f"{writer.path}: labels must be one whole number for each of {writer.num_images} rows, "
            f"got {numbers.dtype} of {numbers.shape}"
        )
    classes = int(numbers.max()) + 1 if label_names is None else len(label_names)
    if numbers.min() < 0 or numbers.max() >= classes:
        wrong = numbers[(numbers < 0) | (numbers >= classes)][0]
        raise InputError(f"{writer.path}: label {wrong} is not one of the {classes} classes, 0..{classes - 1}")
    return classes
