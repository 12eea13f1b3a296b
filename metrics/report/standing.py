"""Whether a trainer is at work in a run directory: it holds a lock there as long as it is."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Literal

Standing = Literal["going", "stopped", "unknown"]
"""Of a run that is not finished."""

LOCK_NAME = ".lock"


def standing_of(run: Path) -> Standing:
    """Ask whether a trainer holds the lock; ``unknown`` where that cannot be told, as in a copy of a run."""
    try:
        with (run / LOCK_NAME).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go at once, with the file
            except BlockingIOError:
                return "going"
            return "stopped"
    except OSError:  # no such file, or a file system without locks
        return "unknown"
