"""Make a pyramid from rows of others: every row is checked against its digest on the way, and nothing is decoded twice.

There is no journal: the interrupted writer knows the digests of the rows that it has on disk, and a row whose digests
are those of its source is not copied again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import formats
from datasets.atomic import replacing
from datasets.errors import InputError
from datasets.formats import Packed, Packer, PyramidReader, PyramidWriter
from datasets.levels import levels_up_to, name_of, resolution_of
from datasets.manifest import Manifest, level_digest
from toolkit import ledger
from toolkit.engine.meter import Meter
from toolkit.engine.output import Output, to_be_continued
from toolkit.engine.progress import Progress
from toolkit.engine.workers import in_order

_BATCH_BYTES = 1 << 22  # pixels that a thread holds at a time
_MOST_ROWS = 256  # of a batch, so that the progress bar moves
_SAMPLE_ROWS = 16  # to find out how small they become
_FLUSH_SECONDS = 5.0  # what a kill can cost

Task = tuple[PyramidReader, NDArray[np.int64], NDArray[np.int64]]  # from where, its rows, the new rows


class DamagedError(InputError):
    """A source cannot be copied because it is not what was written: going on later would not help."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows of a pyramid, in the order in which they are taken.

    Attributes
    ----------
    reader : PyramidReader
    rows : ndarray of int64, shape (n,)
    """

    reader: PyramidReader
    rows: NDArray[np.int64]

    @classmethod
    def whole(cls, reader: PyramidReader) -> Part:
        """All rows of a pyramid."""
        return cls(reader, np.arange(reader.manifest.num_images))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a pyramid says of its rows besides their pixels; see `datasets.manifest.Manifest`.

    Attributes
    ----------
    labels : ndarray of int64, shape (N,), or None
    label_names : list of str or None
    options, provenance : mapping
    ledger : Path or list of Entry or None
        A ledger to copy as it is, or the lines of a new one.
    """

    labels: NDArray[np.int64] | None
    label_names: list[str] | None
    options: Mapping[str, Any]
    provenance: Mapping[str, Any]
    ledger: Path | list[ledger.Entry] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assembled:
    """What was made.

    Attributes
    ----------
    path : Path
    manifest : Manifest
    bytes : int
        Size of all its files.
    copied, resumed : int
        Rows that were copied now, and rows that an interrupted command had copied before.
    seconds : float
        Wall time.
    """

    path: Path
    manifest: Manifest
    bytes: int
    copied: int
    resumed: int
    seconds: float

    @classmethod
    def of(cls, reader: PyramidReader, *, copied: int, resumed: int, seconds: float) -> Assembled:
        """What is told of a finished pyramid."""
        num_bytes = sum(file.stat().st_size for file in reader.files())
        return cls(
            path=reader.path,
            manifest=reader.manifest,
            bytes=num_bytes,
            copied=copied,
            resumed=resumed,
            seconds=seconds,
        )

    def facts(self) -> dict[str, str]:
        """What a person wants to know of it."""
        manifest, side = self.manifest, self.manifest.resolution
        rows = f"{manifest.num_images} of {side}x{side}, and every level down to 4x4"
        speed = f"{self.copied / max(self.seconds, 1e-9):.1f} rows/s, {self.seconds:.1f} s in all"
        return {
            "data set": f"{self.path} ({self.bytes / 1e6:.1f} MB)",
            "rows": rows + (f"; {self.resumed} of them were there" if self.resumed else ""),
            "classes": "no labels" if manifest.num_classes is None else str(manifest.num_classes),
            **({"speed": speed} if self.copied else {}),
            "content digest": manifest.content_digest,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "num_images": manifest.num_images,
            "resolution": manifest.resolution,
            "num_classes": manifest.num_classes,
            "bytes": self.bytes,
            "copied": self.copied,
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "content_digest": manifest.content_digest,
            "options": dict(manifest.options),
            "provenance": dict(manifest.provenance),
        }


def check_output(output: Output, inputs: Iterable[PyramidReader]) -> None:
    """Find out, before any work, that a pyramid cannot be written, or is one of those that would be read.

    Raises
    ------
    InputError
    """
    for reader in inputs:
        output.check_read(reader.path)
    output.check_place()


def assemble(
    parts: Sequence[Part], output: Output, description: Description, *, top: int, jobs: int, progress: Progress
) -> Assembled:
    """Write the rows of all parts, one part after the other, as a new pyramid.

    If it is interrupted, or the disk is full, the hidden partial file stays, and the same call goes on with it.

    Parameters
    ----------
    parts : sequence of Part
    output : Output
        Checked by the caller, see `check_output`.
    description : Description
    top : int
        Finest level of the new pyramid; every part has it.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If a row does not match its digest (`DamagedError`; then no partial file stays), or the system refuses.
    """
    started = time.monotonic()
    names = [name for part in parts for name in _names_of(part)]
    wanted = np.concatenate([_digests_of(part, top) for part in parts])
    output.check_space(len(wanted), resolution_of(top), partial(_sample, parts, top))
    with formats.create(
        output.path,
        len(wanted),
        resolution_of(top),
        shards=output.shards,
        encoding=output.encoding,
        keep=True,
        resume=True,
    ) as writer:
        missing = _missing_rows(writer, wanted)
        try:
            _copy(parts, missing, wanted, writer, top, jobs, progress)
            _finish(writer, names, description)
        except DamagedError:
            writer.discard()
            raise
        except BaseException as error:
            with contextlib.suppress(InputError):  # the error that is on its way says more
                writer.flush()
            if all(writer.stored(row) is None for row in range(len(wanted))):
                writer.discard()
            elif isinstance(error, InputError):
                raise to_be_continued(error) from None
            raise
    reader = formats.open_pyramid(output.path)
    seconds = time.monotonic() - started
    return Assembled.of(reader, copied=len(missing), resumed=len(wanted) - len(missing), seconds=seconds)


