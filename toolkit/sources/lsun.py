"""An LSUN folder: an LMDB database (data.mdb) of image files, sorted by key.

LSUN (Yu et al. 2015, arXiv:1506.03365) gives every category as a database whose values are WebP or JPEG files of about
256 pixels; the key, 40 hexadecimal digits, is the name. Any database of image files in this form is read. The data sets
of this program that end in ``.lmdb`` are single files, and another source.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datasets.archives import MAX_MEMBER_BYTES, plain_text
from datasets.decode import MAX_PIXELS, upright_size
from datasets.errors import InputError
from toolkit import sources
from toolkit.layouts.lmdb_entries import LmdbEntries, is_lmdb
from toolkit.sources import Item

_FILE = "data.mdb"


def recognises(path: Path) -> bool:
    """True for a folder with an LMDB database in the file ``data.mdb``."""
    return is_lmdb(path / _FILE)


class Source(sources.Source):
    """The values of a database; an image's name is its key.

    Raises
    ------
    InputError
        If there is no database, it is damaged, or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = plain_text(path.resolve().name)
        if not recognises(path):
            raise InputError(
                f"{path} is no folder with an LMDB database in {_FILE}; name the folder of an LSUN category"
            )
        self._entries = LmdbEntries(path / _FILE)
        if len(self._entries) == 0:
            raise InputError(f"{path} holds an empty database; name the folder of an LSUN category")

    @property
    def stamp(self) -> str:
        """Size and time of the database."""
        return self._entries.file.stamp

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        key, _, size = self._entries.entry(index)
        name = plain_text(key.decode("utf-8", "surrogateescape"))
        where = f"{self.path}:{name}"
        return Item(
            name, where, size=partial(self._size, index, where), read=partial(self._read, index, where), stamp=str(size)
        )

    def _size(self, index: int, where: str, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        return upright_size(self._read(index, where), where, max_pixels=max_pixels)

    def _read(self, index: int, where: str) -> bytes:
        _, offset, size = self._entries.entry(index)
        if size > MAX_MEMBER_BYTES:
            raise InputError(f"{where} has {size} bytes, more than the {MAX_MEMBER_BYTES} allowed; remove it")
        return self._entries.file.read(offset, size)
