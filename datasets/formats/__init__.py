"""Formats of a finished pyramid: one module per format, found by listing this folder, recognised by content.

A format module has

``recognises(path) -> bool``
    True if the file or folder at `path` is of this format, judged by its content, never by its name.
``Reader(path)``
    A finished pyramid, opened for reading: see `PyramidReader`.
``Writer(path, num_images, resolution, *, encoding, keep, resume)``
    A pyramid being written: see `datasets.writing.PyramidWriter`.
``SUFFIX``
    The ending of the file names by which a user asks for this format, such as ``.h5``.
``ENCODINGS``
    Names of the ways in which it can store pixels, the default first.

``shards`` differs: a folder of several files of one of the other formats, so it has no suffix of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.manifest import Manifest
from datasets.packing import Packed, Packer
from datasets.pixels import Pixels
from datasets.writing import PyramidWriter

__all__ = [
    "Packed",
    "Packer",
    "Pixels",
    "PyramidReader",
    "PyramidWriter",
    "create",
    "is_pyramid",
    "load",
    "names",
    "open_pyramid",
    "suffixes",
    "writer_module",
]


class PyramidReader(Protocol):
    """A finished pyramid. Cheap to open; safe to use from several threads and in forked or spawned workers.

    Attributes
    ----------
    path : Path
    manifest : Manifest
    encoding : str
        How pixels are stored: ``raw``, ``png`` or ``webp``.
    """

    path: Path
    manifest: Manifest
    encoding: str

    def level(self, level: int) -> Pixels:
        """Pixels of a level, shape (N, 3, r, r), as an array that reads from the file when it is indexed."""
        ...

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, shape (N, 16)."""
        ...

    def sources(self) -> list[str]:
        """Name of the source of every row (path inside the source, and the tile if there is one)."""
        ...

    def labels(self) -> NDArray[np.int64] | None:
        """Class of every row, int64 (N,), checked against its digest; None if the pyramid has no labels."""
        ...

    def files(self) -> list[Path]:
        """All files it consists of."""
        ...


def names() -> list[str]:
    """Names of all formats, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the format called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def suffixes() -> dict[str, str]:
    """Endings of file names -> the formats they ask for."""
    return {load(name).SUFFIX: name for name in names() if hasattr(load(name), "SUFFIX")}


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


def create(
    path: Path | str,
    num_images: int,
    resolution: int,
    *,
    shards: int = 1,
    encoding: str | None = None,
    keep: bool = False,
    resume: bool = False,
) -> PyramidWriter:
    """Begin a pyramid, or go on with one that was interrupted. Use the writer as a context manager.

    Parameters
    ----------
    path : Path or str
        The pyramid to be; its suffix names the format. It appears when it is finished.
    num_images : int
        Number of rows.
    resolution : int
        Side of the finest level, a power of two.
    shards : int
        More than 1: `path` becomes a folder that holds an index and so many files, each a pyramid by itself.
    encoding : str, optional
        How pixels are stored, one of the format's ``ENCODINGS``; its first if not given. All are lossless.
    keep : bool
        Leave the hidden file (or folder) ``.NAME.partial`` when the writer is left without `finish`.
    resume : bool
        Go on with such a hidden file. If there is none, or it is of another shape or encoding, begin anew.

    Raises
    ------
    InputError
        If an argument is at fault, another process is writing the same pyramid, or the system refuses.
    """
    path = Path(path)
    module = writer_module(path)
    if encoding is not None and encoding not in module.ENCODINGS:
        allowed = ", ".join(module.ENCODINGS)
        raise InputError(f"{path}: {module.SUFFIX} files cannot store pixels as {encoding!r}; use one of {allowed}")
    writer: PyramidWriter
    if shards == 1:
        writer = module.Writer(path, num_images, resolution, encoding=encoding, keep=keep, resume=resume)
    else:
        sharded = load("shards").Writer
        writer = sharded(path, num_images, resolution, shards=shards, encoding=encoding, keep=keep, resume=resume)
    return writer


def writer_module(path: Path) -> ModuleType:
    """Module of the format that the suffix of `path` asks for."""
    known = suffixes()
    suffix = path.suffix.lower()
    if suffix not in known:
        allowed = ", ".join(sorted(known))
        raise InputError(f"{path}: the suffix {suffix or '(none)'} names no format; use one of {allowed}")
    return load(known[suffix])
