"""Arrays in .npy files and .npz archives, read by rows; nothing that is pickled is read.

The format is described in ``numpy.lib.format``. An archive is a zip file of .npy files, packed or not.
"""

from __future__ import annotations

import dataclasses
import math
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.byte_ranges import DEFLATE, ByteRange, Inflated, Stored

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_MAX_HEADER = 1 << 14
_HEADER = re.compile(  # as numpy writes it; the L is from Python 2
    r"\{'descr': '(?P<dtype>\|[bu]1|\|i1|[<>][iu][248]|[<>]f[248])', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(\d{1,15}L?, ?)*(\d{1,15}L?)?)\),? ?\}\s*"
)
_LOCAL_HEADER = 30  # bytes of a zip member, before its name


@dataclasses.dataclass(frozen=True)
class NpyArray:
    """An array whose numbers have not been read.

    Attributes
    ----------
    where : str
        File, and member of an archive.
    shape : tuple of int
        In C order.
    dtype : dtype
        Of plain numbers.
    """

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    content: ByteRange
    start: int  # of the numbers in `content`

    def rows(self, first: int, count: int) -> NDArray[np.generic]:
        """Some rows, read-only."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        content = self.content.read(self.start + first * size, count * size)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def is_npy(path: Path) -> bool:
    """True for a .npy file, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_NPY)) == _NPY


def is_npz(path: Path) -> bool:
    """True for a zip archive of .npy files and nothing else."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def open_npy(path: Path) -> NpyArray:
    """Open a .npy file.

    Raises
    ------
    InputError
        If it is damaged, cut short, or its array is of objects or in Fortran order.
    """
    size = path.stat().st_size
    array = _array(Stored(path), size, str(path))
    if array.start + math.prod(array.shape) * array.dtype.itemsize > size:
        raise InputError(f"{path} is cut short: its array ends beyond the end of the file; copy or write it again")
    return array


def open_npz(path: Path) -> dict[str, NpyArray]:
    """Open all arrays of an archive, by the names that ``numpy.savez`` was given.

    Raises
    ------
    InputError
        As `open_npy`, and if the archive is encrypted or packed in an unusual way.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is a damaged archive ({' '.join(str(error).split())}); write it again") from None
    for member in members:
        where = f"{path}: {ascii(member.filename)[1:-1]}"
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where} is encrypted or packed in an unusual way; write it with numpy.savez")
        header = Stored(path).read(member.header_offset, _LOCAL_HEADER)
        name, extra = struct.unpack("<26x2H", header)
        start = member.header_offset + _LOCAL_HEADER + name + extra
        packed = member.compress_type == zipfile.ZIP_DEFLATED
        content: ByteRange = Inflated(path, DEFLATE, start) if packed else Stored(path, start)
        found[member.filename.removesuffix(".npy")] = _array(content, member.file_size, where)
    return found


def _array(content: ByteRange, size: int, where: str) -> NpyArray:
    # numpy's own parser of the header raises nearly every kind of error on a damaged one.
    start = content.read(0, min(size, _MAX_HEADER))
    width = 2 if start[len(_NPY) :][:1] == b"\x01" else 4  # bytes of the header's length, by the major version
    first = len(_NPY) + 2 + width
    end = first + int.from_bytes(start[first - width : first], "little")
    text = start[first:end].decode("latin1")
    header = _HEADER.fullmatch(text) if start.startswith(_NPY) and end <= len(start) else None
    if header is None:
        if "'|O'" in text:
            raise InputError(f"{where} holds Python objects, which could run programs; save an array of numbers")
        raise InputError(f"{where} is no whole .npy file of plain numbers; write it again with numpy.save")
    shape = tuple(int(side) for side in re.findall(r"\d+", header["shape"]))
    if header["fortran"] == "True" and len(shape) > 1:
        raise InputError(f"{where} is in Fortran order; save numpy.ascontiguousarray(array)")
    return NpyArray(where, shape, np.dtype(header["dtype"]), content, end)
