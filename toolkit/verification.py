"""Read a whole data set again and compare every byte: pixels, digests, names, labels and manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import blocks, formats
from datasets.errors import InputError
from datasets.formats import PyramidReader
from datasets.levels import levels_up_to, name_of, pyramid, resolution_of
from datasets.manifest import level_digest, names_digest, row_digest
from toolkit import ledger
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.engine.workers import in_order

_BATCH_BYTES = 1 << 22  # pixels that a thread holds at a time
_MOST_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    path : Path
    content_digest : str
        Of the manifest.
    num_images : int
        Rows of every level; all were read.
    bytes : int
        Bytes of pixels that were read.
    seconds : float
        Wall time of reading them.
    faults : list of str
        One line for each fault: which level and row, and the source of the row. Empty if all is well.
    ledger : str
        ``matches``, ``missing`` or ``differs``; a ledger of another build is also one of the faults.
    levels_rebuilt : bool
        It was checked that every level is the box filter of the finest.
    """

    path: Path
    content_digest: str
    num_images: int
    bytes: int
    seconds: float
    faults: list[str]
    ledger: str
    levels_rebuilt: bool

    @property
    def mb_per_sec(self) -> float:
        """Megabytes (10**6 bytes) of pixels a second."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        fields = dataclasses.asdict(self)
        return {
            **fields,
            "path": str(self.path),
            "seconds": round(self.seconds, 3),
            "mb_per_sec": round(self.mb_per_sec, 1),
            "ok": not self.faults,
        }


def verify(path: Path, *, rebuild_levels: bool = False, jobs: int, progress: Progress) -> Verification:
    """Check a data set of any format against the digests inside it.

    Parameters
    ----------
    path : Path
    rebuild_levels : bool
        Make every level again from the finest and compare. The digests say that pixels are as they were written; this
        says that they were right.
    jobs : int
        Number of threads.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If there is no finished data set at `path`, or it is too damaged to be opened. Every lesser damage is a fault in
        the result.
    """
    reader = formats.open_pyramid(path)
    manifest = reader.manifest
    faults, names = _faults_of_names(reader)
    try:
        reader.labels()
    except InputError as error:
        faults.append(_fault(error))
    levels = levels_up_to(manifest.top_level)
    passes = len(levels) + rebuild_levels
    with progress(manifest.num_images * passes, "verifying rows") as bar:
        meter = Meter(bar)
        for level in levels:
            faults += _faults_of_level(reader, level, names, jobs, meter)
        if rebuild_levels:
            faults += _faults_of_filter(reader, names, jobs, meter)
        seconds, num_bytes = meter.seconds, meter.bytes
    if manifest.version > 1 and not faults:  # they would name the same bytes, less exactly
        for file in reader.files():
            if file.suffix != ".json":  # the index of shards has a digest in itself
                faults += blocks.faults(file)
    state = _ledger_state(path, manifest.provenance.get("ledger_sha256"))
    if state == "differs":
        faults.append(f"{ledger.path_of(path).name} is not the ledger of this data set, or was changed")
    return Verification(
        path, manifest.content_digest, manifest.num_images, num_bytes, seconds, faults, state, rebuild_levels
    )


def _fault(error: InputError) -> str:
    """What is wrong; what to do about it is said once, of the whole data set."""
    return re.sub(r"(; (it is|they are) damaged)?[;,] build it again$", "", str(error))


def _faults_of_names(reader: PyramidReader) -> tuple[list[str], list[str]]:
    """Faults, and names of all rows to call others by."""
    try:
        names = reader.sources()
    except InputError as error:
        return [_fault(error)], ["name unreadable"] * reader.manifest.num_images
    if names_digest(names) != reader.manifest.sources_digest:
        return ["the names of the sources do not match their digest"], names
    return [], names


def _faults_of_level(reader: PyramidReader, level: int, names: list[str], jobs: int, meter: Meter) -> Iterator[str]:
    """Read every row of a level; one line for each that is not what was written."""
    try:
        digests = reader.row_digests(level)
    except InputError as error:
        yield _fault(error)
        meter.add(len(names), 0)
        return
    if level_digest(digests) != reader.manifest.level_digests[name_of(level)]:
        yield f"{name_of(level)}: the digests of its rows do not match the manifest"

    def check(rows: NDArray[np.int64]) -> list[str]:
        faults = []
        for row, image in _readable(reader, level, rows):
            if isinstance(image, InputError):
                faults.append(f"{name_of(level)}, row {row} ({names[row]}): {_fault(image)}")
            elif row_digest(image) != digests[row].tobytes():
                faults.append(f"{name_of(level)}, row {row} ({names[row]}): the pixels do not match their digest")
        return faults

    yield from _by_batches(check, len(names), level, jobs, meter)


def _faults_of_filter(reader: PyramidReader, names: list[str], jobs: int, meter: Meter) -> Iterator[str]:
    """Make all levels again from the finest; one line for every row that has another."""
    top = reader.manifest.top_level

    def check(rows: NDArray[np.int64]) -> list[str]:
        finest = {row: image for row, image in _readable(reader, top, rows) if not isinstance(image, InputError)}
        if not finest:
            return []  # faults already
        faults = []
        for level, rebuilt in pyramid(np.stack(list(finest.values()))).items():
            if level == top:
                continue
            for (row, stored), right in zip(_readable(reader, level, np.array(list(finest))), rebuilt, strict=True):
                if not isinstance(stored, InputError) and not np.array_equal(stored, right):
                    what = f"not the box filter of {name_of(top)}"
                    faults.append(f"{name_of(level)}, row {row} ({names[row]}): {what}")
        return faults

    yield from _by_batches(check, len(names), top, jobs, meter)


def _readable(
    reader: PyramidReader, level: int, rows: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint8] | InputError]]:
    """Rows of a level, all at once if they can be read, otherwise one by one, with what is wrong in place of pixels."""
    try:
        images = reader.level(level).gather(rows)
    except InputError as error:
        if len(rows) == 1:
            yield int(rows[0]), error
            return
        for row in rows:
            yield from _readable(reader, level, np.array([row]))
        return
    yield from zip(rows.tolist(), images, strict=True)


def _by_batches(
    check: Callable[[NDArray[np.int64]], list[str]], size: int, level: int, jobs: int, meter: Meter
) -> Iterator[str]:
    """Faults that ``check(rows)`` finds in all rows, computed by threads, in the order of the rows."""
    row_bytes = 3 * resolution_of(level) ** 2
    batch = max(1, min(_MOST_ROWS, _BATCH_BYTES // row_bytes))

    def run(rows: NDArray[np.int64]) -> tuple[int, list[str]]:
        return len(rows), check(rows)

    tasks = (np.arange(first, min(first + batch, size)) for first in range(0, size, batch))
    with contextlib.closing(in_order(run, tasks, jobs, threading.Event())) as results:
        for count, faults in results:
            yield from faults
            meter.add(count, count * row_bytes)


def _ledger_state(path: Path, expected: object) -> str:
    """Compare the ledger beside a data set with the digest in the manifest."""
    ledger_path = ledger.path_of(path)
    if not ledger_path.is_file():
        return "missing"
    with ledger_path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "matches" if found == expected else "differs"
