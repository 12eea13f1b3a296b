"""The photographs of CelebA in the wild, byte for byte, in a folder of one of the usual layouts or in a zip archive.

The bytes are what counts: they are the key to the deltas. So nothing but ``000001.jpg`` and so on is taken, and what
lies there instead (aligned images, PNG conversions, parts of the 7z archive) is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from datasets.archives import Archive, open_archive
from datasets.errors import InputError
from toolkit.sources import file_stamp

RELEASED_COUNT = 202_599
SOURCE = "the page of CelebA (mmlab.ie.cuhk.edu.hk/projects/CelebA.html), In-The-Wild Images, img_celeba.7z"
ALIGNED_SIZE = (178, 218)  # width and height of the aligned images

_NAME = re.compile(r"\d{6}\.jpg", re.ASCII)
_DEPTH = 3  # of Img/img_celeba.7z/img_celeba
_FOLDER = "img_celeba"
_ALIGNED = "img_align_celeba"


class Originals(Protocol):
    """Photographs by their names, such as ``000001.jpg``."""

    path: Path

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...

    def where(self, name: str) -> str:
        """Where a photograph lies, for error messages."""

    def stamp(self, name: str) -> str:
        """Text that changes when its bytes do; ``missing`` if it is not there."""

    def read(self, name: str) -> bytes:
        """Its bytes; an InputError or OSError if they cannot be had."""

    def head(self, name: str, num_bytes: int) -> bytes:
        """The first of them."""


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        with os.scandir(self.path) as entries:
            return sum(_NAME.fullmatch(entry.name) is not None for entry in entries)

    def __contains__(self, name: object) -> bool:
        return (self.path / str(name)).is_file()

    def where(self, name: str) -> str:
        return f"{self.path}/{name}"

    def stamp(self, name: str) -> str:
        try:
            return file_stamp(self.path / name)
        except OSError:
            return "missing"

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def head(self, name: str, num_bytes: int) -> bytes:
        with (self.path / name).open("rb") as file:
            return file.read(num_bytes)


class _Archived:
    def __init__(self, archive: Archive) -> None:
        self.path, self._archive = archive.path, archive
        self._numbers: dict[str, int] = {}
        for number, member in enumerate(archive.names):
            *folders, name = member.split("/")
            if _NAME.fullmatch(name) and not any(folder.startswith(_ALIGNED) for folder in folders):
                self._numbers.setdefault(name, number)
        if not self._numbers:
            raise InputError(
                f"{self.path} holds no photographs of CelebA in the wild (img_celeba/000001.jpg), but such as "
                f"{archive.names[0]}; get them from {SOURCE}"
            )

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def where(self, name: str) -> str:
        return f"{self.path}:{name}"

    def stamp(self, name: str) -> str:
        return self._archive.image_stamp(self._numbers[name]) if name in self else "missing"

    def read(self, name: str) -> bytes:
        return self._archive.read(self._numbers[name])

    def head(self, name: str, num_bytes: int) -> bytes:
        return self.read(name)[:num_bytes]


def find(place: Path) -> Originals:
    """Photographs below a folder, or in a zip or tar archive.

    A folder called ``img_celeba`` is preferred, at most three levels down; then any other that holds such photographs
    and is not one of aligned images; then an archive whose name begins with ``img_celeba``.

    Raises
    ------
    InputError
        If there are none; says what is there instead, and what to do.
    """
    if not place.exists():
        raise InputError(f"{place} does not exist; name the folder of CelebA, with Img/img_celeba and Anno in it")
    if place.is_file():
        archive = open_archive(place)
        if archive is None:
            raise InputError(_packed([place]) or f"{place} is no folder, zip or tar archive; name the folder of CelebA")
        return _Archived(archive)
    below = list(_folders(place))
    holding = [folder for folder in below if _holds(folder, _NAME)]
    wild = [folder for folder in holding if not folder.name.startswith(_ALIGNED)]
    if wild:
        return _Folder(min(wild, key=lambda folder: (folder.name != _FOLDER, len(folder.parts), str(folder))))
    files = [file for folder in below for file in sorted(folder.glob(f"{_FOLDER}*")) if file.is_file()]
    for file in files:
        archive = open_archive(file)
        if archive is not None:
            return _Archived(archive)
    raise InputError(_packed(files) or _instead(place, below, holding))


def _folders(place: Path) -> Iterator[Path]:
    """A folder and those below it that are not hidden, in order of their names."""
    pending = [(place, 0)]
    while pending:
        folder, depth = pending.pop(0)
        yield folder
        if depth < _DEPTH:
            with os.scandir(folder) as entries:
                inside = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
            pending += [(folder / name, depth + 1) for name in inside]


def _holds(folder: Path, name: re.Pattern[str]) -> bool:
    with os.scandir(folder) as entries:
        return any(name.fullmatch(entry.name) for entry in entries)


def _packed(files: list[Path]) -> str | None:
    """What to say of the released archive, if that is what there is."""
    for file in files:
        if ".7z" in file.name:
            return (
                f"{file} is packed; unpack the photographs first: put all parts img_celeba.7z.001 to .014 into one "
                "folder and run 7z x img_celeba.7z.001"
            )
    return None


def _instead(place: Path, below: list[Path], aligned: list[Path]) -> str:
    """What to say of a folder without the photographs."""
    if aligned:
        return (
            f"{aligned[0]} holds the aligned images of 178x218 pixels, and {place} no photographs in the wild, from "
            f"which alone CelebA-HQ is made; get them from {SOURCE}"
        )
    converted = re.compile(r"\d{6}\.(?!jpg$)\w+", re.ASCII)
    for folder in below:
        if _holds(folder, converted):
            return (
                f"{folder} holds conversions of the photographs, not the JPEG files themselves (000001.jpg), whose "
                f"bytes are the key to the deltas; get them from {SOURCE}"
            )
    return (
        f"{place} holds no photographs of CelebA in the wild (Img/img_celeba/000001.jpg and so on); get them from "
        f"{SOURCE}, and unpack them there"
    )
