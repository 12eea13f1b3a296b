"""A landmark file as a finder of faces: which of its entries belongs to which photograph.

Landmark files name photographs in many ways. A photograph and an entry belong together if one path is the end of the
other: an entry ``000001.jpg`` or ``/data/img_celeba/000001.jpg`` is that of ``img_celeba/000001.jpg``. If the entry has
no suffix, or that of another image format, the names without suffix are compared. ``a/1.jpg`` and ``b/1.jpg`` never
belong together.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.archives.names import is_image_name
from datasets.errors import InputError
from toolkit.celebahq.faces.finder import Face, NoLandmarks, Pixels, left_to_right
from toolkit.sources import file_stamp


@dataclasses.dataclass(frozen=True, eq=False)
class Landmarks:
    """What a landmark file holds.

    Attributes
    ----------
    names : list of str
        Photograph of every face; of several faces in one photograph the name comes several times.
    points : ndarray of float64, shape (number of faces, 5, 2)
        As `Face.points`.
    confidences : list of float or None, or None
        One for every face.
    sizes : list of tuple of int or None, or None
        Width and height of the photograph, one for every face.
    faceless : frozenset of str
        Photographs of which the file says that they show no face.
    """

    names: list[str]
    points: NDArray[np.float64]
    confidences: list[float | None] | None = None
    sizes: list[tuple[int, int] | None] | None = None
    faceless: frozenset[str] = frozenset()

    def face(self, index: int) -> Face:
        """Face number `index`."""
        return Face(
            self.points[index],
            None if self.confidences is None else self.confidences[index],
            None if self.sizes is None else self.sizes[index],
        )


class LandmarkFile:
    """Finder that looks photographs up in a file. See `toolkit.celebahq.faces.finder.FaceFinder`.

    Parameters
    ----------
    path : Path
    name : str
        The format.
    read : callable
        ``read(path)`` gives the `Landmarks`.

    Raises
    ------
    InputError
        If the file is damaged, or holds no photograph.
    """

    detects = False

    def __init__(self, path: Path, name: str, read: Callable[[Path], Landmarks]) -> None:
        self.path, self.name, self._read = path, name, read
        self.stamp = stamp_of(path)
        self._landmarks = read(path)
        self._faces: dict[str, list[int]] = defaultdict(list)
        for index, entry in enumerate(self._landmarks.names):
            self._faces[_tidy(entry)].append(index)
        for entry in self._landmarks.faceless:
            self._faces.setdefault(_tidy(entry), [])
        if not self._faces:
            raise InputError(f"{path} holds no landmarks; name a file with at least one photograph's")
        self._faces.default_factory = None

    @functools.cached_property
    def details(self) -> dict[str, str]:
        """Format, name and SHA-256 of the file; a folder has no digest."""
        details = {"finder": self.name, "file": self.path.name}
        if self.path.is_file():
            with self.path.open("rb") as file:
                details["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        return details

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Entries by the last part of their path, without suffix."""
        found: dict[str, list[str]] = defaultdict(list)
        for entry in self._faces:
            found[_stem(entry.rpartition("/")[2])].append(entry)
        return dict(found)

    def entry(self, name: str) -> str:
        """Entry of a photograph.

        Raises
        ------
        NoLandmarks
            If there is none.
        InputError
            If there are several.
        """
        end = name
        while end:  # the longest end of the path that is an entry, suffix included
            if end in self._faces:
                return end
            end = end.partition("/")[2]
        found = self._by_stem.get(_stem(name.rpartition("/")[2]), [])
        found = [entry for entry in found if _is_end(entry, name) or _is_end(name, entry)]
        exact = [entry for entry in found if entry.rpartition("/")[2] == name.rpartition("/")[2]]
        ends = [entry for entry in found if _is_end(entry, name)]
        longest = [entry for entry in ends if entry.count("/") == max(end.count("/") for end in ends)]
        found = exact or longest or found
        if not found:
            raise NoLandmarks(
                f"{name} has no landmarks in {self.path}, whose names are such as {next(iter(self._faces))!r}; add "
                "them, or leave the photograph out"
            )
        if len(found) > 1:
            raise InputError(f"{name} may be {found[0]!r} or {found[1]!r} in {self.path}; give it more of its path")
        return found[0]

    def check(self, names: Sequence[str]) -> None:
        """See `toolkit.celebahq.faces.finder.FaceFinder.check`."""
        taken: dict[str, str] = {}
        missing = 0
        for name in names:
            try:
                entry = self.entry(name)
            except NoLandmarks:
                missing += 1
                continue
            other = taken.setdefault(entry, name)
            if other != name:
                raise InputError(
                    f"{other} and {name} would both get the landmarks of {entry!r} in {self.path}; write more of their "
                    "paths there"
                )
        if names and missing == len(names):
            self.entry(names[0])

    def find(self, name: str, pixels: Pixels) -> list[Face]:  # noqa: ARG002  detectors need the pixels
        """See `toolkit.celebahq.faces.finder.FaceFinder.find`."""
        return left_to_right(self._landmarks.face(index) for index in self._faces[self.entry(name)])

    def names(self) -> list[str]:
        """Photographs that the file knows, in its order."""
        return list(self._faces)

    def __reduce__(self) -> tuple[Callable[..., LandmarkFile], tuple[Any, ...]]:
        return _reopen, (self.path.absolute(), self.name, self._read, self.stamp)


def stamp_of(path: Path) -> str:
    """Text that changes when a landmark file does, or a folder of them."""
    if path.is_file():
        return file_stamp(path)
    stamps = sorted(f"{file.name}:{file_stamp(file)}" for file in path.iterdir() if file.is_file())
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "backslashreplace")).hexdigest()


def repeated(names: Sequence[str]) -> str | None:
    """First name that comes more than once."""
    if len(set(names)) == len(names):
        return None
    return Counter(names).most_common(1)[0][0]


_reopening = threading.Lock()


def _reopen(path: Path, name: str, read: Callable[[Path], Landmarks], stamp: str) -> LandmarkFile:
    """Open a file again in another process, once for all photographs that are looked up there."""
    with _reopening:
        return _opened(path, name, read, stamp)


@functools.lru_cache(maxsize=4)
def _opened(path: Path, name: str, read: Callable[[Path], Landmarks], stamp: str) -> LandmarkFile:
    try:
        file = LandmarkFile(path, name, read)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); make it readable") from None
    if file.stamp != stamp:
        raise InputError(f"{path} has changed since the build began; run the same command again")
    return file


def _tidy(entry: str) -> str:
    """Path of an entry with slashes, as photographs have it."""
    return entry.strip().replace("\\", "/").removeprefix("./")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_image_name(name) else name


def _is_end(path: str, of: str) -> bool:
    """True if a path, without suffix, is the end of another one."""
    path, of = _stem(path), _stem(of)
    return path == of or of.endswith("/" + path.lstrip("/"))
