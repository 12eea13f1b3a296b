"""What a build will need (disk, time, memory), from a sample of its source: ``make-pyramid --dry-run``.

The sample goes through the functions that the build itself uses, with as many threads, and what it gives is scaled up.
Nothing is kept: how fast the disk is, a file without a name tells that is gone as soon as it is closed.
"""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.atomic import system_errors
from datasets.codecs import ENCODERS
from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to
from datasets.manifest import ROW_DIGEST_BYTES
from datasets.packing import Packer
from toolkit.engine import process
from toolkit.engine.output import Output, packed_bytes
from toolkit.engine.process import Known, Look, Part, Parts
from toolkit.engine.progress import Progress
from toolkit.engine.workers import Workers, hired
from toolkit.options import Options
from toolkit.selection import BAD, Chooser, kind_of
from toolkit.sources import Source, open_source

SAMPLE_SECONDS = 3.0  # that the sample may take, about, unless a few images take longer
_MIN_IMAGES, _MAX_IMAGES = 12, 512  # of a sample
_ROW_BYTES = 1 << 22  # pixels of the finest level that are made at a time, as in a build
_WRITE_BYTES = 1 << 26  # at most, to find out how fast the disk is
_WAITING = 8  # results for each thread that may wait to be written, as `toolkit.engine.workers` has it
_FILE_BYTES = 12_500  # of a file, besides its rows
_BOOKKEEPING = 200  # bytes of memory for a row, besides its digests and name
_FINGERPRINTS = 800  # bytes of memory for an image that may have near-duplicates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a build will need.

    Attributes
    ----------
    source_images : int
        Number of images of the source.
    sampled : int
        How many of them were tried.
    bad : tuple of (str, str)
        Name of every bad image among these, and what is wrong with it.
    left_out : dict of str to int
        Why images of the sample would be left out -> how many. Near-duplicates cannot be found in a sample.
    rows, resolution : int
        Rows of the data set, and the side of their finest level.
    bytes : int
        Size of the data set. To within names and labels if rows are and pixels are raw.
    seconds : float
        Wall time.
    jobs : int
        Number of threads, with which that is.
    memory_bytes : int
        Most memory that the process will hold at a time.
    free_bytes : int
        Free space on the disk of the data set.
    free_memory_bytes : int
        Memory of the machine.
    """

    source_images: int
    sampled: int
    bad: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    rows: int
    resolution: int
    bytes: int
    seconds: float
    jobs: int
    memory_bytes: int
    free_bytes: int
    free_memory_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Bytes of disk that are missing; 0 if the data set fits."""
        return max(0, self.bytes - self.free_bytes)

    def check_fits(self, output: Output) -> None:
        """Raise an InputError if the data set does not fit on its disk."""
        if self.missing_bytes:
            raise InputError(
                f"{output.path} needs {_size(self.bytes)}, but {output.path.parent} has {_size(self.free_bytes)} free; "
                "free space, choose another disk or a smaller --resolution"
            )

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        bad = [{"path": name, "reason": reason} for name, reason in self.bad]
        return {**dataclasses.asdict(self), "bad": bad, "missing_bytes": self.missing_bytes}

    def table(self) -> list[tuple[str, str]]:
        """Facts for people: what it is, and how much."""
        levels = len(levels_up_to(level_of(self.resolution)))
        fits = f"{_size(self.free_bytes)} free"
        if self.missing_bytes:
            fits += f": {_size(self.missing_bytes)} MISSING"
        share = f"{self.sampled} of {self.source_images:,} images"
        facts = [
            ("estimated from", share if self.sampled < self.source_images else f"all {self.source_images:,} images"),
            ("rows", f"{self.rows:,} of {self.resolution}x{self.resolution}, {levels} levels"),
            ("disk", f"{_size(self.bytes)} ({fits})"),
            (
                "time",
                f"about {_duration(self.seconds)} with {self.jobs} threads, {self.rows / self.seconds:.1f} images/s",
            ),
            ("memory", f"{_size(self.memory_bytes)} of {_size(self.free_memory_bytes)}"),
        ]
        if self.left_out:
            counts = ", ".join(f"{kind} {number}" for kind, number in self.left_out.items())
            facts.append(("left out", f"{counts} of {self.sampled}"))
        return facts + [("bad image" if number == 0 else "", reason) for number, (_, reason) in enumerate(self.bad)]


