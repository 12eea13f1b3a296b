"""The files of deltas: ``deltas00000.zip`` and so on, each with a thousand of ``delta00000.dat``, or these unpacked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from datasets.archives import ZipArchive, is_zip
from datasets.errors import InputError
from toolkit.sources import file_stamp

PER_ZIP = 1000
RELEASED_ZIPS = 30
SOURCE = "the CelebA-HQ folder of the authors' release (linked from github.com/tkarras/progressive_growing_of_gans)"

_DELTA = re.compile(r"(?:.*/)?delta(\d{5})\.dat", re.ASCII)
_LEAST_BYTES = 100  # of a token that holds anything
_LEAST_ZIP = 22  # bytes of an empty zip archive


def zip_name(index: int) -> str:
    """Name of the zip archive that holds the delta of image number `index`."""
    return f"deltas{index - index % PER_ZIP:05d}.zip"


def member_name(index: int) -> str:
    """Name of the delta of image number `index`."""
    return f"delta{index:05d}.dat"


def _is_delta(name: str) -> bool:
    return _DELTA.fullmatch(name) is not None


def _number(name: str) -> int:
    match = _DELTA.fullmatch(name)
    assert match is not None, name
    return int(match[1])


class DeltaFiles:
    """All deltas in a folder and the folders in it, by the numbers of their images.

    Parameters
    ----------
    path : Path
        The folder, or one zip archive.

    Attributes
    ----------
    zips : list of Path
        Archives that could be opened.
    broken : dict of Path to str
        Archives that could not -> why, and what to do.
    doubled : dict of int to str
        Deltas that an archive holds twice -> what to do; which of the two is right, nobody can tell.

    Raises
    ------
    InputError
        If the path does not exist. If nothing there could be a delta, `missing` says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zips: list[Path] = []
        self.broken: dict[Path, str] = {}
        self.doubled: dict[int, str] = {}
        self._loose: dict[int, Path] = {}
        self._packed: dict[int, tuple[ZipArchive, int]] = {}
        if not path.exists():
            raise InputError(f"{path} does not exist; name the folder with the deltas00000.zip of CelebA-HQ and so on")
        files = [path] if path.is_file() else sorted(_files_in(path))
        for file in files:
            match = _DELTA.fullmatch(file.name)
            if match is not None:
                self._loose.setdefault(int(match[1]), file)
            elif file.suffix.lower() == ".zip":
                self._add(file)

    def _add(self, file: Path) -> None:
        try:
            size = file.stat().st_size
            if size < _LEAST_ZIP:
                raise InputError(f"{file} has {size} bytes, so its download failed; get it again from {SOURCE}")
            if not is_zip(file):
                raise InputError(_no_zip(file))
            archive = ZipArchive(file, _is_delta, "deltas (delta00000.dat)", doubles=True)
        except InputError as error:
            text = str(error)
            self.broken[file] = text if SOURCE in text else f"{text}; the original is in {SOURCE}"
            return
        except OSError as error:
            self.broken[file] = f"{file} cannot be read ({error.strerror or error}); make it readable"
            return
        self.zips.append(file)
        for number, name in enumerate(archive.names):
            self._packed.setdefault(_number(name), (archive, number))
        for name in sorted(archive.doubled):
            self.doubled[_number(name)] = f"{file} holds two members called {name!r}; get it again from {SOURCE}"

    def __len__(self) -> int:
        return len(self._loose.keys() | self._packed.keys())

    def __contains__(self, index: object) -> bool:
        return index in self._loose or index in self._packed

    def where(self, index: int) -> str:
        """Where a delta lies, or should, for error messages."""
        if index in self._loose:
            return str(self._loose[index])
        if index in self._packed:
            archive, number = self._packed[index]
            return archive.where(number)
        return f"{self.path / zip_name(index)}:{member_name(index)}"

    def stamp(self, index: int) -> str:
        """Text that changes when the bytes of a delta do; ``missing`` if it is not there."""
        if index in self._loose:
            try:
                return file_stamp(self._loose[index])
            except OSError:
                return "missing"
        if index not in self._packed:
            return "missing"
        archive, number = self._packed[index]
        return archive.image_stamp(number)

    def read(self, index: int) -> bytes:
        """Content of a delta.

        Raises
        ------
        InputError
            If it is not there, damaged, or too short to be one.
        """
        if index in self._loose:
            data = self._loose[index].read_bytes()
        elif index in self._packed:
            archive, number = self._packed[index]
            data = archive.read(number)
        else:
            raise InputError(self.missing(index))
        if len(data) < _LEAST_BYTES:
            raise InputError(f"{self.where(index)} has {len(data)} bytes, so its download failed; get it again")
        return data

    def missing(self, index: int) -> str:
        """Why a delta is not there, and what to do."""
        if index in self.doubled:
            return self.doubled[index]
        if not (self._loose or self._packed or self.broken or self.doubled):
            return (
                f"{self.path} holds neither deltas00000.zip and so on nor delta00000.dat; name the folder that does, "
                f"or get them from {SOURCE}"
            )
        name = zip_name(index)
        for file, reason in self.broken.items():
            if file.name == name:
                return reason
        for file in self.zips:
            if file.name == name:
                return f"{file} holds no {member_name(index)}; get it again from {SOURCE}"
        return f"{self.path / name} is missing, which holds {member_name(index)}; get it from {SOURCE}"


def _files_in(folder: Path) -> list[Path]:
    """Files in a folder, and in the folders in it that are not hidden."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        inside = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if inside == folder else []
        found += [inside / name for name in names if not name.startswith(".")]
    return found


def _no_zip(file: Path) -> str:
    """What to say of a file that is called a zip archive and is none."""
    with file.open("rb") as opened:
        head = opened.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<head")) or b"<html" in head:
        return (
            f"{file} is a web page and no zip archive: the server sent a notice, such as that its quota is used up, "
            f"which was saved under this name; get the file again from {SOURCE}, later or while signed in"
        )
    return f"{file} does not begin as a zip archive does; get it again from {SOURCE}"
