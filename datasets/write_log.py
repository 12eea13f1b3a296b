"""A file in memory that remembers how it was written, so that the same bytes can be written to disk later."""

from __future__ import annotations

import io
import os
from typing import Any


class WriteLog(io.RawIOBase):
    """What the HDF5 library writes: all of a file but the pixels and digests.

    The library may crash the program when its own writing to disk fails, such as on a full one. So it writes into this,
    and we write the same bytes at the same offsets. Until then a file cut off by a crash is not even HDF5.
    """

    def __init__(self) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.size = 0
        self._position = 0

    def write(self, data: Any) -> int:
        """Remember the data and the position."""
        content = bytes(data)
        self.writes.append((self._position, content))
        self._position += len(content)
        self.size = max(self.size, self._position)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Give what was written last at every position, zero where nothing was."""
        view = memoryview(buffer).cast("B")
        start, end = self._position, self._position + len(view)
        view[:] = bytes(len(view))
        for offset, data in self.writes:
            first, last = max(start, offset), min(end, offset + len(data))
            if first < last:
                view[first - start : last - start] = data[first - offset : last - offset]
        self._position = end
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position from the start or the end."""
        self._position = offset + (self.size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Position."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        self.size = self._position if size is None else size
        return self.size
