"""A finished LMDB file, read without the LMDB library: where the values of given keys lie in the file.

A finished file never changes, so the values of a pyramid have fixed offsets. Knowing them, a reader copies pixels from
one memory map, in any number of threads and processes, without transactions, lock files or a call for every image. And
every number in a page is checked before it is followed: the library trusts them, and crashes if it is wrong.

The layout (LMDB 0.9, data format 1, 64 bit, little-endian): pages of one size, of which the first two are meta pages;
the one with the greater transaction number names the root of a B+ tree. Branch pages hold (key, child), leaf pages
(key, value); a value too large for that lies on overflow pages of its own behind one header of 16 bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.mapping import FileMap

MAGIC = 0xBEEFC0DE
_HEADER = 16  # bytes at the start of a page: its number (8), padding (2), flags (2), ends of the free space (2 + 2)
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_MAX_DEPTH = 32  # the library's
_OVERFLOWS = 1  # flag of a node whose value is the number of an overflow page
_META = struct.Struct("<IIQQ")  # magic number, format, address, size of the map
_TREE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, branch, leaf and overflow pages, entries, root
_LAST_PAGE = struct.Struct("<QQ")  # last page in use, number of the transaction
_NODE = struct.Struct("<HHHH")  # size of the value or child's number (low, high), flags, size of the key
_PAGES_AT_ONCE = 4096  # leaf pages


class LmdbPages:
    """The key-value pairs of a finished LMDB file.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    file : FileMap
    bytes : ndarray of uint8, shape (n,)
        Its bytes, read-only.

    Raises
    ------
    InputError
        If the file is cut short or its meta pages are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        if size < 2 * 512:
            raise InputError(f"{path} is cut short: {size} bytes hold no LMDB file; build it again")
        self.file = FileMap(path)
        self.bytes = self.file.bytes[: size // 2 * 2]
        self._words = self.bytes.view("<u2")
        self.page_size = 0
        first = self._meta(0)
        newest = max(first, self._meta(self.page_size), key=lambda meta: meta[0])
        _, self._free, (self._root, self._depth), last_page = newest
        if (last_page + 1) * self.page_size > size:
            raise InputError(f"{path} is cut short: it has {size} bytes of {(last_page + 1) * self.page_size}")
        self._num_pages = last_page + 1

    def _meta(self, start: int) -> tuple[int, tuple[int, int], tuple[int, int], int]:
        """Transaction, root and depth of the trees of free pages and of entries, and last page, of a meta page."""
        magic, version, _, _ = self._unpack(_META, start + _HEADER)
        page_size, _, free_depth, *_, free_root = self._unpack(_TREE, start + _HEADER + _META.size)
        _, _, depth, *_, root = self._unpack(_TREE, start + _HEADER + _META.size + _TREE.size)
        last_page, transaction = self._unpack(_LAST_PAGE, start + _HEADER + _META.size + 2 * _TREE.size)
        sizes = [512 << k for k in range(7)]
        if magic != MAGIC or version != 1 or page_size not in sizes or self.page_size not in (0, page_size):
            raise self._damaged(0)
        if max(depth, free_depth) > _MAX_DEPTH:
            raise self._damaged(0)
        self.page_size = page_size
        return transaction, (free_root, free_depth), (root, depth), last_page

    def get(self, key: bytes) -> memoryview | None:
        """Value of a key, in place; None if the key is not there."""
        for page in self._leaves(key, key):
            for found, node in self._nodes(page, _LEAF):
                if found == key:
                    low, high, flags, key_size = self._unpack(_NODE, node)
                    offset, size = node + _NODE.size + key_size, low | high << 16
                    if flags & _OVERFLOWS:
                        number = int.from_bytes(self.bytes[offset : offset + 8].tobytes(), "little")
                        offset = number * self.page_size + _HEADER
                    if flags & ~_OVERFLOWS or offset + size > len(self.bytes):
                        raise self._damaged(page)
                    return self.bytes[offset : offset + size].data
        return None

    def numbered(self, prefix: bytes, digits: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """All keys that are `prefix` and a number of so many digits: numbers, offsets and sizes of the values."""
        leaves = np.array(self._leaves(prefix, prefix + b"9" * digits), np.int64)
        parts = [
            self._numbered(leaves[first : first + _PAGES_AT_ONCE], prefix, digits)
            for first in range(0, len(leaves), _PAGES_AT_ONCE)
        ]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
        numbers, offsets, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
        return numbers, offsets, sizes

    def check(self) -> None:
        """Check every page of the file but the values: it is then safe to change it with the library.

        Raises
        ------
        InputError
            If a page is damaged, or used twice.
        """
        used = np.zeros(self._num_pages, np.bool_)
        used[:2] = True
        for _ in self._walk(self._root, self._depth, used):
            pass
        for _, offset, size in self._walk(*self._free, used):
            data = self.bytes[offset : offset + size // 8 * 8].tobytes()
            count, *pages = np.frombuffer(data, "<u8").tolist() or [0]
            if len(pages) < count or pages[:count] != sorted(set(pages[:count]), reverse=True):
                raise self._damaged(offset // self.page_size)
            for page in pages[:count]:
                self._use(used, page, 1)

    def _walk(self, root: int, depth: int, used: NDArray[np.bool_]) -> Iterator[tuple[bytes, int, int]]:
        """All entries of a tree, (key, offset and size of the value); marks its pages as used."""
        if depth == 0:
            return
        self._use(used, root, 1)
        nodes = self._nodes(root, _LEAF if depth == 1 else _BRANCH)
        end = (root + 1) * self.page_size
        for key, node in sorted(nodes, key=lambda entry: -entry[1]):  # they fill the end of the page, without gaps
            low, high, flags, _ = self._unpack(_NODE, node)
            if depth == 1:
                size = low | high << 16
                offset = node + _NODE.size + len(key)
                inside = _NODE.size + len(key) + (8 if flags else size)
                if flags & ~_OVERFLOWS or node + inside > end:
                    raise self._damaged(root)
                if flags:
                    page = int.from_bytes(self.bytes[offset : offset + 8].tobytes(), "little")
                    pages = (_HEADER + size - 1) // self.page_size + 1
                    self._use(used, page, pages)
                    offset = page * self.page_size + _HEADER
                    words = self._words[page * self.page_size // 2 + 5 : page * self.page_size // 2 + 8].tolist()
                    if words != [_OVERFLOW, pages & 0xFFFF, pages >> 16]:
                        raise self._damaged(page)
                yield key, offset, size
            else:
                inside = _NODE.size + len(key)
                yield from self._walk(low | high << 16 | flags << 32, depth - 1, used)
            if node + inside + inside % 2 != end:
                raise self._damaged(root)
            end = node
        if end != root * self.page_size + int(self._words[root * self.page_size // 2 + 7]):
            raise self._damaged(root)

    def _use(self, used: NDArray[np.bool_], page: int, pages: int) -> None:
        if page + pages > self._num_pages or used[page : page + pages].any():
            raise self._damaged(page)
        used[page : page + pages] = True

    def _leaves(self, first: bytes, last: bytes) -> list[int]:
        """Numbers of the leaf pages that may hold keys from `first` to `last`, in order."""
        if self._depth == 0:
            return []
        pages = [self._root]
        for _ in range(self._depth - 1):
            below: list[int] = []
            for page in pages:
                nodes = self._nodes(page, _BRANCH)
                keys = [key for key, _ in nodes[1:]]  # a page's first key stands for everything before the second
                for _, node in nodes[bisect_right(keys, first) : bisect_right(keys, last) + 1]:
                    low, high, top, _ = self._unpack(_NODE, node)
                    below.append(low | high << 16 | top << 32)
                if len(below) > self._num_pages:
                    raise self._damaged(page)
            pages = below
        if any(page >= self._num_pages for page in pages):
            raise self._damaged(next(page for page in pages if page >= self._num_pages))
        return pages

    def _nodes(self, page: int, kind: int) -> list[tuple[bytes, int]]:
        """Keys of a page and the offsets of their nodes."""
        if page >= self._num_pages:
            raise self._damaged(page)
        start = page * self.page_size
        flags, lower, upper = (int(word) for word in self._words[start // 2 + 5 : start // 2 + 8])
        if flags != kind or not _HEADER <= lower <= upper <= self.page_size:
            raise self._damaged(page)
        nodes = []
        for pointer in self._words[(start + _HEADER) // 2 : (start + lower) // 2].tolist():
            if not upper <= pointer <= self.page_size - _NODE.size:
                raise self._damaged(page)
            begin = start + pointer + _NODE.size
            end = begin + int(self._words[(start + pointer) // 2 + 3])
            if end > start + self.page_size:
                raise self._damaged(page)
            nodes.append((self.bytes[begin:end].tobytes(), start + pointer))
        return nodes

    def _numbered(
        self, pages: NDArray[np.int64], prefix: bytes, digits: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """What `numbered` returns, of some leaf pages, all at once: a level has as many keys as images."""
        starts = pages * self.page_size
        flags, lower, upper = (self._words[starts // 2 + k].astype(np.int64) for k in (5, 6, 7))
        wrong = (flags != _LEAF) | (lower < _HEADER) | (lower > upper) | (upper > self.page_size)
        if wrong.any():
            raise self._damaged(int(pages[wrong][0]))
        counts = (lower - _HEADER) // 2
        page = np.repeat(np.arange(len(pages)), counts)
        place = np.arange(len(page)) - np.repeat(np.cumsum(counts) - counts, counts)
        pointers = self._words[(starts[page] + _HEADER) // 2 + place].astype(np.int64)
        wrong = (pointers < upper[page]) | (pointers > self.page_size - _NODE.size) | (pointers % 2 == 1)
        if wrong.any():
            raise self._damaged(int(pages[page[wrong][0]]))
        nodes = starts[page] + pointers
        low, high, flags, key_sizes = (self._words[nodes // 2 + k].astype(np.int64) for k in range(4))
        length = len(prefix) + digits
        fitting = (key_sizes == length) & (pointers + _NODE.size + length <= self.page_size)
        keys = self.bytes[(nodes[fitting] + _NODE.size)[:, None] + np.arange(length)]
        ours = (keys[:, : len(prefix)] == np.frombuffer(prefix, np.uint8)).all(axis=1)
        signs = keys[ours, len(prefix) :].astype(np.int64) - ord("0")
        chosen = np.flatnonzero(fitting)[ours]
        sizes = low[chosen] | high[chosen] << 16
        offsets = nodes[chosen] + _NODE.size + length
        apart = (flags[chosen] & _OVERFLOWS) != 0
        offsets[apart] = self._overflow_pages(offsets[apart]) * self.page_size + _HEADER
        strange = (flags[chosen] & ~_OVERFLOWS) != 0
        wrong = strange | ((signs < 0) | (signs > 9)).any(axis=1) | (offsets < 0) | (offsets + sizes > len(self.bytes))
        if wrong.any():
            raise self._damaged(int(pages[page[chosen[wrong][0]]]))
        return signs @ 10 ** np.arange(digits - 1, -1, -1, dtype=np.int64), offsets, sizes

    def _overflow_pages(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Page numbers that are stored, in 8 bytes, at `offsets`; -1 if they are not pages of this file."""
        inside = offsets + 8 <= len(self.bytes)
        stored = self.bytes[np.where(inside, offsets, 0)[:, None] + np.arange(8)]
        numbers = stored.view("<u8")[:, 0]
        known = inside & (numbers < self._num_pages)
        return np.where(known, numbers, 0).astype(np.int64) - np.where(known, 0, 1)

    def _unpack(self, form: struct.Struct, offset: int) -> tuple[int, ...]:
        data = self.bytes[offset : offset + form.size]
        if len(data) < form.size:
            raise self._damaged(offset // 512)
        return form.unpack(data.tobytes())

    def _damaged(self, page: int) -> InputError:
        return InputError(f"{self.path}: page {page} of the LMDB file is damaged; build it again")
