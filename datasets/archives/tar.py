"""Tar archives: v7, ustar, pax (POSIX.1-2001) and GNU; plain ones are read in place, compressed ones unpacked first.

The headers are read here and not by ``tarfile``, which takes a damaged header for the end of the archive, and reads an
extended header into memory whatever size it states. Here an archive without its end mark is an error, and no length is
believed beyond the limits below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.archives import sparse
from datasets.archives.archive import Archive
from datasets.archives.names import clean_name, is_image_name, plain_text, suffix_of
from datasets.archives.shared_file import SharedFile
from datasets.archives.unpacking import unpack, unpack_to_temporary
from datasets.errors import InputError

_BLOCK = 512
_FILES = b"\x000S7"  # type flags: v7, regular, with holes, contiguous
_WITHOUT_DATA = b"123456"  # links, devices, folders: whatever size they state
_MAX_EXTENDED_HEADER = 1 << 20  # bytes; real ones have some hundred
_PADDING_CHECKED = 1 << 20  # bytes after the end mark that must be zero; programs write up to 10240
_RECORD = np.dtype([("offset", "u8"), ("size", "u8"), ("kind", "u1")])
_PLAIN, _WITH_HOLES, _DANGLING = 0, 1, 2  # kinds: as it is; see `datasets.archives.sparse`; a hard link to nothing


class _Header(NamedTuple):
    """One member: its data are `size` bytes at `offset`, unless it has `holes` or is a hard link to `link`."""

    name: str
    offset: int
    size: int
    link: str | None
    holes: sparse.Parts | None


def is_tar(path: Path) -> bool:
    """True for a file that begins with the header of a tar member, or is compressed and unpacks to such a beginning."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            pieces = unpack(file, path)
            if pieces is not None:
                return _is_header(next(pieces, b"")[:_BLOCK])
        except InputError:
            return False
        file.seek(0)
        return _is_header(file.read(_BLOCK))


