"""Any range of the bytes of a file, or of a compressed stream inside it, from many threads and in little memory.

The data sets that come as one large array are compressed more often than not (``.gz``, ``.npz``, ``.mat``). To unpack
them whole would take gigabytes of memory; so a stream is unpacked in blocks, the state of the decompressor is kept at
the start of every block, and a block that is asked for again is unpacked from there.
"""

from __future__ import annotations

import io
import os
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

from datasets.errors import InputError

GZIP, ZLIB, DEFLATE = 31, 15, -15  # kinds of streams, by zlib's number of window bits
_BLOCK = 1 << 21
_MOST_BLOCKS = 32  # in memory at a time, so 64 MiB a stream: all of MNIST, whose images MNIST-RGB draws at random
_STEP = 1 << 16  # compressed bytes read at a time


class ByteRange(Protocol):
    """A row of bytes."""

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on.

        Raises
        ------
        InputError
            If there are not so many, or they are damaged.
        """
        ...


class Stored:
    """The bytes of a file as they are, from `offset` on. Safe in threads: no position is shared."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset

    def read(self, start: int, length: int) -> bytes:
        """See `ByteRange`."""
        try:
            with self._path.open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), length, self._offset + start)
                while len(content) < length:
                    more = os.pread(file.fileno(), length - len(content), self._offset + start + len(content))
                    if not more:
                        raise _cut_short(self._path)
                    content += more
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}; make it readable or name another") from None
        return content


class Part:
    """The bytes of another range from `offset` on."""

    def __init__(self, whole: ByteRange, offset: int) -> None:
        self._whole = whole
        self._offset = offset

    def read(self, start: int, length: int) -> bytes:
        """See `ByteRange`."""
        return self._whole.read(self._offset + start, length)


class Inflated:
    """The unpacked bytes of a zlib, gzip or raw deflate stream that starts at `offset` of a file."""

    def __init__(self, path: Path, kind: int, offset: int = 0) -> None:
        self._path = path
        self._lock = threading.Lock()
        # State before block k: a decompressor, and where in the file its next input starts.
        self._states: list[tuple[Any, int]] = [(zlib.decompressobj(kind), offset)]
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._damage: InputError | None = None  # why the stream ends where it ends

    def read(self, start: int, length: int) -> bytes:
        """See `ByteRange`."""
        content = self.read_up_to(start, length)
        if len(content) < length:
            raise _cut_short(self._path)
        return content

    def read_up_to(self, start: int, length: int) -> bytes:
        """As `read`, but fewer bytes if the stream ends before."""
        parts = []
        while length > 0:
            number, first = divmod(start, _BLOCK)
            part = self._block(number)[first : first + length]
            if not part:
                break
            parts.append(part)
            start, length = start + len(part), length - len(part)
        if length > 0 and self._damage is not None:
            raise self._damage
        return b"".join(parts)

    def _block(self, number: int) -> bytes:
        with self._lock:
            if number in self._blocks:
                self._blocks.move_to_end(number)
                return self._blocks[number]
            block = b""
            for current in range(min(number, len(self._states) - 1), number + 1):
                block = self._unpack(current)
                if len(block) < _BLOCK:
                    block = block if current == number else b""
                    break
            if block:
                self._blocks[number] = block
                while len(self._blocks) > _MOST_BLOCKS:
                    self._blocks.popitem(last=False)
            return block

    def _unpack(self, number: int) -> bytes:
        """Unpack one block; the state before it is known. A block that is not full is the last, or ends in damage."""
        state, place = self._states[number]
        state = state.copy()
        parts, missing = [], _BLOCK
        try:
            with self._path.open("rb") as file:
                file.seek(place)
                while missing and not state.eof:
                    packed = state.unconsumed_tail or file.read(_STEP)
                    parts.append(state.decompress(packed, missing))
                    missing -= len(parts[-1])
                    if not (packed or parts[-1] or state.eof):
                        self._damage = _cut_short(self._path)
                        break
                place = file.tell()
        except zlib.error as error:
            reason = str(error).split(": ")[-1]
            self._damage = InputError(f"{self._path} cannot be unpacked ({reason}); it is damaged, copy it again")
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}; make it readable or name another") from None
        if not missing and number + 1 == len(self._states):
            self._states.append((state, place))
        return b"".join(parts)


class AsFile(io.RawIOBase):
    """An `Inflated` stream as a file that can be read and sought, for the headers of an archive inside it."""

    def __init__(self, content: Inflated) -> None:
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another position, from the start or from here."""
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("the end of a compressed stream is not known")
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        if not 0 <= size <= _BLOCK:  # what a header asks for is small; a false one could ask for all memory
            raise OSError("a header of the archive is too long")
        content = self._content.read_up_to(self._position, size)
        self._position += len(content)
        return content


def _cut_short(path: Path) -> InputError:
    return InputError(f"{path} is cut short: it ends before its last image; copy or download it again")
