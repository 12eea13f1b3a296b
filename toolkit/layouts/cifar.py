"""CIFAR-10 and CIFAR-100 as they are downloaded: binary or python version; the archive, its folder, or one file.

Binary files are rows of records: one label byte (CIFAR-100: coarse, then fine), then 3072 bytes of pixels, red, green
and blue, each 32x32. Python files are pickles of a dict with ``data``, uint8 (N, 3072), and the labels; they are read
by `datasets.unpickle`, which runs nothing. (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".)
"""

from __future__ import annotations

import dataclasses
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import unpickle
from datasets.archives import plain_text
from datasets.decode import SUFFIXES
from datasets.errors import InputError
from toolkit.layouts.array_source import ArraySource, named
from toolkit.layouts.byte_ranges import GZIP, AsFile, ByteRange, Inflated, Part, Stored
from toolkit.layouts.labels import Labels

PIXELS = 3 * 32 * 32
_MAX_FILE = 1 << 28  # bytes of a member or a pickle; the largest has 155 MB
_MOST_MEMBERS = 64  # of an archive; the original ones have 9 at most
_RECORDS_READ = 1 << 10  # at a time, when only labels are wanted
_RECORDS_LOOKED_AT = 100  # to recognise a binary file


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the files of a data set are called, and what is in them.

    Attributes
    ----------
    train : tuple of str
        Training files of the python version, in order; those of the binary version end in ``.bin``.
    test : str
        Test file, likewise.
    others : frozenset of str
        All other files of either version.
    label_key : str
        Key of the labels in a pickle.
    label_limits : tuple of int
        Number of classes that each label byte of a binary record tells; the last one is the label.
    meta, meta_key : str
        Pickle that holds the names of the classes, and their key in it.
    names_file : str
        Text file that holds them in the binary version.
    class_names : tuple of str
        Names of the classes, for want of these files.
    """

    train: tuple[str, ...]
    test: str
    others: frozenset[str]
    label_key: str
    label_limits: tuple[int, ...]
    meta: str
    meta_key: str
    names_file: str
    class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _File:
    """A file, or a member of an archive."""

    name: str
    where: str
    content: ByteRange
    size: int


def recognises(path: Path, layout: Layout) -> bool:
    """True for an archive or a folder of this layout, or one of its files, judged by how they begin."""
    batches = {name + suffix for name in (*layout.train, layout.test) for suffix in ("", ".bin")}
    try:
        if path.is_dir():
            files = _in_folder(_folder_of(path, layout), layout)
            return any(_begins_like_batch(file, layout) for file in files if file.name in batches)
        if not path.is_file():
            return False
        for file in _in_archive(path):
            if file.name in batches:
                return _begins_like_batch(file, layout)
            if file.name not in layout.others:  # so that no large archive of something else is unpacked
                return False
        return _is_batch(_single(path), layout)
    except (OSError, InputError):
        return False


class CifarSource(ArraySource):
    """Training images of an archive or a folder, in the order of their files; of a single file, all it holds."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        folder = _folder_of(path, layout) if path.is_dir() else path.parent
        beside = _in_folder(folder, layout)
        files = {file.name: file for file in (beside if path.is_dir() else _in_archive(path))}
        where = folder if path.is_dir() else path
        self._batches = _training_files(files, layout, where) if files or path.is_dir() else [_single(path)]
        self._about_classes = files or {file.name: file for file in beside}
        # Pixels, labels and even the number of images are only known when a pickle has been read, so it is kept.
        pickles = (number for number, file in enumerate(self._batches) if _is_pickle(file))
        self._pickles = {number: _from_pickle(self._batches[number], layout) for number in pickles}
        self._starts = np.cumsum([0, *map(self._count, range(len(self._batches)))])
        stamped = [folder / file.name for file in self._batches] if path.is_dir() else [path]
        super().__init__(path, int(self._starts[-1]), (32, 32), stamped)

    def find_labels(self) -> Labels:
        """Classes from the batches, their names from the file that holds them."""
        labels = [self._labels_in(number) for number in range(len(self._batches))]
        return named(np.concatenate(labels), _class_names(self._about_classes, self._layout), str(self.path))

    def image_name(self, index: int) -> str:
        """File and number in it, the same for the binary and the python version."""
        batch, row = self._find(index)
        return f"{self._batches[batch].name.removesuffix('.bin')}/{row:05d}"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (32, 32, 3)."""
        batch, row = self._find(index)
        file = self._batches[batch]
        if batch in self._pickles:
            pixels: NDArray[np.uint8] = self._pickles[batch][0][row]
        else:
            labels = len(self._layout.label_limits)
            pixels = np.frombuffer(file.content.read(row * (labels + PIXELS) + labels, PIXELS), np.uint8)
        return np.ascontiguousarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0))

    def _find(self, index: int) -> tuple[int, int]:
        """Number of the batch, and of the image in it."""
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        return batch, index - int(self._starts[batch])

    def _count(self, batch: int) -> int:
        """Number of images in a batch."""
        file, labels = self._batches[batch], len(self._layout.label_limits)
        if batch in self._pickles:
            return len(self._pickles[batch][1])
        num_images, rest = divmod(file.size, labels + PIXELS)
        if rest or not num_images:
            raise InputError(
                f"{file.where} has {file.size} bytes, no multiple of {labels + PIXELS}; it is cut short or of "
                "another data set, download it again"
            )
        return num_images

    def _labels_in(self, batch: int) -> NDArray[np.int64]:
        file, labels = self._batches[batch], len(self._layout.label_limits)
        if batch in self._pickles:
            return self._pickles[batch][1]
        num_images = self._count(batch)
        found = [
            _records(file, first, min(_RECORDS_READ, num_images - first), labels)[:, labels - 1]
            for first in range(0, num_images, _RECORDS_READ)
        ]
        return np.concatenate(found).astype(np.int64)


def _training_files(files: Mapping[str, _File], layout: Layout, path: Path) -> list[_File]:
    for suffix in ("", ".bin"):
        expected = [name + suffix for name in layout.train]
        found = [files[name] for name in expected if name in files]
        if len(found) == len(expected):
            return found
        if found:
            missing = ", ".join(name for name in expected if name not in files)
            raise InputError(f"{path} lacks {missing}; download it again, or name one of its files alone")
    raise InputError(f"{path} holds neither {layout.train[0]} nor {layout.train[0]}.bin; download it again")


def _class_names(files: Mapping[str, _File], layout: Layout) -> tuple[str, ...]:
    """Names from the file that holds them, or the well-known ones."""
    if layout.names_file in files:
        file = files[layout.names_file]
        lines = file.content.read(0, min(file.size, 1 << 16)).decode("utf-8", "replace").split()
        return tuple(lines) or layout.class_names
    if layout.meta in files:
        file = files[layout.meta]
        if file.size <= _MAX_FILE:
            names = _entry(unpickle.loads(file.content.read(0, file.size), file.where), layout.meta_key)
            if isinstance(names, list) and names and all(isinstance(name, str | bytes) for name in names):
                return tuple(name if isinstance(name, str) else name.decode("utf-8", "replace") for name in names)
        raise InputError(f"{file.where} has no list {layout.meta_key!r}; download it again")
    return layout.class_names


def _records(file: _File, first: int, count: int, labels: int) -> NDArray[np.uint8]:
    size = labels + PIXELS
    return np.frombuffer(file.content.read(first * size, count * size), np.uint8).reshape(count, size)


def _is_pickle(file: _File) -> bool:
    """True if the file begins like a pickle; a label is never 128."""
    return file.size > 1 and file.content.read(0, 1) == b"\x80"


def _begins_like_batch(file: _File, layout: Layout) -> bool:
    """True if the start of the file is right; to go by its name would take other people's files for ours."""
    if _is_pickle(file):
        return file.content.read(1, 1)[0] in range(2, 6)
    limits = np.array(layout.label_limits)
    num_images, rest = divmod(file.size, len(limits) + PIXELS)
    if rest or not num_images:
        return False
    records = _records(file, 0, min(num_images, _RECORDS_LOOKED_AT), len(limits))
    return bool((records[:, : len(limits)] < limits).all())


