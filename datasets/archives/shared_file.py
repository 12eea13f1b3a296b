"""A file that many threads and processes read at once, each at its own place."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from datasets.errors import InputError

_MOST_AT_ONCE = 1 << 30  # the system gives at most 2 GiB


class SharedFile:
    """A file open for reading at any place, by any thread, also after a fork; closed with its last reference.

    Parameters
    ----------
    path : Path
        File to open, and its name in error messages.
    descriptor : int, optional
        An open file to take over, in place of opening `path`.

    Attributes
    ----------
    size : int
        Bytes in the file when it was opened.
    stamp : str
        Size and time of the file: text that changes when it is written to.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        weakref.finalize(self, os.close, self._descriptor)
        self.stamp, self.size = self._state()

    def _state(self) -> tuple[str, int]:
        state = os.fstat(self._descriptor)
        return f"{state.st_size}:{state.st_mtime_ns}", state.st_size

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Read `num_bytes` at `offset`, or as many as there are.

        Raises
        ------
        InputError
            If the file was written to since it was opened.
        """
        if self._state()[0] != self.stamp:
            raise InputError(f"{self.path} has changed while it was being read; run the same command again")
        parts = []
        num_bytes = min(num_bytes, self.size - offset)
        while num_bytes > 0 and (part := os.pread(self._descriptor, min(num_bytes, _MOST_AT_ONCE), offset)):
            parts.append(part)
            offset += len(part)
            num_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
