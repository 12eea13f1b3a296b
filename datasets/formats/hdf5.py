"""HDF5 pyramids: contiguous uint8 data sets ``data{r}x{r}`` of shape (N, 3, r, r), read through a memory map.

Contiguous storage has one offset per level, so h5py is needed only to find the offsets: pixels are written and read as
plain bytes at ``offset + row * 3 * r * r``. That is several times faster than going through the HDF5 library image by
image, and it makes the reader safe in threads and forked workers, where HDF5 handles are not. Any HDF5 program reads
the files; docs/formats.md prints ten lines that do.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets import blocks
from datasets.atomic import claim, flush_data, publish, system_errors, write_all
from datasets.errors import InputError
from datasets.levels import levels_up_to, name_of, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES, Manifest, checked_labels
from datasets.mapping import FileMap
from datasets.packing import Packed, runs
from datasets.pixels import MappedPixels, Pixels, check_level
from datasets.write_log import WriteLog
from datasets.writing import FileWriter

SUFFIX = ".h5"
ENCODINGS = ("raw",)
_MAGIC = b"\x89HDF\r\n\x1a\n"
_LAYOUT_BYTES = 4096
_LAYOUT_SCHEMA = "growgan.pyramid.layout"


def recognises(path: Path) -> bool:
    """True if the file starts with the HDF5 signature."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


class Reader:
    """A finished HDF5 pyramid; see `datasets.formats.PyramidReader`.

    Raises
    ------
    InputError
        If the file is damaged, cut short, or has no manifest (an unfinished build, or another tool's file).
    """

    encoding = "raw"

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with _opened(self.path) as file:
            self.manifest = Manifest.from_json(_manifest_text(file, self.path), str(self.path))
            self._offsets = {level: self._locate(file, level) for level in levels_up_to(self.manifest.top_level)}
        self._file = FileMap(self.path)
        self._levels: dict[int, MappedPixels] = {}

    def __reduce__(self) -> tuple[type[Reader], tuple[Path]]:
        """Pickle the path alone: a spawned worker maps the file itself instead of receiving its pixels."""
        return Reader, (self.path,)

    def _locate(self, file: h5py.File, level: int) -> int:
        """Offset of a level's pixels in the file, after checking that all of them are there."""
        name, resolution = name_of(level), resolution_of(level)
        expected = (self.manifest.num_images, 3, resolution, resolution)
        pixels = file.get(name)
        if not isinstance(pixels, h5py.Dataset) or pixels.shape != expected or pixels.dtype != np.uint8:
            raise InputError(f"{self.path}: {name} is missing or not uint8 of shape {expected}; build the file again")
        offset = pixels.id.get_offset()
        if offset is None:
            raise InputError(f"{self.path}: {name} is not stored contiguously; build it with toolkit make-pyramid")
        if offset + pixels.nbytes > self.path.stat().st_size:
            raise InputError(f"{self.path} is cut short: {name} ends beyond the end of the file; build it again")
        return int(offset)

    def level(self, level: int) -> Pixels:
        """Pixels of a level, uint8 of shape (N, 3, r, r), memory-mapped and read-only."""
        if level not in self._levels:
            check_level(level, self._offsets, self.path)
            pixels = MappedPixels(self.path, level, self.manifest.num_images, self._file, self._offsets[level])
            self._levels[level] = pixels
        return self._levels[level]

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, uint8 of shape (N, 16)."""
        check_level(level, self._offsets, self.path)
        with _opened(self.path) as file:
            digests: NDArray[np.uint8] = file[f"digests/{name_of(level)}"][...]
        expected = (self.manifest.num_images, ROW_DIGEST_BYTES)
        if digests.shape != expected or digests.dtype != np.uint8:
            raise InputError(
                f"{self.path}: the digests of {name_of(level)} are not uint8 of shape {expected}; build it again"
            )
        return digests

    def sources(self) -> list[str]:
        """Name of the source of every row."""
        with _opened(self.path) as file:
            names = [str(name) for name in json.loads(bytes(file["sources"][...]))]
        if len(names) != self.manifest.num_images:
            raise InputError(f"{self.path}: {len(names)} names for {self.manifest.num_images} rows; build it again")
        return names

    def labels(self) -> NDArray[np.int64] | None:
        """Class of every row, int64 (N,); None if the pyramid has no labels."""
        if self.manifest.labels_digest is None:
            return None
        with _opened(self.path) as file:
            return checked_labels(np.asarray(file["labels"][...]), self.manifest, self.path)

    def files(self) -> list[Path]:
        """The one file it consists of."""
        return [self.path]


def _manifest_text(file: h5py.File, path: Path) -> bytes:
    if "manifest" in file:
        return bytes(file["manifest"][...])
    if "manifest" in file.attrs:  # version 1: attributes end at 64 KiB, which the names of many classes exceed
        return bytes(file.attrs["manifest"])
    raise InputError(
        f"{path} has no manifest: it is an unfinished build or another tool's file; "
        "make a pyramid with toolkit make-pyramid SOURCE OUT.h5"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open for reading; whatever the HDF5 library or a parser says of a damaged file becomes one line."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as HDF5 ({_brief(error)}); it is damaged, build it again") from None


def _brief(error: Exception) -> str:
    """The system's words for an error, without the HDF5 library's internals."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split()).split("(", 1)[-1].rstrip(")")


