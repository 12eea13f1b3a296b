"""Landmark files: one module per format, found by listing this folder, recognised by content.

A format module has

``recognises(path, head) -> bool``
    True if the file at `path`, which begins with the bytes `head` (up to 64 KiB; none of a folder), is of this format.
``read(path) -> Landmarks``
    All that it holds; an InputError if it is damaged.

The first line of a module's docstring is what help texts say of it. All positions are in pixels (x, y) of the upright
photograph, counted from 0 at the top left.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from datasets.errors import InputError
from toolkit.celebahq.faces.landmark_file import LandmarkFile

_HEAD = 1 << 16


def names() -> list[str]:
    """Names of all formats, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the format called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> str:
    """One line about the format called `name`."""
    return (load(name).__doc__ or "").strip().splitlines()[0]


def recognise(path: Path) -> list[str]:
    """Names of the formats that recognise what is at `path`: one, or none.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_HEAD)
    elif not path.is_dir():
        return []
    return [name for name in names() if load(name).recognises(path, head)]


def open_file(path: Path) -> LandmarkFile:
    """Open a landmark file of whatever format.

    Raises
    ------
    InputError
        If there is nothing at `path`, it is no landmark file, or it is damaged.
    """
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; name a landmark file ({', '.join(names())}) or a detector")
        kinds = recognise(path)
        if not kinds:
            raise InputError(
                f"{path} is no landmark file that this program knows; it may be one of: {', '.join(names())}; see "
                "docs/celebahq.md"
            )
        return LandmarkFile(path, kinds[0], load(kinds[0]).read)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); make it readable") from None
