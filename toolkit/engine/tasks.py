"""The work of a build, cut into tasks: which crops of which images are still to be made into rows.

Crops of one image that fit into a task stay together as one part; an image of more is cut into several. Parts depend on
the plan alone, so a resumed build finds in the journal the parts it would make itself. How many parts make a task
changes nothing but speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.packing import Packed
from datasets.writing import PyramidWriter
from toolkit.engine.journal import Journal
from toolkit.engine.process import Made, Part, Parts
from toolkit.plan import Plan, recall

_ROW_BYTES = 1 << 22  # pixels of the finest level that a task makes, unless one row is larger
_SOURCE_PIXELS = 1 << 22  # pixels that a task reads, unless one image is larger
_IMAGES = 256


class Work:
    """Everything a build has to do, less what the journal says and the writer confirms is done.

    Attributes
    ----------
    rows_kept : int
        Rows that need not be made again.
    """

    def __init__(self, plan: Plan, journal: Journal, writer: PyramidWriter) -> None:
        self._plan, self._journal = plan, journal
        self._first_crops = plan.first_crops()
        self._per_part = max(1, _ROW_BYTES // (3 * plan.resolution**2))
        self._kept = np.zeros(len(plan.num_crops), np.bool_)  # for the first parts of all images
        self._kept_parts: set[tuple[int, int]] = set()  # for the further ones, which few images have
        self.rows_kept = 0
        if journal.continued:
            for part in self._all_parts():
                if self._is_done(part, writer):
                    self.rows_kept += part.count
                    if part.first:
                        self._kept_parts.add((part.index, part.first))
                    else:
                        self._kept[part.index] = True

    def tasks(self, size: int) -> Iterator[Parts]:
        """What is left to do, in source order, for workers that compute `size` tasks at a time."""
        images = min(_IMAGES, max(1, (len(self._kept) - int(self._kept.sum())) // (8 * size)))
        task: list[Part] = []
        rows = pixels = 0
        for part in self._all_parts():
            if (part.index, part.first) in self._kept_parts if part.first else self._kept[part.index]:
                continue
            full = rows + part.count > self._per_part or pixels + part.pixels > _SOURCE_PIXELS or len(task) == images
            if task and full:
                yield Parts(tuple(task))
                task, rows, pixels = [], 0, 0
            task.append(part)
            rows, pixels = rows + part.count, pixels + part.pixels
        if task:
            yield Parts(tuple(task))

    def rows_of(self, index: int, first: int = 0, count: int | None = None) -> NDArray[np.int64]:
        """Rows of `count` crops of an image from crop number `first`, by default of all."""
        start = int(self._first_crops[index]) + first
        end = int(self._first_crops[index + 1]) if count is None else start + count
        return self._plan.rows[start:end]

    def rows_of_task(self, task: Parts) -> NDArray[np.int64]:
        """Rows of a task, in the order in which it makes them."""
        return np.concatenate([self.rows_of(part.index, part.first, part.count) for part in task.parts])

    def facts_of(self, index: int) -> dict[str, Any]:
        """Facts for the ledger about an image whose rows are written."""
        record = self._journal.find("done", index)
        if record is None:
            raise KeyError(f"image {index} was not written")
        return {**record["facts"], "applied": tuple(record["facts"]["applied"])}

    def _all_parts(self) -> Iterator[Part]:
        for index in np.flatnonzero(self._plan.num_crops).tolist():
            total = int(self._plan.num_crops[index])
            seen = recall(self._journal, index)
            for first in range(0, total, self._per_part):
                count = min(self._per_part, total - first)
                yield Part(index, seen.name, seen.stamp, first, count, total, seen.width * seen.height)

    def _is_done(self, part: Part, writer: PyramidWriter) -> bool:
        """The part was made of this very image, and its rows are on disk as they were written."""
        record = self._journal.find("done", part.index, part.first)
        if record is None or (record["name"], record["stamp"]) != (part.name, part.stamp):
            return False
        stored = [writer.stored(row) for row in self.rows_of(part.index, part.first, part.count).tolist()]
        digests = [digest for digest in stored if digest is not None]
        return len(digests) == part.count and _digest(np.stack(digests)) == record["rows"]


def records(made: Made) -> Iterator[dict[str, Any]]:
    """What the journal is to say of a task that was written."""
    end = 0
    for part, facts in zip(made.task.parts, made.facts, strict=True):
        start, end = end, end + part.count
        yield {
            "done": part.index,
            "part": part.first,
            "name": part.name,
            "stamp": part.stamp,
            "rows": _digest(made.packed.digests[start:end]),
            "facts": facts,
        }


def _digest(row_digests: NDArray[np.uint8]) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(row_digests).data)


def num_bytes(packed: Packed) -> int:
    """Size of rows as they are stored."""
    return sum(
        values.nbytes if isinstance(values, np.ndarray) else sum(map(len, values)) for values in packed.values.values()
    )
