"""Zip archives (PKWARE APPNOTE 6.3): the directory through the standard library, members by reads of our own.

``zipfile`` moves one file position under a lock and stops nobody from inflating a gigabyte; here every read names its
place, inflates at most what was stated, and compares size and CRC-32. Members may be stored or deflated.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datasets.archives.archive import Archive
from datasets.archives.names import clean_name, is_image_name, suffix_of
from datasets.archives.shared_file import SharedFile
from datasets.errors import InputError

_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # a member; the end of an archive that has none
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of name and extra field
_ENCRYPTED = 1
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 99: "AES"}
_RECORD = np.dtype(
    [("offset", "u8"), ("stored", "u8"), ("size", "u8"), ("crc", "u4"), ("method", "u2"), ("flags", "u2")]
)


def is_zip(path: Path) -> bool:
    """True for a file that begins as zip archives do, also if the rest of it is missing."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _STARTS


class ZipArchive(Archive):
    """The images of a zip archive, or what else is wanted of it.

    Parameters
    ----------
    path : Path
    wanted : callable
        ``wanted(name)`` says whether a member of that name is one of them.
    contents : str, optional
        What they are, for error messages.
    doubles : bool
        Of members that are called alike none is taken, instead of refusing the archive; `doubled` has their names.

    Raises
    ------
    InputError
        If its directory is damaged or missing, or names no image, one image twice, or one outside of the archive.
    """

    def __init__(
        self,
        path: Path,
        wanted: Callable[[str], bool] = is_image_name,
        contents: str = Archive.contents,
        *,
        doubles: bool = False,
    ) -> None:
        self.path, self.contents = path, contents
        self._file = SharedFile(path)
        self.stamp = self._file.stamp
        others: Counter[str] = Counter()
        names, records = [], []
        self._others: dict[str, Any] = {}  # .json members alone: `read_other` is for no more
        for info in _directory(path):
            if info.filename.endswith("/") or (info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16)):
                continue
            name = clean_name(info.filename.replace("\\", "/"), path)  # as some archivers of Windows write it
            image = wanted(name)
            if not image and not name.endswith(".json"):
                others[suffix_of(name)] += 1
                continue
            record = (
                info.header_offset if 0 <= info.header_offset < self._file.size else self._file.size,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type,
                info.flag_bits,
            )
            if image:
                names.append(name)
                records.append(record)
            else:
                others[".json"] += 1
                self._others[name] = np.array(record, _RECORD)
        count = Counter(names)
        self.doubled = {name for name, number in count.items() if number > 1} if doubles else set()
        if self.doubled:
            kept = [number for number, name in enumerate(names) if name not in self.doubled]
            names, records = [names[number] for number in kept], [records[number] for number in kept]
            others["members called alike"] += count.total() - len(kept)
        self._set_members(names, np.array(records, _RECORD), others)

    def image_stamp(self, index: int) -> str:
        """CRC-32 and size."""
        record = self._table[index]
        return f"{int(record['crc']):08x}:{record['size']}"

    def read_other(self, name: str) -> bytes | None:
        """Content of a ``.json`` member, or None if there is none."""
        record = self._others.get(name)
        if record is None:
            return None
        where = f"{self.path}:{name}"
        self._check_size(int(record["size"]), where)
        return self._read(record, int(record["size"]), where)

    def _read(self, record: Any, num_bytes: int, where: str) -> bytes:
        offset, stored, size = int(record["offset"]), int(record["stored"]), int(record["size"])
        method, flags = int(record["method"]), int(record["flags"])
        if flags & _ENCRYPTED:
            raise InputError(f"{where} is encrypted; unpack the archive with its password")
        if method not in (_STORED, _DEFLATED):
            known = _METHODS.get(method, "unknown")
            raise InputError(f"{where} is compressed by method {method} ({known}); store or deflate it")
        header = self._file.read(offset, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise _damaged(where, "its header is not where the directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        offset += _LOCAL_HEADER.size + name_length + extra_length
        whole = num_bytes == size
        if method == _STORED:
            data = self._file.read(offset, num_bytes)
            complete = stored == size
        else:
            self._check_size(stored, where)
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            try:  # one byte more than stated shows that there is more
                if whole:
                    data = inflate.decompress(self._file.read(offset, stored), size + 1)
                else:
                    data = inflate.decompress(self._file.read(offset, min(stored, num_bytes)), num_bytes)
            except zlib.error as error:
                raise _damaged(where, str(error)) from None
            complete = inflate.eof
        if len(data) > size:
            raise InputError(f"{where} unpacks to more than the {size} bytes that it states; remove it")
        if whole and (len(data) < size or not complete or zlib.crc32(data) != record["crc"]):
            raise _damaged(where, "its size or checksum is not as stated")
        return data[:num_bytes]


def _directory(path: Path) -> list[zipfile.ZipInfo]:
    """Entries of the central directory."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  damaged directories raise nearly every kind of error in zipfile
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} begins as a zip archive, but its directory cannot be read ({reason}); it is damaged or cut short, "
            "copy or download it again"
        ) from None


def _damaged(where: str, reason: str) -> InputError:
    return InputError(f"{where} is damaged ({reason}); replace it or remove it")
