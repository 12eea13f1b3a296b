"""Memory that a thread frees stays with the process: a build allocates the same few megabytes again and again.

By default glibc gives large blocks back to the system as soon as they are free, and the system clears every page of the
next one when it is first touched. For images of 1024x1024 that took 4 to 8% of the processor time of a whole build.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of parameters of mallopt(3)
_KEPT_BYTES = 1 << 28  # that may lie free at the end of each arena
_LARGEST_KEPT_BLOCK = 1 << 25  # glibc allows no more


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory, up to a limit, for as long as this process lives.

    Returns
    -------
    bool
        False where the C library is another than glibc; nothing has changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl; Windows
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