def _sample(parts: Sequence[Part], top: int, packer: Packer) -> Packed:
    """Some rows, spread over the largest part."""
    part = max(parts, key=lambda part: len(part.rows))
    rows = part.rows[:: -(-len(part.rows) // _SAMPLE_ROWS)]
    return packer({level: part.reader.level(level).gather(rows) for level in levels_up_to(top)})


def _names_of(part: Part) -> Iterator[str]:
    names = part.reader.sources()
    return (names[row] for row in part.rows.tolist())


def _digests_of(part: Part, top: int) -> NDArray[np.uint8]:
    """Row digests of a part, shape (n, L, 16), coarsest level first, after checking them against the manifest."""
    tables = []
    for level in levels_up_to(top):
        table = part.reader.row_digests(level)
        if level_digest(table) != part.reader.manifest.level_digests[name_of(level)]:
            raise InputError(
                f"{part.reader.path}: {name_of(level)}: the digests of its rows do not match the manifest; "
                "it is damaged, build it again"
            )
        tables.append(table[part.rows])
    return np.stack(tables, axis=1)


def _missing_rows(writer: PyramidWriter, wanted: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows that the writer does not have on disk as they should be."""

    def there(row: int) -> bool:
        stored = writer.stored(row)
        return stored is not None and bool(np.array_equal(stored, wanted[row]))

    return np.array([row for row in range(len(wanted)) if not there(row)], np.int64)


def _copy(
    parts: Sequence[Part],
    missing: NDArray[np.int64],
    wanted: NDArray[np.uint8],
    writer: PyramidWriter,
    top: int,
    jobs: int,
    progress: Progress,
) -> None:
    """Copy the missing rows: read, check and encode in threads, write here."""
    levels = levels_up_to(top)
    row_bytes = sum(3 * resolution_of(level) ** 2 for level in levels)

    def pack(task: Task) -> tuple[NDArray[np.int64], Packed]:
        reader, rows, new_rows = task
        try:
            packed = writer.pack({level: reader.level(level).gather(rows) for level in levels})
        except InputError as error:
            raise DamagedError(str(error)) from None
        wrong = np.argwhere((packed.digests != wanted[new_rows]).any(axis=2))
        if len(wrong):
            place, level = wrong[0].tolist()
            row = int(rows[place])
            raise DamagedError(
                f"{reader.path}: {name_of(levels[level])}, row {row} ({reader.sources()[row]}): the pixels do not "
                "match their digest; it is damaged, build it again"
            )
        return new_rows, packed

    with progress(len(wanted), "copying rows", initial=len(wanted) - len(missing)) as bar:
        meter = Meter(bar)
        flushed = time.monotonic()
        tasks = _tasks(parts, missing, max(1, min(_MOST_ROWS, _BATCH_BYTES // row_bytes)))
        with contextlib.closing(in_order(pack, tasks, jobs, threading.Event())) as results:
            for new_rows, packed in results:
                writer.write(new_rows, packed)
                meter.add(len(new_rows), len(new_rows) * row_bytes)
                if time.monotonic() - flushed > _FLUSH_SECONDS:
                    writer.flush()
                    flushed = time.monotonic()


def _tasks(parts: Sequence[Part], missing: NDArray[np.int64], batch: int) -> Iterator[Task]:
    first = 0
    for part in parts:
        end = first + len(part.rows)
        begin, stop = np.searchsorted(missing, (first, end)).tolist()
        for start in range(begin, stop, batch):
            new_rows = missing[start : min(start + batch, stop)]
            yield part.reader, part.rows[new_rows - first], new_rows
        first = end


def _finish(writer: PyramidWriter, names: list[str], description: Description) -> None:
    """Publish the pyramid, and its ledger if there is one; a ledger of what it replaces is removed."""
    ledger_path = ledger.path_of(writer.path)
    provenance = {name: value for name, value in description.provenance.items() if name != "ledger_sha256"}
    about = (description.labels, description.label_names, description.options)
    if description.ledger is None:
        writer.finish(names, *about, provenance)
        ledger_path.unlink(missing_ok=True)
        return
    with replacing(ledger_path) as temporary:
        if isinstance(description.ledger, Path):
            shutil.copyfile(description.ledger, temporary)
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            digest = ledger.write(temporary, description.ledger)
        writer.finish(names, *about, {**provenance, "ledger_sha256": digest})
