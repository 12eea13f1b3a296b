"""HDF5 pyramids: contiguous uint8 data sets ``data{r}x{r}`` of shape (N, 3, r, r), read through a memory map.

Contiguous storage has one offset per level, so h5py is needed only to find the offsets: pixels are written and read as
plain bytes at ``offset + row * 3 * r * r``. That is several times faster than going through the HDF5 library image by
image, and it makes the reader safe in threads and forked workers, where HDF5 handles are not. Any HDF5 program reads
the files; docs/formats.md prints ten lines that do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.atomic import claim, publish
from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to, name_of, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES, Manifest, level_digest, names_digest, row_digest

SUFFIX = ".h5"
_MAGIC = b"\x89HDF\r\n\x1a\n"


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

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with _opened(self.path) as file:
            if "manifest" not in file.attrs:
                raise InputError(
                    f"{self.path} has no manifest: it is an unfinished build or another tool's file; "
                    "make a pyramid with toolkit make-pyramid SOURCE OUT.h5"
                )
            self.manifest = Manifest.from_json(bytes(file.attrs["manifest"]).decode("ascii"), str(self.path))
            self._offsets = {level: self._locate(file, level) for level in levels_up_to(self.manifest.top_level)}
        self._maps: dict[int, NDArray[np.uint8]] = {}

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

    def level(self, level: int) -> NDArray[np.uint8]:
        """Pixels of a level, uint8 of shape (N, 3, r, r), memory-mapped and read-only."""
        if level not in self._maps:
            if level not in self._offsets:
                allowed = ", ".join(str(resolution_of(k)) for k in self._offsets)
                raise InputError(f"{self.path} has no level of {resolution_of(level)} pixels; it has {allowed}")
            shape = (self.manifest.num_images, 3, resolution_of(level), resolution_of(level))
            self._maps[level] = np.memmap(self.path, np.uint8, "r", self._offsets[level], shape)
        return self._maps[level]

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, uint8 of shape (N, 16)."""
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


class Writer:
    """An HDF5 pyramid being written; see `datasets.formats.PyramidWriter`.

    The file grows under a hidden temporary name in the target's folder.
    """

    def __init__(self, path: Path | str, num_images: int, resolution: int) -> None:
        if num_images < 1:
            raise InputError(f"{path}: a pyramid needs at least one image, got {num_images}")
        self.path = Path(path)
        self._levels = levels_up_to(level_of(resolution))
        self._num_images = num_images
        self._offsets: dict[int, int] = {}
        self._digests = {level: np.zeros((num_images, ROW_DIGEST_BYTES), np.uint8) for level in self._levels}
        self._sources: list[str | None] = [None] * num_images
        self._finished = False
        self._log = _WriteLog()
        self._structure = h5py.File(self._log, "w", libver=("earliest", "v110"))
        for level in self._levels:
            self._offsets[level] = self._reserve(level)
        with _system_errors(self.path):
            self._temporary, self._descriptor = claim(self.path)

    def _reserve(self, level: int) -> int:
        """Reserve a level's contiguous space without filling it; return its offset in the file."""
        shape = (self._num_images, 3, resolution_of(level), resolution_of(level))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)  # equal pixels give equal bytes
        space = h5py.h5s.create_simple(shape)
        pixels = h5py.h5d.create(self._structure.id, name_of(level).encode(), h5py.h5t.STD_U8LE, space, plan)
        return int(pixels.get_offset())

    def write(self, row: int, levels: Mapping[int, NDArray[np.uint8]], source: str) -> None:
        """Store one image: level -> uint8 (3, r, r), and the name of its source."""
        if not 0 <= row < self._num_images:
            raise ValueError(f"row {row} is not in 0..{self._num_images - 1}")
        for level in self._levels:
            resolution = resolution_of(level)
            pixels = np.ascontiguousarray(levels[level])
            if pixels.shape != (3, resolution, resolution) or pixels.dtype != np.uint8:
                expected = f"uint8 of shape (3, {resolution}, {resolution})"
                raise ValueError(f"level {level} must be {expected}, got {pixels.dtype} of {pixels.shape}")
            with _system_errors(self.path):
                _write_all(self._descriptor, pixels.data.cast("B"), self._offsets[level] + row * pixels.nbytes)
            self._digests[level][row] = np.frombuffer(row_digest(pixels), np.uint8)
        self._sources[row] = source

    def finish(self, options: Mapping[str, Any], provenance: Mapping[str, Any]) -> Manifest:
        """Check that every row was written, add digests and manifest, flush and publish; return the manifest."""
        names = [name for name in self._sources if name is not None]
        if len(names) < self._num_images:
            missing = self._num_images - len(names)
            first = self._sources.index(None)
            raise ValueError(f"{missing} of {self._num_images} rows were not written, the first is {first}")
        manifest = Manifest(
            num_images=self._num_images,
            resolution=resolution_of(self._levels[-1]),
            level_digests={name_of(level): level_digest(digests) for level, digests in self._digests.items()},
            sources_digest=names_digest(names),
            options=dict(options),
            provenance=dict(provenance),
        )
        for level, digests in self._digests.items():
            self._structure.create_dataset(f"digests/{name_of(level)}", data=digests, track_times=False)
        text = np.frombuffer(json.dumps(names).encode("ascii"), np.uint8)
        self._structure.create_dataset("sources", data=text, track_times=False)
        # Of fixed length: the library can hang on a damaged heap, which is where it keeps strings of variable length.
        self._structure.attrs["manifest"] = np.bytes_(manifest.to_json())
        self._structure.close()
        with _system_errors(self.path):
            for offset, data in self._log.writes:
                _write_all(self._descriptor, memoryview(data), offset)
            os.ftruncate(self._descriptor, self._log.size)
            publish(self._temporary, self.path)
        self._finished = True
        self._close()
        return manifest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._structure.close()
        if not self._finished:
            self._temporary.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _WriteLog(io.RawIOBase):
    """A file in memory that remembers the writes of the HDF5 library, which are all but the pixels.

    The library may crash the program when its own writing to disk fails, such as on a full one. So it writes into this,
    and we write the same bytes at the same offsets. Until then a file cut off by a crash is not even HDF5.
    """

    def __init__(self) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.size = 0
        self._position = 0

    def write(self, data: Any) -> int:
        content = bytes(data)
        self.writes.append((self._position, content))
        self._position += len(content)
        self.size = max(self.size, self._position)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, end = self._position, self._position + len(view)
        view[:] = bytes(len(view))
        for offset, data in self.writes:
            first, last = max(start, offset), min(end, offset + len(data))
            if first < last:
                view[first - start : last - start] = data[first - offset : last - offset]
        self._position = end
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self.size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    """``pwrite`` until everything is written."""
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system, such as a full disk, into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {_brief(error)}") from None


def _brief(error: Exception) -> str:
    """The system's words for an error, without the HDF5 library's internals."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split()).split("(", 1)[-1].rstrip(")")
