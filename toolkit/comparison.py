"""Compare two pyramids: shapes, labels, names, and the pixels of every level, read from both."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.formats import PyramidReader, open_pyramid
from datasets.levels import levels_up_to, name_of, resolution_of
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.engine.workers import in_order

_BATCH_BYTES = 1 << 22  # pixels of one data set that a thread holds at a time
_MOST_ROWS = 256
_FIRST = 5  # differences that are told in detail


@dataclasses.dataclass(frozen=True)
class Difference:
    """What is not the same.

    Attributes
    ----------
    what : str
        ``images``, ``resolution``, ``labels``, ``classes``, ``names``, or the name of a level.
    count : int
        Number of rows that differ; 1 for what is not of rows.
    first : list of str
        The first of them, for a person.
    """

    what: str
    count: int
    first: list[str]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two data sets compared.

    Attributes
    ----------
    paths : tuple of Path
    digests : tuple of str
        Their content digests.
    num_images : int
        Rows that both have, which were compared.
    resolutions : list of int
        Levels that both have, which were compared.
    read_pixels : bool
        False: only the stored digests were compared.
    bytes : int
        Bytes of pixels that were read, of both.
    differences : list of Difference
        Empty if they are equal.
    """

    paths: tuple[Path, Path]
    digests: tuple[str, str]
    num_images: int
    resolutions: list[int]
    read_pixels: bool
    bytes: int
    differences: list[Difference]

    @property
    def equal(self) -> bool:
        """No difference was found."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {**dataclasses.asdict(self), "paths": [str(path) for path in self.paths], "equal": self.equal}


def compare(
    path: Path, other: Path, *, digests_only: bool, pixels_only: bool, jobs: int, progress: Progress
) -> Comparison:
    """Compare two pyramids of any formats.

    If one has more rows or levels, that is a difference, and the rows and levels that both have are compared.

    Parameters
    ----------
    path, other : Path
    digests_only : bool
        Compare the stored digests of the rows instead of reading their pixels.
    pixels_only : bool
        Do not compare names and labels.
    jobs : int
        Number of threads.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If one of them is no pyramid, or cannot be read to the end.
    """
    one, two = open_pyramid(path), open_pyramid(other)
    differences = list(_outside_differences(one, two, pixels_only=pixels_only))
    size = min(one.manifest.num_images, two.manifest.num_images)
    levels = levels_up_to(min(one.manifest.top_level, two.manifest.top_level))
    with progress(size * len(levels), "comparing digests" if digests_only else "comparing rows") as bar:
        meter = Meter(bar)
        for level in levels:
            if digests_only:
                found = _differing_digests(one, two, level, size)
                meter.add(size, 0)
            else:
                found = _differing_pixels(one, two, level, size, jobs, meter)
            if found:
                names = one.sources()
                first = [f"row {row} ({names[row]}){detail}" for row, detail in found[:_FIRST]]
                differences.append(Difference(name_of(level), len(found), first))
    return Comparison(
        paths=(path, other),
        digests=(one.manifest.content_digest, two.manifest.content_digest),
        num_images=size,
        resolutions=[resolution_of(level) for level in levels],
        read_pixels=not digests_only,
        bytes=meter.bytes,
        differences=differences,
    )


def _outside_differences(one: PyramidReader, two: PyramidReader, *, pixels_only: bool) -> Iterator[Difference]:
    """Differences in everything but pixels."""
    a, b = one.manifest, two.manifest
    if a.num_images != b.num_images:
        yield Difference("images", 1, [f"{a.num_images} and {b.num_images}"])
    if a.resolution != b.resolution:
        yield Difference("resolution", 1, [f"{a.resolution} and {b.resolution}"])
    if pixels_only:
        return
    names, others = one.sources(), two.sources()
    rows = [row for row, (name, other) in enumerate(zip(names, others, strict=False)) if name != other]
    if rows:
        yield Difference("names", len(rows), [f"row {row}: {names[row]} and {others[row]}" for row in rows[:_FIRST]])
    if (a.label_names, a.num_classes) != (b.label_names, b.num_classes):
        yield Difference("classes", 1, [f"{_classes(one)} and {_classes(two)}"])
    labels, other_labels = one.labels(), two.labels()
    if labels is not None and other_labels is not None:
        size = min(len(labels), len(other_labels))
        wrong = np.flatnonzero(labels[:size] != other_labels[:size]).tolist()
        if wrong:
            first = [f"row {row} ({names[row]}): {labels[row]} and {other_labels[row]}" for row in wrong[:_FIRST]]
            yield Difference("labels", len(wrong), first)


def _classes(reader: PyramidReader) -> str:
    manifest = reader.manifest
    if manifest.num_classes is None:
        return "no labels"
    names = manifest.label_names
    shown = "without names" if names is None else ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{manifest.num_classes} classes ({shown})"


def _differing_digests(one: PyramidReader, two: PyramidReader, level: int, size: int) -> list[tuple[int, str]]:
    """Rows of a level whose stored digests differ."""
    different = (one.row_digests(level)[:size] != two.row_digests(level)[:size]).any(axis=1)
    return [(row, "") for row in np.flatnonzero(different).tolist()]


def _differing_pixels(
    one: PyramidReader, two: PyramidReader, level: int, size: int, jobs: int, meter: Meter
) -> list[tuple[int, str]]:
    """Rows of a level that differ, and how: number of values and the largest difference."""
    pixels, others = one.level(level), two.level(level)
    row_bytes = 3 * resolution_of(level) ** 2
    batch = max(1, min(_MOST_ROWS, _BATCH_BYTES // row_bytes))

    def run(rows: NDArray[np.int64]) -> tuple[int, list[tuple[int, str]]]:
        return len(rows), [
            (row, _how(image, other))
            for row, image, other in zip(rows.tolist(), pixels.gather(rows), others.gather(rows), strict=True)
            if not np.array_equal(image, other)
        ]

    found = []
    tasks = (np.arange(first, min(first + batch, size)) for first in range(0, size, batch))
    with contextlib.closing(in_order(run, tasks, jobs, threading.Event())) as results:
        for count, rows in results:
            found += rows
            meter.add(count, 2 * count * row_bytes)
    return found


def _how(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    distance = np.abs(image.astype(np.int16) - other)
    values = int(np.count_nonzero(distance))
    return f": {values} of {image.size} values differ, by {int(distance.max())} at most"


def message(found: Comparison) -> str:
    """One line that says what differs, for `InputError`."""
    counts = [
        difference.what + (f" ({difference.count} rows)" if difference.count > 1 else "")
        for difference in found.differences
    ]
    first = f"{found.differences[0].what}: {found.differences[0].first[0]}"
    return f"{found.paths[0]} and {found.paths[1]} differ in {', '.join(counts)}; the first: {first}"


def check_equal(found: Comparison) -> None:
    """Raise an InputError if two data sets differ."""
    if not found.equal:
        raise InputError(message(found))
