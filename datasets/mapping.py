"""Files mapped into memory, with their pages made ready in bulk where that is cheaper than one by one."""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_POPULATE_READ = 22  # madvise: MADV_POPULATE_READ of Linux 5.14, which Python does not name
_SAMPLES = 64


class FileMap:
    """A whole file, mapped read-only.

    Each process that reads a mapped page for the first time pays for an exception of the processor, though the page is
    in memory: at 128x128 pixels that takes as long as copying them. The kernel can make the pages of a range ready in
    one call, in some 30 ms for a gigabyte. `count` does so when a process has read enough of a range that all of it
    will probably be read, if the range is in memory already; otherwise the call would read it all from disk.

    Parameters
    ----------
    path : Path
        A file with at least one byte.

    Attributes
    ----------
    bytes : ndarray of uint8, shape (n,)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def is_cached(self, start: int, end: int) -> bool:
        """True if a sample of the bytes from `start` to `end` is in memory; False if the system does not tell."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except OSError:
            return False
        try:
            for place in np.linspace(start, end - 1, _SAMPLES, dtype=np.int64).tolist():
                os.preadv(descriptor, [bytearray(1)], place, os.RWF_NOWAIT)
        except (OSError, AttributeError):  # BlockingIOError if it would have to be read; not every system can say
            return False
        finally:
            os.close(descriptor)
        return True

    def make_ready(self, start: int, end: int) -> None:
        """Make the pages from `start` to `end` ready for this process."""
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # an older kernel
            self._map.madvise(_POPULATE_READ, first, end - first)


class Use:
    """How much of a range of a mapped file this process has read.

    Parameters
    ----------
    file : FileMap
    start, end : int
        The range, in bytes.
    """

    def __init__(self, file: FileMap, start: int, end: int) -> None:
        self._file, self._start, self._end = file, start, end
        self._process = -1
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._read = 0
        self._next = (self._end - self._start) // 16  # so the call takes no longer than what was read before

    def count(self, num_bytes: int) -> None:
        """Say that so many bytes of the range are read; makes all of it ready when that will pay."""
        if os.getpid() != self._process:  # a forked child begins without ready pages
            self._begin()
        self._read += num_bytes
        if self._read < self._next:
            return
        if self._file.is_cached(self._start, self._end):
            self._file.make_ready(self._start, self._end)
            self._next = 1 << 62
        else:
            self._next = 2 * self._read
