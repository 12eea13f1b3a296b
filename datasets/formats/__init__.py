"""Formats of a finished pyramid: one module per format, found by listing this folder, recognised by content.

A format module has

``recognises(path) -> bool``
    True if the file or folder at `path` is of this format, judged by its content, never by its name.
``Reader(path)``
    A finished pyramid, opened for reading: see `PyramidReader`.
``Writer(path, num_images, resolution)``
    A pyramid being written: see `PyramidWriter`.
``SUFFIX``
    The ending of the file names by which a user asks for this format, such as ``.h5``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.manifest import Manifest


class PyramidReader(Protocol):
    """A finished pyramid. Cheap to open; safe to use from several threads and in forked or spawned workers."""

    path: Path
    manifest: Manifest

    def __init__(self, path: Path | str) -> None: ...

    def level(self, level: int) -> NDArray[np.uint8]:
        """Pixels of a level, shape (N, 3, r, r), as an array that reads from the file when it is indexed."""
        ...

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, shape (N, 16)."""
        ...

    def sources(self) -> list[str]:
        """Name of the source of every row (path inside the source, and the tile if there is one)."""
        ...


class PyramidWriter(Protocol):
    """A pyramid being written. Nothing stands under its final name before `finish`.

    As a context manager it removes what was written unless `finish` was reached.
    """

    def __init__(self, path: Path | str, num_images: int, resolution: int) -> None: ...

    def write(self, row: int, levels: Mapping[int, NDArray[np.uint8]], source: str) -> None:
        """Store one image: every level, shape (3, r, r), and the name of its source. Any order of rows will do."""
        ...

    def finish(self, options: Mapping[str, Any], provenance: Mapping[str, Any]) -> Manifest:
        """Check that every row was written, add the manifest, flush to disk and publish under the final name."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def names() -> list[str]:
    """Names of all formats, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the format called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def is_pyramid(path: Path | str) -> bool:
    """True if some format recognises what is at `path`."""
    return Path(path).exists() and any(load(name).recognises(Path(path)) for name in names())


def open_pyramid(path: Path | str) -> PyramidReader:
    """Open a finished pyramid of any format.

    Raises
    ------
    InputError
        If there is nothing at `path`, or it is not a finished pyramid.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; name a pyramid made by toolkit make-pyramid")
    for name in names():
        module = load(name)
        if module.recognises(path):
            reader: PyramidReader = module.Reader(path)
            return reader
    known = ", ".join(names())
    raise InputError(f"{path} is not a pyramid ({known}); make one with toolkit make-pyramid SOURCE OUT.h5")


def writer_for(path: Path | str) -> type[PyramidWriter]:
    """Writer class for the format that the suffix of `path` asks for."""
    suffixes = {load(name).SUFFIX: name for name in names()}
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        allowed = ", ".join(sorted(suffixes))
        raise InputError(f"{path}: the suffix {suffix or '(none)'} names no format; use one of {allowed}")
    writer: type[PyramidWriter] = load(suffixes[suffix]).Writer
    return writer