def estimate(
    source: Path | Source, output: Output, options: Options, *, jobs: int, progress: Progress, share: float = 1.0
) -> Estimate:
    """Estimate what ``toolkit.build.build`` will need with the same arguments.

    Parameters
    ----------
    source, output, options, jobs, progress
        See there.
    share : float
        What part of the images of the build `source` holds, if it is a sample already.

    Raises
    ------
    InputError
        If an argument is at fault, or no image of the sample can be used.
    """
    if options.resolution is not None:
        level_of(options.resolution, "--resolution")
    output.check_read(source if isinstance(source, Path) else source.path)
    output.check_place(may_exist=True)
    if isinstance(source, Path):
        source = open_source(source, options.kind, labels=options.labels)
    options = dataclasses.replace(options, crop=options.crop or source.crop)
    with hired(jobs) as workers:
        started = time.monotonic()
        source.prepare(workers, None, progress)
        prepare_seconds = (time.monotonic() - started) / share
    num_images = round(len(source) / share)
    if options.ranks(num_images):
        options = dataclasses.replace(options, order="score")  # a sample may be smaller than what stays
    sample = _sample(source, options)
    with hired(jobs) as workers, progress(2 * len(sample), "trying a sample") as bar:
        started = time.monotonic()
        looks = _looks(source, options, workers, sample)
        look_seconds = time.monotonic() - started
        bar.update(len(sample))
        reasons = _reasons(options, looks)
        good = [found for found, reason in zip(looks, reasons, strict=True) if reason is None]
        if not good:
            found, reason = looks[0], reasons[0] or ""
            first = reason if found.name in reason else f"{found.name}: {reason}"
            raise InputError(f"{source.path}: none of {len(looks)} images tried can be used; the first: {first}")
        resolution = options.resolution or _side_of(good)
        packer = Packer(resolution, ENCODERS[output.encoding or "raw"])
        lmdb = output.path.suffix.lower() == ".lmdb"
        trial = _make(source, options, packer, workers, good, lmdb=lmdb)
        bar.update(len(sample))
    good_share = len(good) / len(looks)
    num_looked_at, num_good = num_images, num_images * good_share
    if options.max_images is not None and options.max_images < num_good:
        num_looked_at, num_good = round(options.max_images / good_share), float(options.max_images)
    num_good = min(num_good, float(options.criteria.best or num_good))
    crops = [found.num_crops for found in good]
    rows = max(1, round(num_good * sum(crops) / len(crops)))
    name_bytes = 4 + sum(len(found.name) for found in good) / len(good)
    size = rows * (trial.row_bytes + name_bytes + 8) + _FILE_BYTES * output.shards
    write_seconds = size / _write_speed(output.path.parent, size)
    waiting = _WAITING * jobs * trial.task_bytes  # while the disk is busy
    fingerprints = _FINGERPRINTS * num_good if options.criteria.near_duplicates is not None else 0
    per_row = ROW_DIGEST_BYTES * len(levels_up_to(level_of(resolution))) + _BOOKKEEPING + name_bytes
    return Estimate(
        source_images=num_images,
        sampled=len(looks),
        bad=tuple((found.name, found.bad) for found in looks if found.bad is not None),
        left_out=dict(sorted(Counter(kind_of(reason) for reason in reasons if reason is not None).items())),
        rows=rows,
        resolution=resolution,
        bytes=math.ceil(size),
        seconds=prepare_seconds
        + look_seconds / len(looks) * num_looked_at
        + trial.image_seconds * num_good
        + write_seconds,
        jobs=jobs,
        memory_bytes=math.ceil(_peak_memory() + waiting + rows * per_row + fingerprints),
        free_bytes=shutil.disk_usage(output.path.parent).free,
        free_memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _sample(source: Source, options: Options) -> list[int]:
    """Numbers of images to look at."""
    started = time.monotonic()
    process.look(source, options, [Known(len(source) // 2)])
    return _spread(len(source), time.monotonic() - started)


def _spread(num: int, seconds: float) -> list[int]:
    """Spread as many numbers evenly over 0 .. `num` - 1 as fit into the time at `seconds` each."""
    wanted = min(max(int(SAMPLE_SECONDS / max(seconds, 1e-6)), _MIN_IMAGES), _MAX_IMAGES, num)
    return [(2 * number + 1) * num // (2 * wanted) for number in range(wanted)]


def _looks(source: Source, options: Options, workers: Workers, sample: Sequence[int]) -> list[Look]:
    """Look at the images as the plan of a build does."""
    chunks = [[Known(index) for index in sample[first : first + 4]] for first in range(0, len(sample), 4)]
    results = workers.in_order(partial(process.look, source, options), chunks)
    return [found for result in results for found in result if found is not None]


def _reasons(options: Options, looks: Sequence[Look]) -> list[str | None]:
    """Why each image would be left out."""
    chooser = Chooser(options.criteria)
    return [
        f"{BAD}: {found.bad}"
        if found.bad is not None
        else found.left_out or chooser.reason(found.index, found.name, found.width, found.height, found.measurement)
        for found in looks
    ]


def _side_of(looks: Sequence[Look]) -> int:
    sides = {found.side for found in looks}
    if len(sides) > 1:
        raise InputError(f"the crops are {min(sides)} to {max(sides)} pixels wide; say the side of a row: --resolution")
    side = sides.pop()
    level_of(side, "the crops' side")
    return side


@dataclasses.dataclass(frozen=True)
class _Trial:
    """What the making of some rows took, on average."""

    row_bytes: float  # in the file
    task_bytes: float  # of rows that are made in one task
    image_seconds: float  # wall time for all rows of an image


def _make(
    source: Source, options: Options, packer: Packer, workers: Workers, looks: Sequence[Look], *, lmdb: bool
) -> _Trial:
    """Make rows of as many images as can be tried in the time, spread evenly.

    Of an image that is made in several tasks two are tried; further ones take as long as the second.
    """
    per_part = max(1, _ROW_BYTES // (3 * packer.resolution**2))
    make = partial(process.make, source, options, packer.resolution, packer)

    def further_seconds(found: Look) -> float:
        if found.num_crops <= per_part:
            return 0.0
        part = process.part_of(found, per_part, per_part)
        make(Parts((part,)))  # decodes, and remembers the pixels for the next
        started = time.monotonic()
        make(Parts((part,)))
        return (found.num_crops - per_part) / part.count * (time.monotonic() - started) / workers.size

    started = time.monotonic()
    make(Parts((process.part_of(looks[0], 0, per_part),)))
    further_seconds(looks[0])
    looks = [looks[k] for k in _spread(len(looks), time.monotonic() - started)]
    parts = [process.part_of(found, 0, per_part) for found in looks]
    tasks = list(_tasks(parts, per_part, 8 * workers.size))
    started = time.monotonic()
    size = sum(packed_bytes(result.packed, lmdb=lmdb) for result in workers.in_order(make, tasks))
    seconds = time.monotonic() - started + sum(map(further_seconds, looks))
    process.forget()
    num_rows = sum(part.count for part in parts)
    return _Trial(size / num_rows, size / len(tasks), seconds / len(looks))


def _tasks(parts: Sequence[Part], per_part: int, at_least: int) -> Iterator[Parts]:
    """Parts that are made together: as many rows as in a build, but enough tasks for all threads."""
    images = max(1, len(parts) // at_least)
    task: list[Part] = []
    for part in parts:
        if task and (sum(other.count for other in task) + part.count > per_part or len(task) == images):
            yield Parts(tuple(task))
            task = []
        task.append(part)
    yield Parts(tuple(task))


def _write_speed(folder: Path, size: float) -> float:
    """Bytes a second that reach the disk, by writing some into a file that never has a name."""
    block = np.random.default_rng(0).bytes(1 << 20)
    free = shutil.disk_usage(folder).free
    blocks = int(min(_WRITE_BYTES, size, free // 4)) // len(block) + 1
    started = time.monotonic()
    with system_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(blocks):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return blocks * len(block) / (time.monotonic() - started)


def _peak_memory() -> int:
    """Most bytes that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _size(number: float) -> str:
    unit = next((unit for unit, name in _UNITS if number >= unit), 1)
    return f"{number / unit:.1f} {dict(_UNITS)[unit]}"


_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
