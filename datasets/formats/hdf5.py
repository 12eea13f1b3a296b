"""HDF5 pyramids: contiguous uint8 data sets ``data{r}x{r}`` of shape (N, 3, r, r), read through a memory map.

Contiguous storage has one offset per level, so h5py is needed only to find the offsets: pixels are written and read as
plain bytes at ``offset + row * 3 * r * r``. That is several times faster than going through the HDF5 library image by
image, and it makes the reader safe in threads and forked workers, where HDF5 handles are not. Any HDF5 program reads
the files; docs/formats.md prints ten lines that do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from datasets.atomic import publish
from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to, name_of, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES, Manifest, level_digest, row_digest

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
        try:
            with h5py.File(self.path, "r") as file:
                if "manifest" not in file.attrs:
                    raise InputError(
                        f"{self.path} has no manifest: it is an unfinished build or another tool's file; "
                        "make a pyramid with toolkit make-pyramid SOURCE OUT.h5"
                    )
                self.manifest = Manifest.from_json(str(file.attrs["manifest"]), str(self.path))
                self._offsets = {level: self._locate(file, level) for level in levels_up_to(self.manifest.top_level)}
        except OSError as error:
            raise InputError(f"{self.path} cannot be read as HDF5 ({_brief(error)}); it is damaged, build it again") from None
        self._maps: dict[int, NDArray[np.uint8]] = {}

    def _locate(self, file: h5py.File, level: int) -> int:
        """Offset of a level's pixels in the file, after checking that all of them are there."""
        name, resolution = name_of(level), resolution_of(level)
        expected = (self.manifest.num_images, 3, resolution, resolution)
        pixels = file.get(name)
        if not isinstance(pixels, h5py.Dataset) or pixels.shape != expected or pixels.dtype != np.uint8:
            raise InputError(f"{self.path}: {name} is missing or not uint8 of shape {expected}; build the file again")
        offset = pixels.id.get_offset()
        if offset is None:
            raise InputError(f"{self.path}: {name} is not stored contiguously; build the file with toolkit make-pyramid")
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
        with h5py.File(self.path, "r") as file:
            digests: NDArray[np.uint8] = file[f"digests/{name_of(level)}"][...]
            return digests

    def sources(self) -> list[str]:
        """Name of the source of every row."""
        with h5py.File(self.path, "r") as file:
            return [str(name) for name in json.loads(bytes(file["sources"][...]))]


class Writer:
    """An HDF5 pyramid being written; see `datasets.formats.PyramidWriter`.

    The file grows under a hidden temporary name in the target's folder.
    """

    def __init__(self, path: Path | str, num_images: int, resolution: int) -> None:
        if num_images < 1:
            raise InputError(f"{path}: a pyramid needs at least one image, got {num_images}")
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._levels = levels_up_to(level_of(resolution))
        self._num_images = num_images
        self._offsets: dict[int, int] = {}
        self._digests = {level: np.zeros((num_images, ROW_DIGEST_BYTES), np.uint8) for level in self._levels}
        self._sources: list[str | None] = [None] * num_images
        self._finished = False
        try:
            with h5py.File(self._temporary, "w", libver=("earliest", "v110")) as file:
                for level in self._levels:
                    self._offsets[level] = self._reserve(file, level)
            self._descriptor = os.open(self._temporary, os.O_RDWR)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise InputError(f"cannot write {self.path}: {_brief(error)}") from None

    def _reserve(self, file: h5py.File, level: int) -> int:
        """Reserve a level's contiguous space without filling it."""
        shape = (self._num_images, 3, resolution_of(level), resolution_of(level))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)  # equal pixels give equal bytes
        space = h5py.h5s.create_simple(shape)
        pixels = h5py.h5d.create(file.id, name_of(level).encode(), h5py.h5t.STD_U8LE, space, plan)
        return int(pixels.get_offset())

    def write(self, row: int, levels: Mapping[int, NDArray[np.uint8]], source: str) -> None:
        """Store one image: level -> uint8 (3, r, r), and the name of its source."""
        for level in self._levels:
            resolution = resolution_of(level)
            pixels = np.ascontiguousarray(levels[level])
            if pixels.shape != (3, resolution, resolution) or pixels.dtype != np.uint8:
                raise ValueError(f"level {level} must be uint8 of shape (3, {resolution}, {resolution}), got {pixels.dtype} {pixels.shape}")
            _write_all(self._descriptor, pixels, self._offsets[level] + row * pixels.nbytes, self.path)
            self._digests[level][row] = np.frombuffer(row_digest(pixels), np.uint8)
        self._sources[row] = source

    def finish(self, options: Mapping[str, Any], provenance: Mapping[str, Any]) -> Manifest:
        """Check that every row was written, add digests and manifest, flush and publish; return the manifest."""
        missing = [row for row, source in enumerate(self._sources) if source is None]
        if missing:
            raise ValueError(f"{len(missing)} of {self._num_images} rows were not written, the first is {missing[0]}")
        os.close(self._descriptor)
        self._descriptor = -1
        manifest = Manifest(
            num_images=self._num_images,
            resolution=resolution_of(self._levels[-1]),
            level_digests={name_of(level): level_digest(digests) for level, digests in self._digests.items()},
            options=dict(options),
            provenance=dict(provenance),
        )
        try:
            with h5py.File(self._temporary, "r+", libver=("earliest", "v110")) as file:
                for level, digests in self._digests.items():
                    file.create_dataset(f"digests/{name_of(level)}", data=digests, track_times=False)
                names = np.frombuffer(json.dumps(self._sources).encode("ascii"), np.uint8)
                file.create_dataset("sources", data=names, track_times=False)
                file.attrs["manifest"] = manifest.to_json()
            publish(self._temporary, self.path)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {_brief(error)}") from None
        self._finished = True
        return manifest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if not self._finished:
            self._temporary.unlink(missing_ok=True)


def _write_all(descriptor: int, pixels: NDArray[np.uint8], offset: int, path: Path) -> None:
    """``pwrite`` until everything is written; a full disk becomes one clear error."""
    view = memoryview(pixels).cast("B")
    try:
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
    except OSError as error:
        raise InputError(f"cannot write {path}: {_brief(error)}") from None


def _brief(error: OSError) -> str:
    """The system's words for an error, without the HDF5 library's internals."""
    return os.strerror(error.errno) if error.errno else str(error).split("(", 1)[-1].rstrip(")")
