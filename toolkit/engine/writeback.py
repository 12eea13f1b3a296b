"""Keeps the disk busy while a build computes, so that bringing everything to disk for good is soon done.

The system would hold finished pixels back for seconds or gigabytes; a save would then find all of them waiting, and
the build would stand still while they are written.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.2  # seconds between two rounds over the files


@contextlib.contextmanager
def early_writeback(place: Path) -> Iterator[None]:
    """While the block runs, write the file at `place`, or all files below it, to disk again and again.

    It changes only when that happens: errors are left to whoever saves, who sees them too.
    """
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(_PAUSE):
            for file in [place, *place.rglob("*")] if place.is_dir() else [place]:
                if over.is_set():
                    return
                with contextlib.suppress(OSError):
                    _write_back(file)

    sweeper = threading.Thread(target=sweep, name="early writeback", daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        over.set()
        sweeper.join()


def _write_back(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        getattr(os, "fdatasync", os.fsync)(descriptor)
    finally:
        os.close(descriptor)