def _is_batch(file: _File, layout: Layout) -> bool:
    """As `_begins_like_batch`, for a file of any name."""
    if _is_pickle(file):
        _from_pickle(file, layout)
        return True
    return file.content.read(0, min(4, file.size)) != b"\0\0\x08\x03" and _begins_like_batch(file, layout)  # no IDX


def _from_pickle(file: _File, layout: Layout) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels, shape (N, 3072), and labels."""
    if file.size > _MAX_FILE:
        raise InputError(f"{file.where} has {file.size} bytes, more than any file of this data set; download it again")
    content = unpickle.loads(file.content.read(0, file.size), file.where)
    pixels, labels = _entry(content, "data"), _entry(content, layout.label_key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        raise InputError(f"{file.where} has no 'data' of uint8 and shape (N, {PIXELS}); download it again")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not labels:
        raise InputError(f"{file.where} has no list {layout.label_key!r} of {len(pixels)} labels; download it again")
    if not all(type(label) is int and 0 <= label < 1 << 16 for label in labels):
        raise InputError(f"{file.where}: {layout.label_key!r} are not all class numbers; download it again")
    return pixels, np.array(labels, np.int64)


def _entry(content: Any, key: str) -> Any:
    """Entry of a dict that Python 2 or Python 3 wrote."""
    return content.get(key, content.get(key.encode())) if isinstance(content, dict) else None


def _single(path: Path) -> _File:
    return _File(path.name, str(path), Stored(path), path.stat().st_size)


def _folder_of(path: Path, layout: Layout) -> Path:
    """The folder with the files: `path`, or its one subfolder, as unpacking the archive leaves it."""
    if _in_folder(path, layout):
        return path
    subfolders: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if Path(entry.path).is_dir():
                subfolders.append(entry.path)
            if len(subfolders) > 1 or entry.name.lower().endswith(SUFFIXES):  # a folder of images, perhaps of millions
                return path
    return Path(subfolders[0]) if subfolders and _in_folder(Path(subfolders[0]), layout) else path


def _in_folder(folder: Path, layout: Layout) -> list[_File]:
    names = [name + suffix for name in (*layout.train, layout.test) for suffix in ("", ".bin")]
    places = [folder / name for name in (*names, *sorted(layout.others))]
    return [_single(place) for place in places if place.is_file()]


def _in_archive(path: Path) -> Iterator[_File]:
    """Members of a tar archive, packed with gzip or not; none if it is something else."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    whole: ByteRange = Inflated(path, GZIP) if packed else Stored(path)
    try:
        with AsFile(whole) if isinstance(whole, Inflated) else path.open("rb") as file:
            try:
                archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  an error means: no archive
            except (tarfile.TarError, InputError, OSError):
                return
            for _ in range(_MOST_MEMBERS):
                member = archive.next()
                if member is None:
                    return
                if member.size > _MAX_FILE:  # a stream of zeros, packed to a thousandth, would take hours to skip
                    raise InputError(f"{path} has a member of {member.size} bytes, too large for this data set")
                name = os.path.basename(member.name)  # noqa: PTH119  a name in an archive, not a path here
                if member.isreg() and member.sparse is None and not name.startswith("."):
                    yield _File(
                        name, f"{path}: {plain_text(member.name)}", Part(whole, member.offset_data), member.size
                    )
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is a damaged archive ({reason}); download it again") from None
    raise InputError(f"{path} has more than {_MOST_MEMBERS} members, so it is not the archive of this data set")
