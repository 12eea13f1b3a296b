"""Files with holes in tar archives: where the parts lie that are no zeros (GNU tar manual, "Storing Sparse Files").

``tar --sparse`` stores such a file in one of four ways: GNU's header with extension blocks (flag ``S``), and pax
keywords of version 0.0, 0.1 and 1.0, the last with the map in front of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from datasets.archives.shared_file import SharedFile

MAP = "GNU.sparse.map"  # version 0.1
REPEATED = ("GNU.sparse.offset", "GNU.sparse.numbytes")  # version 0.0: together, the same as the map
_BLOCK = 512
_ENTRY = 24  # bytes: offset and length
_MAX_MAP_BYTES = 1 << 20


class Parts(NamedTuple):
    """A file with holes.

    Attributes
    ----------
    size : int
        Bytes in the file.
    places : tuple
        Of every part: offset in the file, offset in the archive, number of bytes.
    """

    size: int
    places: tuple[tuple[int, int, int], ...]

    def read(self, file: SharedFile) -> bytes:
        """Content of the file, its holes filled with zeros."""
        content = bytearray(self.size)
        for start, offset, length in self.places:
            content[start : start + length] = file.read(offset, length)
        return bytes(content)


def find(file: SharedFile, block: bytes, fields: dict[str, str], offset: int, stored: int) -> tuple[int, Parts | None]:
    """Where the data of a member begin, and its parts if it has holes.

    Parameters
    ----------
    file : SharedFile
        The archive.
    block : bytes
        Header of the member.
    fields : dict
        Keywords of its extended headers.
    offset : int
        Where the header ends.
    stored : int
        Bytes that the member takes in the archive.

    Raises
    ------
    ValueError
        If its map cannot be read, or does not fit the file or what is stored.
    """
    if block[156:157] == b"S":
        numbers, offset = _from_blocks(file, block, offset)
        return offset, _parts(number(block[483:495]), stored, numbers, offset)
    if fields.get("GNU.sparse.major") == "1":
        numbers, begin = _in_front_of_data(file, offset)
        return offset, _parts(
            _decimal(fields.get("GNU.sparse.realsize", "")), stored - (begin - offset), numbers, begin
        )
    if MAP in fields:
        numbers = [_decimal(text) for text in fields[MAP].split(",")]
        return offset, _parts(_decimal(fields.get("GNU.sparse.size", "")), stored, numbers, offset)
    return offset, None


def number(field: bytes) -> int:
    """Number in a header: octal digits, or base 256 if the first bit is set.

    Raises
    ------
    ValueError
        If it is none, negative, or beyond the size of any file.
    """
    if field[0] == 0x80:
        value = int.from_bytes(field[1:], "big")
        if value >= 1 << 63:
            raise ValueError("no size of a file")
        return value
    text = field.partition(b"\0")[0].strip()
    if not set(text) <= set(b"01234567"):
        raise ValueError("no octal digits")
    return int(text or b"0", 8)


def _from_blocks(file: SharedFile, block: bytes, offset: int) -> tuple[list[int], int]:
    """Numbers in a header and the extension blocks after it, and where the data begin."""
    numbers, goes_on = _entries(block[386:482]), block[482]
    first = offset
    while goes_on:
        block = file.read(offset, _BLOCK)
        offset += _BLOCK
        if len(block) < _BLOCK or offset - first > _MAX_MAP_BYTES:
            raise ValueError("no end")
        numbers += _entries(block[:504])
        goes_on = block[504]
    return numbers, offset


def _entries(table: bytes) -> list[int]:
    """Offsets and lengths in a table, up to the first empty entry."""
    found = []
    for start in range(0, len(table), _ENTRY):
        if not table[start]:
            break
        found += [number(table[start : start + 12]), number(table[start + 12 : start + _ENTRY])]
    return found


def _in_front_of_data(file: SharedFile, offset: int) -> tuple[list[int], int]:
    """Numbers, one a line: how many pairs there are, and the pairs; and where the data begin, in the next block."""
    numbers: list[int] = []
    rest = b""
    for start in range(offset, offset + _MAX_MAP_BYTES, _BLOCK):
        block = file.read(start, _BLOCK)
        *lines, rest = (rest + block).split(b"\n")
        numbers += [_decimal(line.decode("ascii")) for line in lines]
        if numbers and len(numbers) > 2 * numbers[0]:
            return numbers[1 : 1 + 2 * numbers[0]], start + _BLOCK
        if len(block) < _BLOCK:
            break
    raise ValueError("no end")


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError("no number")
    return int(text)


def _parts(size: int, stored: int, numbers: Sequence[int], offset: int) -> Parts:
    places, written = [], 0
    end_of_data = offset + stored
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if start < written or start + length > size or offset + length > end_of_data:
            raise ValueError("parts overlap or do not fit")
        if length:
            places.append((start, offset, length))
        offset += length
        written = start + length
    return Parts(size, tuple(places))
