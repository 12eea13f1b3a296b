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
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.transforms import Crop

if TYPE_CHECKING:
    from toolkit.engine.journal import Journal
    from toolkit.engine.progress import Progress
    from toolkit.engine.workers import Workers


@dataclasses.dataclass(frozen=True, eq=False)
class Rendered:
    """Pixels that a source made itself, and how.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Upright sRGB.
    applied : tuple of str
        Names of what was done, in that order, for the ledger.
    details : dict
        What else the ledger is to say of the image, in JSON's types: scores, digests of models, evidence.
    """

    pixels: NDArray[np.uint8]
    applied: tuple[str, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


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
        sRGB; or what the source made, as `Rendered`. It raises InputError or OSError.
    label : int or None
        Class number in 0..C-1, for every image of a source with `Source.label_names`; meaningless in others.
    stamp : str
        Text that changes when the bytes of the image change, found without reading them, such as the size and time of
        a file; empty if only the whole source has such a stamp.
    left_out : str or None
        Why the source itself wants this image left out, beginning with a kind of `toolkit.selection` and a colon; then
        neither `size` nor `read` is called. None: it does not.
    check : callable or None
        ``check()`` raises what `read` would, for less work; None: only `read` can tell whether the image is good.
    preview : callable or None
        ``preview()`` gives pixels that show a person what the image is, uint8 of shape (H, W, 3), for less work than
        `read`, and of an image that is left out, too; None: `read` is good enough.
    """

    name: str
    where: str
    size: Callable[..., tuple[int, int]]
    read: Callable[[], bytes | NDArray[np.uint8] | Rendered]
    label: int | None = None
    stamp: str = ""
    left_out: str | None = None
    check: Callable[[], None] | None = None
    preview: Callable[[], NDArray[np.uint8]] | None = None


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
    settings : mapping of str to anything
        What decides the pixels besides the files, in JSON's types, for a source that makes its images. It becomes part
        of the options in the manifest.
    """

    path: Path
    name: str
    label_names: tuple[str, ...] | None = None
    crop: Crop | None = None
    settings: Mapping[str, Any] = {}

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

    def prepare(self, workers: Workers, journal: Journal | None, progress: Progress) -> None:  # noqa: B027  optional
        """Find out, before a build, what it takes long to find out; it may be needed to count the images.

        What is found goes into the journal, if there is one, so that an interrupted build need not look for it again.
        """

    def identity(self) -> dict[str, Any]:
        """What an interrupted build must have been made of for another to go on with it, in JSON's types.

        Known before `prepare`. Images with stamps of their own are left out: each of these is checked by itself.
        """
        stamp = "" if self[0].stamp else self.stamp
        return {"source": self.name, "kind": type(self).__module__, "stamp": stamp, "settings": dict(self.settings)}

    def __reduce__(self) -> tuple[Any, ...]:
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
