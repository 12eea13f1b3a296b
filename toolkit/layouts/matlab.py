"""Numeric arrays in MATLAB files of version 5, as SVHN has them, found without reading their numbers.

After 128 bytes of text and version follow elements: a type and a length, 4 bytes each, and so many bytes. The element
of an array has elements inside: flags (with the array's class), dimensions, name, numbers; or it is packed with zlib
as a whole. Every element inside starts at a multiple of 8 bytes, and a short one has its bytes in the header. Numbers
are in Fortran order, and may be of a smaller type than the class. (MathWorks, "MAT-File Format", chapter 1.)

Only what is needed is read, and nothing is called or made but arrays of numbers.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.byte_ranges import ZLIB, ByteRange, Inflated, Part, Stored

_HEADER = 128
_MATRIX, _PACKED = 14, 15  # types of elements
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double .. uint64; the others are cells, structs, objects, text, sparse matrices
_MOST_DIMENSIONS = 8
_MOST_ARRAYS = 64


@dataclasses.dataclass(frozen=True)
class MatlabArray:
    """An array whose numbers have not been read.

    Attributes
    ----------
    name : str
        Of the variable.
    shape : tuple of int
        In Fortran order: the first index moves fastest.
    dtype : dtype
        Of the stored numbers.
    content : ByteRange
        The numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    content: ByteRange

    def values(self) -> NDArray[np.generic]:
        """All numbers, in one dimension."""
        size = math.prod(self.shape) * self.dtype.itemsize
        return np.frombuffer(self.content.read(0, size), self.dtype)


def is_matlab(path: Path) -> bool:
    """True if the file is a MATLAB file of version 5."""
    with path.open("rb") as file:
        return _byte_order(file.read(_HEADER)) is not None


def arrays_in(path: Path) -> dict[str, MatlabArray]:
    """Numeric arrays of a file by name.

    Raises
    ------
    InputError
        If the file is damaged, or not of this version.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = _byte_order(file.read(_HEADER))
    if order is None:
        raise InputError(f"{path} is no MATLAB file of version 5; save it in MATLAB with -v7")
    found: dict[str, MatlabArray] = {}
    place = _HEADER
    file_bytes = Stored(path)
    for _ in range(_MOST_ARRAYS):
        if place >= size:
            return found
        kind, length = np.frombuffer(file_bytes.read(place, 8), f"{order}u4").tolist()
        place += 8
        if length > size - place:
            raise InputError(
                f"{path} is cut short: an array ends beyond the end of the file; copy or download it again"
            )
        array = None
        if kind == _PACKED:
            inside = Inflated(path, ZLIB, place)
            if int(np.frombuffer(inside.read(0, 4), f"{order}u4")[0]) == _MATRIX:
                array = _array(Part(inside, 8), order, path)
        elif kind == _MATRIX:
            array = _array(Part(file_bytes, place), order, path)
        if array is not None:
            found[array.name] = array
        place += length
    raise InputError(f"{path} has more than {_MOST_ARRAYS} arrays, so it is not of a known data set")


def _byte_order(header: bytes) -> str | None:
    """Byte order by the mark at the end of the header, which also says the version."""
    if len(header) == _HEADER and header.startswith(b"MATLAB"):
        return {b"\0\x01IM": "<", b"\x01\0MI": ">"}.get(header[124:])
    return None


def _array(content: ByteRange, order: str, path: Path) -> MatlabArray | None:
    """Array from the elements inside; None if it is not of numbers."""
    _, flags, place = _element(content, 0, order, path, limit=8)
    bits = int(np.frombuffer(flags, f"{order}u4")[0]) if len(flags) == 8 else 0
    if bits & 0xFF not in _NUMERIC_CLASSES or bits & 0x800:  # complex
        return None
    kind, dimensions, place = _element(content, place, order, path, limit=4 * _MOST_DIMENSIONS)
    _, name, place = _element(content, place, order, path, limit=64)
    shape = tuple(np.frombuffer(dimensions, f"{order}i4").tolist()) if kind == 5 and len(dimensions) % 4 == 0 else ()
    head = content.read(place, 8)
    number_kind, length, at = _tag(head, order)
    if number_kind not in _TYPES or len(shape) < 2 or min(shape) < 0:
        raise _damaged(path)
    dtype = np.dtype(f"{order}{_TYPES[number_kind]}")
    if math.prod(shape) * dtype.itemsize != length:
        raise _damaged(path)
    return MatlabArray(name.decode("ascii", "replace"), shape, dtype, Part(content, place + at))


def _tag(head: bytes, order: str) -> tuple[int, int, int]:
    """Type and length of an element, and where its bytes start: behind the header, or in it if they are short."""
    first, second = np.frombuffer(head, f"{order}u4").tolist()
    if first >> 16:
        return first & 0xFFFF, first >> 16, 4
    return first, second, 8


def _element(content: ByteRange, place: int, order: str, path: Path, limit: int) -> tuple[int, bytes, int]:
    """Type and bytes of the element at `place`, and where the next one starts."""
    kind, length, at = _tag(content.read(place, 8), order)
    if length > limit or (at == 4 and length > 4):
        raise _damaged(path)
    return kind, content.read(place + at, length), place + (8 if at == 4 else 8 + -(-length // 8) * 8)


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} has an array whose description makes no sense; it is damaged, copy or download it again")
