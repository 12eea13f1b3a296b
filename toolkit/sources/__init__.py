"""Sources of images: one module per source, found by listing this folder, recognised by content.

A source module has

``recognises(path) -> bool``
    True if what is at `path` is such a source, judged by what it holds, never by its name. One path, one source.
``Source(path)``
    The images of it, in their order: see `Source`.

The first line of a module's docstring is what ``toolkit make-pyramid --help`` says of it.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

from datasets.errors import InputError


@dataclasses.dataclass(frozen=True)
class Item:
    """One image of a source. Cheap to make; nothing is read before `size` or `read` is called.

    Attributes
    ----------
    name : str
        Where it lies inside the source, such as ``cats/7.jpg``; unique within the source.
    where : str
        Where it lies for a person who has to mend it; for error messages.
    size : callable
        ``size(max_pixels=n)`` gives width and height as stored, by the header: see `datasets.decode.stored_size`.
    read : callable
        ``read()`` gives the bytes of the image file.
    label : int or None
        Class number, if the source has classes.
    """

    name: str
    where: str
    size: Callable[..., tuple[int, int]]
    read: Callable[[], bytes]
    label: int | None = None


class Source(Protocol):
    """Images in a fixed order that does not depend on the machine. Safe to read from several threads.

    Attributes
    ----------
    path : Path
        Where the source is.
    name : str
        What a data set's manifest calls it: no folder of the machine on which it was built.
    """

    path: Path
    name: str

    def __init__(self, path: Path) -> None: ...

    def __len__(self) -> int:
        """Count the images, without reading any; at least 1."""
        ...

    def __getitem__(self, index: int) -> Item:
        """Image number `index`, counted from 0."""
        ...


def names() -> list[str]:
    """Names of all sources, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the source called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> str:
    """One line about the source called `name`."""
    return (load(name).__doc__ or "").strip().splitlines()[0]


def open_source(path: Path | str) -> Source:
    """Open whatever source is at `path`.

    Raises
    ------
    InputError
        If there is nothing at `path`, no source recognises it, or it holds no image.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; name a source of images: {', '.join(names())}")
    for name in names():
        module = load(name)
        if module.recognises(path):
            source: Source = module.Source(path)
            return source
    raise InputError(f"{path} is no source of images that this program knows; it may be one of: {', '.join(names())}")
