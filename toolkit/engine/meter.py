"""A progress bar of images that also says how many megabytes a second go by."""

from __future__ import annotations

import time

from toolkit.engine.progress import Bar


class Meter:
    """Counts images and the bytes of their pixels on a progress bar.

    Parameters
    ----------
    bar : Bar
        Shows the MB/s behind its images a second.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._started = time.monotonic()
        self.bytes = 0

    def add(self, num_images: int, num_bytes: int) -> None:
        """Say that so many more images, of so many bytes, are done."""
        self.bytes += num_bytes
        self._bar.set_postfix_str(f"{self.mb_per_sec:.0f} MB/s", refresh=False)
        self._bar.update(num_images)

    @property
    def seconds(self) -> float:
        """Wall time since the beginning."""
        return time.monotonic() - self._started

    @property
    def mb_per_sec(self) -> float:
        """Megabytes (10**6 bytes) a second since the beginning."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)
