"""Reads an LMDB database page by page: its keys in order, and where each value lies. No map, no lock, no writing.

The library of that name maps the file and trusts every number in it, so a database that is cut short or damaged ends
the program with a signal and without a message. A data set needs only a walk over the leaf pages; here every number
is checked. Layout of LMDB 0.9, data version 1, as 64-bit little-endian machines write it (OpenLDAP, liblmdb/mdb.c:
MDB_page, MDB_meta, MDB_node): all pages have one size; pages 0 and 1 describe the database, the newer one counts;
branch pages lead to leaf pages; a node of a leaf holds a key with its value, or with the number of the overflow page
where the value begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.archives.shared_file import SharedFile
from datasets.errors import InputError

_SIGNATURE = struct.Struct("<16xII")  # of a meta page: magic number, data version
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE_SIZE = struct.Struct("<40xI")
_TREE = struct.Struct("<88x4xHH24xQQ")  # flags, depth, number of entries, root page
_TRANSACTION = struct.Struct("<144xQ")
_META_BYTES = 152
_PAGE = struct.Struct("<10xHH2x")  # flags, end of the list of node offsets, which follows
_NODE = struct.Struct("<HHHH")  # low and high half of the size of the value; flags; length of the key, which follows
_BRANCH, _LEAF = 1, 2  # flags of pages
_ON_OVERFLOW_PAGES = 1  # flag of a node
_NO_PAGE = (1 << 64) - 1
_MAX_DEPTH = 32  # as in the library


def is_lmdb(path: Path) -> bool:
    """True for a file that begins as LMDB databases do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_SIGNATURE.size)
    return len(start) == _SIGNATURE.size and _SIGNATURE.unpack(start)[0] == _MAGIC


class LmdbEntries:
    """Entries of a database, numbered in the order of their keys. Safe to read from several threads, and after a fork.

    Only the numbers of the leaf pages are kept, 16 bytes for some dozens of entries, so millions of keys cost little.

    Parameters
    ----------
    path : Path
        File of the database, ``data.mdb``.

    Raises
    ------
    InputError
        If it is damaged, cut short, of another version, or holds more than plain entries.
    """

    def __init__(self, path: Path) -> None:
        self.file = SharedFile(path)
        self._page_size, flags, depth, self._num_entries, root = self._newest_meta()
        if flags:
            raise InputError(
                f"{path} holds entries of a kind that is not known here (flags {flags}); export the images"
            )
        if depth > _MAX_DEPTH:
            raise self._damaged(f"its tree is {depth} pages deep")
        pages, counts = [], []
        for page, count in self._leaves(root, depth) if root != _NO_PAGE else ():
            pages.append(page)
            counts.append(count)
            if len(pages) * self._page_size > self.file.size:
                raise self._damaged("its tree is larger than the file")
        if sum(counts) != self._num_entries:
            raise self._damaged(f"it states {self._num_entries} entries but has {sum(counts)}")
        self._pages = np.array(pages, np.int64)
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return self._num_entries

    def entry(self, index: int) -> tuple[bytes, int, int]:
        """Key number `index`, and offset and size in bytes of its value."""
        if not 0 <= index < self._num_entries:
            raise IndexError(index)
        leaf = int(np.searchsorted(self._ends, index, side="right"))
        number, page = int(self._pages[leaf]), self._page(int(self._pages[leaf]))
        first = int(self._ends[leaf - 1]) if leaf else 0
        start, low, high, flags, key_length = self._node(page, index - first)
        key, value, size = page[start : start + key_length], start + key_length, low | high << 16
        if flags & ~_ON_OVERFLOW_PAGES:
            raise InputError(f"{self.file.path} holds databases inside the database; export the images")
        if flags & _ON_OVERFLOW_PAGES:
            offset = int.from_bytes(page[value : value + 8], "little") * self._page_size + _PAGE.size
        else:
            offset = number * self._page_size + value
        if offset + size > (self.file.size if flags else (number + 1) * self._page_size):
            raise self._damaged("a value goes beyond its end")
        return key, offset, size

    def _newest_meta(self) -> tuple[int, int, int, int, int]:
        """Page size, and flags, depth, number of entries and root page of the tree."""
        first = self.file.read(0, _META_BYTES)
        if len(first) < _META_BYTES:
            raise self._damaged("it ends in its first page")
        page_size = _PAGE_SIZE.unpack_from(first)[0]
        if not 256 <= page_size <= 1 << 16 or page_size & (page_size - 1):
            raise self._damaged(f"its pages have {page_size} bytes")
        metas = [first, self.file.read(page_size, _META_BYTES)]
        for meta in metas:
            if len(meta) < _META_BYTES or _SIGNATURE.unpack_from(meta)[0] != _MAGIC:
                raise self._damaged("a meta page is missing")
            if (version := _SIGNATURE.unpack_from(meta)[1]) != _VERSION:
                raise InputError(f"{self.file.path} has LMDB's data version {version}, only {_VERSION} is known here")
        newest = max(metas, key=lambda meta: _TRANSACTION.unpack_from(meta)[0])
        return page_size, *_TREE.unpack_from(newest)

    def _leaves(self, number: int, depth: int) -> Iterator[tuple[int, int]]:
        """Page number and number of entries of every leaf below a page, in the order of the keys."""
        flags, end = _PAGE.unpack(self._read_page(number, _PAGE.size))
        count = (end - _PAGE.size) // 2
        if depth < 1 or count < 1 or not flags & (_BRANCH if depth > 1 else _LEAF):
            raise self._damaged(f"page {number} is not where it belongs")
        if depth == 1:
            yield number, count
            return
        page = self._page(number)
        for node in range(count):
            _, low, high, more, _ = self._node(page, node)
            yield from self._leaves(low | high << 16 | more << 32, depth - 1)

    def _node(self, page: bytes, node: int) -> tuple[int, int, int, int, int]:
        """Where the key of a node begins, and what its header says."""
        start = int.from_bytes(page[_PAGE.size + 2 * node : _PAGE.size + 2 * node + 2], "little")
        if start + _NODE.size > len(page):
            raise self._damaged("an entry lies outside of its page")
        low, high, flags, key_length = _NODE.unpack_from(page, start)
        if start + _NODE.size + key_length > len(page):
            raise self._damaged("a key goes beyond its page")
        return start + _NODE.size, low, high, flags, key_length

    def _page(self, number: int) -> bytes:
        return self._read_page(number, self._page_size)

    def _read_page(self, number: int, num_bytes: int) -> bytes:
        data = self.file.read(number * self._page_size, num_bytes) if number * self._page_size < self.file.size else b""
        if len(data) < num_bytes:
            raise self._damaged(f"it ends before its page {number}")
        return data

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self.file.path} is damaged or cut short ({reason}); copy or download it again")
