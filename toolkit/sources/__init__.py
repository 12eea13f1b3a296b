"""Sources of images: one module per source, found by listing this folder, recognised by content.

A source module has

``recognises(path) -> bool``
    True if what is at `path` is such a source, judged by what it holds, never by its name.
``Source(path)``
    The images of it, in their order: a subclass of `Source`.
``GENERAL = True``
    Only in modules of containers that may hold anything (a folder, a zip, a tar): they are asked when no other module
    recognises the path, so a folder of CelebA is ``celeba``, and every other folder is ``folder``.

So one path is one source. A module that says False to everything is opened by its name alone (``--as NAME``).
The first line of a module's docstring is what ``toolkit make-pyramid --help`` says of it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib
import pkgutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.transforms import Crop


@dataclasses.dataclass(frozen=True)
class Item:
    """One image of a source. Cheap to make; nothing is read before `size` or `read` is called.

    Attributes
    ----------
    name : str
        Where it lies inside the source, such as ``cats/7.jpg``; unique within the source. Plain text: no control
        characters, nothing that UTF-8 cannot write.
    where : str
        Where it lies for a person who has to mend it; for error messages. It ends with the name.
    size : callable
        ``size(max_pixels=n)`` gives width and height of the upright image, by its header alone: see
        `datasets.decode.upright_size`.
    read : callable
        ``read()`` gives the bytes of an image file, or the pixels themselves: uint8, shape (H, W) or (H, W, 3), upright
        sRGB. It raises InputError or OSError.
    label : int or None
        Class number in 0..C-1, for every image of a source with `Source.label_names`; meaningless in others.
    stamp : str
        Text that changes when the bytes of the image change, found without reading them, such as the size and time of
        a file; empty if only the whole source has such a stamp.
    """

    name: str
    where: str
    size: Callable[..., tuple[int, int]]
    read: Callable[[], bytes | NDArray[np.uint8]]
    label: int | None = None
    stamp: str = ""


class Source(abc.ABC):
    """Images in a fixed order that does not depend on the machine.

    Safe to read from several threads, and after a fork. A pickle holds the path and the stamp alone: whoever loads it
    opens the source again, once per process, and gets an InputError if it is not the same any more.

    Attributes
    ----------
    path : Path
        Where the source is.
    name : str
        What a data set's manifest calls it: no folder of the machine on which it was built.
    label_names : tuple of str or None
        Name of every class, by class number; None: the images have no labels.
    crop : Crop or None
        Crop that these images are meant to be used with, if the user names none; None: no wish.
    """

    path: Path
    name: str
    label_names: tuple[str, ...] | None = None
    crop: Crop | None = None

    @abc.abstractmethod
    def __init__(self, path: Path) -> None:
        """Open the source; an InputError if it is damaged or holds no image."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Count the images, without reading any; at least 1."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Item:
        """Image number `index`, counted from 0; an IndexError beyond the last."""

    @property
    @abc.abstractmethod
    def stamp(self) -> str:
        """Text that changes when the source as a whole changes, as the size and time of an archive do."""

    def read_labels(self) -> None:  # noqa: B027  most sources have none, or know them at once
        """Find the labels if that takes more than opening the source; an InputError if they are at fault.

        `open_source` calls it once, unless nobody wants the labels.
        """

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[type[Source], Path, bool, str]]:
        return reopen, (type(self), self.path.absolute(), self.label_names is not None, self.stamp)


def file_stamp(path: Path) -> str:
    """Size and time of modification of a file: text that changes when the file does.

    Raises
    ------
    OSError
        If there is no such file.
    """
    state = path.stat()
    return f"{state.st_size}:{state.st_mtime_ns}"


_reopening = threading.Lock()


def reopen(kind: type[Source], path: Path, labelled: bool, stamp: str) -> Source:
    """Open a source again in another process, once for all items that are read there.

    Raises
    ------
    InputError
        If the source is not what it was when it had this stamp.
    """
    with _reopening:  # so that threads that want the same one at once wait for the first
        return _opened(kind, path, labelled, stamp)


@functools.lru_cache(maxsize=8)
def _opened(kind: type[Source], path: Path, labelled: bool, stamp: str) -> Source:
    source = kind(path)
    if labelled:
        source.read_labels()
    if source.stamp != stamp:
        raise InputError(f"{path} has changed since the build began; run the same command again")
    return source


def names() -> list[str]:
    """Names of all sources, which are the file names of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Module of the source called `name`."""
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> str:
    """One line about the source called `name`."""
    return (load(name).__doc__ or "").strip().splitlines()[0]


def recognise(path: Path) -> list[str]:
    """Names of the sources that recognise what is at `path`: one, or none."""
    special = [name for name in names() if not getattr(load(name), "GENERAL", False)]
    general = [name for name in names() if name not in special]
    return [name for name in special if load(name).recognises(path)] or [
        name for name in general if load(name).recognises(path)
    ]


def open_source(path: Path | str, kind: str | None = None, *, labels: bool = True) -> Source:
    """Open whatever source is at `path`.

    Parameters
    ----------
    path : Path or str
        A folder or a file.
    kind : str, optional
        Name of the source to take it for, one of `names()`, whatever it looks like; by default it is recognised.
    labels : bool
        False: the source has no `Source.label_names`, and labels that are at fault do no harm.

    Raises
    ------
    InputError
        If there is nothing at `path`, no source recognises it, or it is not a `kind`, or damaged, or holds no image.
    """
    path = Path(path)
    if kind is not None and kind not in names():
        raise InputError(f"there is no source called {kind!r}; it may be one of: {', '.join(names())}")
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; name a source of images: {', '.join(names())}")
        if path.is_file():
            with path.open("rb"):  # what cannot be read is said here, not by each module in its own way
                pass
            if path.stat().st_size == 0:
                raise InputError(f"{path} is empty; name a source of images: {', '.join(names())}")
        if path.is_dir() and next(path.iterdir(), None) is None:
            raise InputError(f"{path} is empty; name a folder of images")
        kinds = recognise(path) if kind is None else [kind]
        if not kinds:
            raise InputError(
                f"{path} is no source of images that this program knows; it may be one of: {', '.join(names())}"
            )
        source: Source = load(kinds[0]).Source(path)
        if labels:
            source.read_labels()
        else:
            source.label_names = None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); make it readable") from None
    return source
