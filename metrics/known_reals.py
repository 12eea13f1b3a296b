"""What SWD derives from the real images, for the next fakes: in memory for a trainer, in the cache for everybody.

Sorted projections of the reals are half of the work on two sets, and the floor, which takes as many other reals, is as
much again. The floor is a few numbers and always kept. The projections take more room than the patches (2 GB for 2048
images of 128x128), so they are kept up to a limit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.cache import Facts, FeatureCache, Rows, RowsInMemory
from metrics.patches import GIB, Descriptors

_MOST_ON_DISK = 4 * GIB  # of one set of reals: enough for 2048 images of 1024x1024


class KnownReals:
    """What is known of the reals of one measurement.

    Parameters
    ----------
    num_rows, width : int
        Rows of sorted projections, and their length.
    most_in_memory : int
        Bytes of projections that may be kept in memory.

    Attributes
    ----------
    floor : dict or None
        The distance of reals from other reals, once it was measured.
    complete : bool
        The cache has everything: no image of the reals is needed.
    notes : tuple of str
        For the user.
    """

    def __init__(self, num_rows: int, width: int, most_in_memory: int) -> None:
        self._num_rows, self._width, self._most_in_memory = num_rows, width, most_in_memory
        self.floor: dict[str, Any] | None = None
        self.complete = False
        self.notes: tuple[str, ...] = ()
        self._moments: dict[str, list[list[float]]] = {}  # by band and images
        self._facts: Facts | None = None
        self._rows: Rows | None = RowsInMemory(num_rows, width) if self._size <= most_in_memory else None

    @property
    def _size(self) -> int:
        return 4 * self._num_rows * self._width

    def recall(self, folder: Path, key: Mapping[str, Any], *, with_rows: bool = True) -> None:
        """Take what the cache has, and keep there what is found.

        Parameters
        ----------
        folder : Path
        key : mapping
            Everything that decides a projection, JSON-able.
        with_rows : bool
            The projections too, if they are not too large.
        """
        self._facts = Facts(folder, key)
        known = self._facts.get()
        with_rows = with_rows and self._size <= _MOST_ON_DISK
        if with_rows:
            rows = FeatureCache(folder, key, self._width)
            self.complete = known is not None and rows.knows(np.arange(self._num_rows))
            with_rows = self.complete or shutil.disk_usage(folder).free > 2 * self._size
            self._rows = rows if with_rows else self._rows
        if known is not None:
            self.floor, self._moments = known["floor"], known["moments"]
        what = f"the floor and projections ({self._size / GIB:.1f} GiB)" if with_rows else "the floor"
        how = "are kept in" if known is None else "were taken from"
        self.notes = (f"{what} of the reals {how} the cache {folder}",)

    def put_facts(self) -> None:
        """Keep floor and statistics, once all projections were made."""
        if self._facts is not None and not self.complete:
            self._facts.put({"floor": self.floor, "moments": self._moments})

    def forget(self) -> None:
        """Other reals follow."""
        self.__init__(self._num_rows, self._width, self._most_in_memory)  # type: ignore[misc]

    def statistics(self, band: int, start: int, stop: int, patches: int, dimensions: int) -> Descriptors:
        """Statistics of images `start` to `stop - 1` in a band, without their patches."""
        none = np.broadcast_to(np.float32(0), ((stop - start) * patches, dimensions))
        mean, deviation = (np.array(moment) for moment in self._moments[f"{band} {start} {stop}"])
        return Descriptors(none, mean, deviation)

    def note_statistics(self, band: int, start: int, stop: int, descriptors: Descriptors) -> None:
        """Take note of such statistics."""
        self._moments[f"{band} {start} {stop}"] = [descriptors.mean.tolist(), descriptors.deviation.tolist()]

    def read_into(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> bool:
        """Copy rows of projections to `values` if all of them are known.

        Raises
        ------
        InputError
            If they were known when the measurement began.
        """
        found = self._rows is not None and bool(self._rows.read_into(rows, values).all())
        if self.complete and not found:
            raise InputError("the cache of projections was changed while it was in use; measure again")
        return found

    def put(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Keep rows of projections, if there is room."""
        if self._rows is not None:
            self._rows.put(rows, values)