class Writer(FileWriter):
    """An HDF5 pyramid being written; see `datasets.writing.PyramidWriter`.

    Pixels, digests and a description of the layout go to their final offsets in the hidden file; the HDF5 structure,
    and last of all its signature, follows in `finish`. A row counts as stored if all its digests are there: these are
    written when its pixels have reached the disk, and an empty file has zeros in their place.
    """

    def __init__(
        self,
        path: Path | str,
        num_images: int,
        resolution: int,
        *,
        encoding: str | None = None,  # noqa: ARG002 - one of ENCODINGS, of which there is one
        keep: bool = False,
        resume: bool = False,
    ) -> None:
        super().__init__(path, num_images, resolution, keep=keep)
        self._log = WriteLog()
        self._structure = h5py.File(self._log, "w", libver=("earliest", "v110"))
        layout = self._reserve("layout", (_LAYOUT_BYTES,))
        self._offsets = {k: self._reserve(name_of(k), self.pack.shape(num_images, k)) for k in self._levels}
        self._structure.create_group("digests")
        tables = [self._reserve(f"digests/{name_of(k)}", (num_images, ROW_DIGEST_BYTES)) for k in self._levels]
        self._tables = tables
        self._reserved_end = tables[-1] + num_images * ROW_DIGEST_BYTES
        self._layout = layout, self._describe_layout()
        self._pending: list[NDArray[np.int64]] = []
        with system_errors(self.path):
            self._temporary, self._descriptor = claim(self.path, empty=not resume)
            try:
                self._begin()
            except BaseException:
                self.__exit__(None, None, None)
                raise

    def _reserve(self, name: str, shape: tuple[int, ...]) -> int:
        """Reserve contiguous space for a data set of uint8 without filling it; return its offset in the file."""
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)  # equal pixels give equal bytes
        space = h5py.h5s.create_simple(shape)
        data = h5py.h5d.create(self._structure.id, name.encode(), h5py.h5t.STD_U8LE, space, plan)
        return int(data.get_offset())

    def _describe_layout(self) -> bytes:
        """Where everything lies: lets a resumed writer know its own file, and others map it without HDF5."""
        fields = {
            "schema": _LAYOUT_SCHEMA,
            "num_images": self.num_images,
            "resolution": self.resolution,
            "pixels": {name_of(level): offset for level, offset in self._offsets.items()},
            "digests": {name_of(level): offset for level, offset in zip(self._levels, self._tables, strict=True)},
        }
        return json.dumps(fields).encode("ascii").ljust(_LAYOUT_BYTES)

    def _begin(self) -> None:
        """Take over what is in the hidden file if it is of the same layout, otherwise empty it."""
        offset, text = self._layout
        if os.pread(self._descriptor, _LAYOUT_BYTES, offset) != text:
            os.ftruncate(self._descriptor, 0)
            write_all(self._descriptor, memoryview(text), offset)
            return
        # An earlier `finish` may have been cut off at any point: nothing of it must remain, least of all a signature.
        write_all(self._descriptor, memoryview(bytes(offset)), 0)
        os.ftruncate(self._descriptor, self._reserved_end)
        for place, table in enumerate(self._tables):
            size = self.num_images * ROW_DIGEST_BYTES
            data = _read_all(self._descriptor, size, table)
            self.digests[:, place] = np.frombuffer(data, np.uint8).reshape(-1, ROW_DIGEST_BYTES)
        self._stored = np.all(np.any(self.digests, axis=2), axis=1)
        self._written = self._stored.copy()

    def _store(self, rows: NDArray[np.int64], packed: Packed) -> None:
        with system_errors(self.path):
            self._forget(rows[self._stored[rows]])
            for level in self._levels:
                pixels = np.asarray(packed.values[level], np.uint8)
                for first, end in runs(rows):
                    offset = self._offsets[level] + int(rows[first]) * pixels[0].nbytes
                    write_all(self._descriptor, pixels[first:end].data.cast("B"), offset)
        self._pending.append(rows)

    def _forget(self, rows: NDArray[np.int64]) -> None:
        """Take back, on disk, that rows are stored, before their pixels are overwritten."""
        if len(rows):
            self.digests[rows] = 0
            self._write_digests(rows)
            flush_data(self._descriptor)

    def flush(self) -> None:
        """See `PyramidWriter.flush`: first the pixels, and when they are on disk their digests."""
        if not self._pending:
            return
        rows = np.unique(np.concatenate(self._pending))
        with system_errors(self.path):
            flush_data(self._descriptor)
            self._write_digests(rows)
            flush_data(self._descriptor)
        self._stored[rows] = True
        self._pending = []

    def _write_digests(self, rows: NDArray[np.int64]) -> None:
        for place, table in enumerate(self._tables):
            for first, end in runs(rows):
                data = self.digests[rows[first:end], place].tobytes()
                write_all(self._descriptor, memoryview(data), table + int(rows[first]) * ROW_DIGEST_BYTES)

    def finish(
        self,
        names: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        label_names: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """See `PyramidWriter.finish`."""
        manifest = self._manifest(names, labels, label_names, options, provenance)
        self.flush()
        texts = {"sources": json.dumps(list(names)), "manifest": manifest.to_json()}
        for name, text in texts.items():
            data = np.frombuffer(text.encode("ascii"), np.uint8)
            self._structure.create_dataset(name, data=data, track_times=False)
        if labels is not None:
            self._structure.create_dataset("labels", data=np.asarray(labels, "<i8"), track_times=False)
        covered = self._covered(*texts, *(() if labels is None else ("labels",)))
        self._structure.close()
        with system_errors(self.path):
            for offset, content in self._log.writes:
                start = max(len(_MAGIC) - offset, 0)  # the signature stays out
                write_all(self._descriptor, memoryview(content)[start:], offset + start)
            rest = blocks.uncovered(self._log.size, covered)
            blocks.append(self._descriptor, self._log.size, rest, _with_signature)
            flush_data(self._descriptor)
            write_all(self._descriptor, memoryview(_MAGIC), 0)
            publish(self._temporary, self.path)
        self._finished = True
        self.close()
        return manifest

    def _covered(self, *names: str) -> list[blocks.Range]:
        """Where what has a digest of its own lies: pixels, their digests, and the data sets of the given names."""
        found = []
        for name in (*map(name_of, self._levels), *(f"digests/{name_of(k)}" for k in self._levels), *names):
            data = self._structure[name]
            start = int(data.id.get_offset())
            found.append((start, start + data.nbytes))
        return found

    def discard(self) -> None:
        """See `PyramidWriter.discard`."""
        if self._descriptor >= 0:
            self._temporary.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """See `PyramidWriter.close`."""
        self._structure.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _with_signature(offset: int, data: bytes) -> bytes:
    """A block as it will be when the signature is there."""
    return _MAGIC + data[len(_MAGIC) :] if offset == 0 else data


def _read_all(descriptor: int, size: int, offset: int) -> bytes:
    """``pread`` until everything is read; what lies beyond the end of the file is zero, as after `ftruncate`."""
    parts = []
    while size:
        part = os.pread(descriptor, size, offset) or bytes(size)
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
