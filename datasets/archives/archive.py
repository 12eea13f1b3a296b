"""What zip and tar archives have in common: a sorted list of image members, each read at its place."""

from __future__ import annotations

import abc
from collections import Counter
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from datasets.decode import MAX_PIXELS, SUFFIXES, upright_size
from datasets.errors import InputError

MAX_MEMBER_BYTES = 1 << 29  # 512 MiB; the largest image (MAX_PIXELS) in 8-bit RGB has 768 MiB before any compression
_HEAD_BYTES = 1 << 16  # of most image files the header lies in the first 64 KiB
_HEADER_FIRST = (b"\xff\xd8\xff", b"\x89PNG")  # JPEG, PNG: if the header is cut short, the decoder says so


class Archive(abc.ABC):
    """The images of an archive. Safe to read from several threads, and after a fork: every read names its place.

    Attributes
    ----------
    path : Path
        Where the archive is.
    names : list of str
        Name of every image, sorted; unique.
    stamp : str
        Size and time of the archive: text that changes when it does.
    """

    path: Path
    names: list[str]
    stamp: str
    contents = f"images ({' '.join(SUFFIXES)})"  # what is looked for in it, for error messages
    _table: NDArray[Any]  # one record for every image, with at least the field "size"; small, for millions of images

    def _set_members(self, names: list[str], table: NDArray[Any], others: Counter[str]) -> None:
        """Take the image members in any order, and the suffixes of what else there is."""
        if not names:
            found = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common(4)) or "nothing"
            raise InputError(f"{self.path} holds no {self.contents}, but {found}; name an archive that does")
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names, self._table = [names[index] for index in order], table[order]
        for one, two in zip(self.names, self.names[1:], strict=False):
            if one == two:
                raise InputError(f"{self.path} holds two members called {one!r}; pack it again, every name once")

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """Name of an image for error messages."""
        return f"{self.path}:{self.names[index]}"

    def read(self, index: int) -> bytes:
        """Image file number `index`.

        Raises
        ------
        InputError
            If it is damaged, encrypted, too large, or stored in a way that is not known here.
        """
        size = int(self._table[index]["size"])
        self._check_size(size, self.where(index))
        return self._read(self._table[index], size, self.where(index))

    def image_size(self, index: int, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        """Width and height of image number `index`, by its header: see `datasets.decode.upright_size`."""
        record, where = self._table[index], self.where(index)
        if record["size"] > _HEAD_BYTES:
            head = self._read(record, _HEAD_BYTES, where)
            if head.startswith(_HEADER_FIRST):
                try:
                    return upright_size(head, where, max_pixels=max_pixels)
                except InputError:
                    pass  # the header is longer than that, or bad: the whole file tells
        return upright_size(self.read(index), where, max_pixels=max_pixels)

    @abc.abstractmethod
    def image_stamp(self, index: int) -> str:
        """Text that changes when the bytes of image number `index` change, without reading them."""

    @abc.abstractmethod
    def read_other(self, name: str) -> bytes | None:
        """Content of the member that is called `name` and is no image, or None if there is none."""

    @abc.abstractmethod
    def _read(self, record: Any, num_bytes: int, where: str) -> bytes:
        """First `num_bytes` of the file of a record of the table; if that is all of it, checked."""

    @staticmethod
    def _check_size(size: int, where: str) -> None:
        if size > MAX_MEMBER_BYTES:
            raise InputError(
                f"{where} says that it has {size} bytes, more than the {MAX_MEMBER_BYTES} allowed in an archive; "
                "unpack it or remove it"
            )