class TarArchive(Archive):
    """The images of a tar archive, plain or compressed by gzip, bzip2 or xz. Hard links are images like others.

    Raises
    ------
    InputError
        If the archive is damaged or cut short, or names no image, one image twice, or one outside of the archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        packed = SharedFile(path)
        self.stamp = packed.stamp
        self._file = unpack_to_temporary(path) or packed
        others: Counter[str] = Counter()
        names: list[str] = []
        records: list[tuple[int, int, int]] = []  # see _RECORD
        place_of: dict[str, int] = {}
        self._holes: dict[int, sparse.Parts] = {}  # by offset
        self._others: dict[str, tuple[int, int]] = {}  # .json members alone: `read_other` is for no more
        for header in _headers(self._file, path):
            name = clean_name(header.name, path)
            if not is_image_name(name):
                if name.endswith(".json"):
                    self._others[name] = header.offset, header.size
                others[suffix_of(name)] += 1
                continue
            record = header.offset, header.size, _PLAIN
            if header.holes is not None:
                self._holes[header.offset] = header.holes
                record = header.offset, header.holes.size, _WITH_HOLES
            elif header.link is not None:
                place = place_of.get(clean_name(header.link, path))
                record = (0, 0, _DANGLING) if place is None else records[place]
            place_of[name] = len(names)
            names.append(name)
            records.append(record)
        self._set_members(names, np.array(records, _RECORD), others)

    def image_stamp(self, index: int) -> str:
        """Stamp of the archive with place and size: a tar has no checksum of its members."""
        return f"{self.stamp}:{self._table[index]['offset']}:{self._table[index]['size']}"

    def read_other(self, name: str) -> bytes | None:
        """Content of a ``.json`` member, or None if there is none."""
        if name not in self._others:
            return None
        offset, size = self._others[name]
        self._check_size(size, f"{self.path}:{name}")
        return self._file.read(offset, size)

    def _read(self, record: Any, num_bytes: int, where: str) -> bytes:
        if record["kind"] == _DANGLING:
            raise InputError(f"{where} is a hard link to what is no image of the archive; pack the archive again")
        offset = int(record["offset"])
        if record["kind"] == _WITH_HOLES:
            return self._holes[offset].read(self._file)[:num_bytes]
        return self._file.read(offset, num_bytes)


def _headers(file: SharedFile, path: Path) -> Iterator[_Header]:
    """Regular files and hard links of a plain tar, in the order of the archive."""
    offset = 0
    shared: dict[str, str] = {}  # pax keywords for all following members, and for the next one
    own: dict[str, str] = {}
    while True:
        block = file.read(offset, _BLOCK)
        if len(block) < _BLOCK:
            raise InputError(f"{path} is cut short: it has no end mark; copy or download it again")
        if not any(block):
            break
        if not _is_header(block):
            raise _damaged(path, offset, "there is no header where one must be")
        kind = block[156:157]
        stated = _number(block[124:136], path, offset)
        offset += _BLOCK
        if kind in b"xgXLK":
            if stated > _MAX_EXTENDED_HEADER:
                raise _damaged(path, offset, f"an extended header states {stated} bytes")
            content = file.read(offset, stated)
            if kind in b"LK":
                own["path" if kind == b"L" else "linkpath"] = _text(content)
            else:
                (shared if kind == b"g" else own).update(_pax(content, path, offset))
            offset += _padded(stated)
            continue
        fields = shared | own
        own = {}
        name = fields.get("GNU.sparse.name") or fields.get("path") or _name(block)
        is_file = kind in _FILES and not name.endswith("/")  # v7 marks a folder by its name alone
        size = _size(fields, stated, path, offset) if is_file or kind not in _WITHOUT_DATA else 0
        holes = None
        if is_file:
            try:
                offset, holes = sparse.find(file, block, fields, offset, size)
            except ValueError:
                raise _damaged(path, offset, "the map of a file with holes does not fit") from None
        if offset + size > file.size:
            raise InputError(f"{path} is cut short in its member {plain_text(name)!r}; copy or download it again")
        if is_file or kind == b"1":
            link = None if is_file else fields.get("linkpath") or _text(block[157:257])
            yield _Header(name, offset, size, link, holes)
        offset += _padded(size)
    if any(file.read(offset, _PADDING_CHECKED)):
        raise InputError(f"{path} goes on after its end mark; these may be several archives in one, unpack them")


def _is_header(block: bytes) -> bool:
    """True if the checksum fits; some old programs summed signed bytes."""
    if len(block) < _BLOCK:
        return False
    field = block[148:156].strip(b" \0").lstrip(b"0")
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return field == b"%o" % total or field == b"%o" % max(0, total - 256 * sum(byte > 127 for byte in rest))


def _number(field: bytes, path: Path, offset: int) -> int:
    try:
        return sparse.number(field)
    except ValueError:
        raise _damaged(path, offset, "a size is not a number") from None


def _size(fields: dict[str, str], stated: int, path: Path, offset: int) -> int:
    text = fields.get("size")
    if not text:
        return stated
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _damaged(path, offset, "a size is not a number")
    return int(text)


def _pax(content: bytes, path: Path, offset: int) -> dict[str, str]:
    """Keywords of an extended header: records of ``length keyword=value`` and a newline."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(content):
        length, _, _ = content[start : start + 20].partition(b" ")
        end = start + int(length) if length.isdigit() else start
        keyword, equals, value = content[start + len(length) + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise _damaged(path, offset, "its extended header cannot be read")
        name, text = _text(keyword), _text(value[:-1])
        if name in sparse.REPEATED:  # the one place where a keyword may come again
            name, text = sparse.MAP, f"{fields[sparse.MAP]},{text}" if sparse.MAP in fields else text
        fields[name] = text
        start = end
    return fields


def _name(block: bytes) -> str:
    """Name in the header itself; only ustar has a second part of it, in front."""
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    name = _text(block[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _damaged(path: Path, offset: int, reason: str) -> InputError:
    return InputError(f"{path} is damaged at byte {offset} ({reason}); copy or download it again")
