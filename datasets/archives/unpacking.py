"""Streams of gzip, bzip2 and xz, unpacked once into a temporary file without a name, within limits.

None of these formats can be read from the middle, so this is what random access to a compressed tar costs: the space of
the plain tar in the folder for temporary files (``TMPDIR``), and one pass over the archive whenever it is opened. The
file has no name, so nothing of it stays behind, however the program ends.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from datasets.archives.shared_file import SharedFile
from datasets.errors import InputError

MAX_GROWTH = 100  # times; photographs hardly shrink at all, and pictures of few colours by less than this
_ALWAYS_ALLOWED = 1 << 30  # bytes that any stream may unpack to
_XZ_MEMORY = 1 << 28  # bytes a stream may ask its reader for; xz -9 asks for 65 MiB
_CHUNK = 1 << 20
_CHUNKS_PER_CHECK = 64
_KEEP_FREE = 1 << 28  # bytes of the disk that are never taken


class _Decoder(Protocol):
    """A decoder of bz2 or lzma."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decoder with the manners of the two others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_DECODERS: dict[bytes, Callable[[], _Decoder]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}


def unpack(file: BinaryIO, path: Path) -> Iterator[bytes] | None:
    """Content of a compressed stream in pieces of at most 1 MiB; None if it is not compressed in a way known here.

    Parameters
    ----------
    file : binary file
        At its beginning.
    path : Path
        Its name for error messages.

    Raises
    ------
    InputError
        While the pieces are taken: if the stream is damaged or cut short.
    """
    start = file.read(_CHUNK)
    for signature, decoder in _DECODERS.items():
        if start.startswith(signature):
            return _pieces(file, path, start, signature, decoder)
    return None


def unpack_to_temporary(path: Path) -> SharedFile | None:
    """Unpack the compressed stream in the file at `path`; None if it is not compressed in a way known here.

    Raises
    ------
    InputError
        If the stream is damaged or cut short, grows beyond `MAX_GROWTH`, or would fill the disk.
    """
    with path.open("rb") as file:
        pieces = unpack(file, path)
        if pieces is None:
            return None
        packed = os.fstat(file.fileno()).st_size
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as unpacked:
            try:
                _write(unpacked, pieces, max(_ALWAYS_ALLOWED, MAX_GROWTH * packed), path, folder)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _no_space(path, folder) from None
            return SharedFile(path, os.dup(unpacked.fileno()))


def _write(file: BinaryIO, pieces: Iterator[bytes], limit: int, path: Path, folder: str) -> None:
    size = 0
    for number, piece in enumerate(pieces):
        size += len(piece)
        if size > limit:
            raise InputError(
                f"{path} unpacks to more than {limit} bytes, {MAX_GROWTH} times its size and more, as no archive of "
                "photographs does; unpack it yourself if you trust it"
            )
        if number % _CHUNKS_PER_CHECK == 0 and shutil.disk_usage(folder).free < _KEEP_FREE:
            raise _no_space(path, folder)
        file.write(piece)
    file.flush()


def _no_space(path: Path, folder: str) -> InputError:
    return InputError(
        f"{path} does not fit unpacked into {folder}; set TMPDIR to a folder on a larger disk, or unpack it to a plain "
        ".tar, which is read in place"
    )


def _pieces(
    file: BinaryIO, path: Path, data: bytes, signature: bytes, new_decoder: Callable[[], _Decoder]
) -> Iterator[bytes]:
    """Content of one stream after the other, as all three programs allow, with zeros as padding."""
    try:
        while data:
            if not data.startswith(signature):
                raise InputError(f"{path} goes on after the end of its compressed data; download or pack it again")
            decoder = new_decoder()
            while not decoder.eof:
                piece = decoder.decompress(data, _CHUNK)
                data = b""
                if piece:
                    yield piece
                elif not decoder.eof and decoder.needs_input:
                    data = file.read(_CHUNK)
                    if not data:
                        raise InputError(f"{path} is cut short; copy or download it again")
            data = decoder.unused_data.lstrip(b"\0")
            while not data and (more := file.read(_CHUNK)):
                data = more.lstrip(b"\0")
    except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be unpacked ({reason}); copy or download it again, or unpack it yourself"
        ) from None
