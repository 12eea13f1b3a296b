"""Aligned portraits as a folder of PNG files: the same plan, journal, workers and ledger as a build, and no pyramid.

``sub/photo.jpg`` becomes ``OUT/sub/photo.png``; its second face, if both are wanted, ``OUT/sub/photo#2.png``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xxhash
from PIL import Image

from datasets.atomic import (
    claim_folder,
    empty_folder,
    flush_folder,
    partial_path,
    publish,
    publish_folder,
    system_errors,
)
from datasets.codecs import png
from datasets.errors import InputError
from toolkit import ledger, score_sheet
from toolkit.engine import process
from toolkit.engine.journal import Journal
from toolkit.engine.journal import path_of as journal_of
from toolkit.engine.meter import Meter
from toolkit.engine.output import to_be_continued
from toolkit.engine.process import Facts
from toolkit.engine.progress import Progress
from toolkit.engine.summary import Tally, counts
from toolkit.engine.versions import deciding_versions
from toolkit.engine.workers import Workers, hired
from toolkit.ledger import Entry
from toolkit.options import Options
from toolkit.plan import Plan, make_plan, recall
from toolkit.sources import Source

_QUICK_SECONDS = 10.0  # in which what is known may be found out once more
SAVE_SECONDS = 3.0  # between two moments at which everything written so far is brought to disk


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aligned:
    """What was done.

    Attributes
    ----------
    path, ledger : Path
        The folder and the ledger beside it.
    score_sheet : Path or None
        Picture of the portraits of highest and lowest scores, if they have scores.
    portraits : int
        Number of files.
    applied, skipped : dict of str to int
        See `toolkit.engine.summary.Tally`.
    bytes : int
        Size of the files.
    kept : int
        Portraits that an interrupted run had made before.
    seconds : float
        Wall time of this run.
    """

    path: Path
    ledger: Path
    score_sheet: Path | None
    portraits: int
    applied: dict[str, int]
    skipped: dict[str, int]
    bytes: int
    kept: int
    seconds: float

    def table(self) -> list[tuple[str, object]]:
        """Facts for people: what it is, and what was done."""
        facts = {
            "portraits": f"{self.path} ({self.portraits} files, {self.bytes / 1e6:.1f} MB)",
            "ledger": self.ledger,
            "best and worst": self.score_sheet,
            "left out": counts(self.skipped),
            "applied": counts(self.applied),
            "speed": f"{(self.portraits - self.kept) / max(self.seconds, 1e-9):.2f} portraits/s, {self.seconds:.1f} s"
            + (f"; {self.kept} were there" if self.kept else ""),
        }
        return [(name, value) for name, value in facts.items() if value]

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        paths = {"path": str(self.path), "ledger": str(self.ledger)}
        sheet = None if self.score_sheet is None else str(self.score_sheet)
        return {**dataclasses.asdict(self), **paths, "score_sheet": sheet, "seconds": round(self.seconds, 3)}


@dataclasses.dataclass(frozen=True)
class _Task:
    """A portrait to be made: its number in the source, and what the image was like when it was looked at."""

    index: int
    name: str
    stamp: str


def align(
    source: Source,
    out: Path,
    options: Options,
    *,
    jobs: int,
    progress: Progress,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Aligned:
    """Make the folder `out` from the images of a source, and a ledger beside it; both when they are whole, or not.

    If it ends before, by an error or a kill, what was done is kept in hidden files beside `out`, and the same call goes
    on with it.

    Parameters
    ----------
    source : Source
        Such as `toolkit.celebahq.portraits.Portraits`.
    out : Path
        Folder to make.
    options : Options
        Which images are used.
    jobs : int
        Number of threads, at least 1.
    progress : callable
        Makes progress bars.
    overwrite : bool
        Replace an existing folder, with all it holds.
    say : callable, optional
        Told, in one line, if the work goes on where it was interrupted.

    Raises
    ------
    InputError
        If an argument is at fault, an image is bad (see `Options.skip_bad`), or the disk is full.
    """
    started = time.monotonic()
    _check_place(source, out, overwrite=overwrite or journal_of(out).exists())
    key = {"align": out.name, "versions": deciding_versions(), **source.identity(), "skip_bad": options.skip_bad}
    with Journal(out, {**key, "options": options.for_manifest()}) as journal, hired(jobs) as workers:
        work = _Work(source, options, journal, out)
        try:
            source.prepare(workers, journal, progress)
            if work.is_complete():
                say(f"{out} was complete already")
            else:
                _check_place(source, out, overwrite=overwrite)
                work.run(workers, progress, say)
        except BaseException:
            quick = not journal.continued and time.monotonic() - started < _QUICK_SECONDS
            if quick and not journal.has_rows:
                work.discard()  # nothing is done that takes long to do again
            raise
        tally = Tally.of(ledger.read(ledger.path_of(out)))
        sheet = _publish_scores(out, source, options, say)
        journal.discard()
    return Aligned(
        path=out,
        ledger=ledger.path_of(out),
        score_sheet=sheet,
        portraits=tally.images,
        applied=dict(sorted(tally.applied.items())),
        skipped=dict(sorted(tally.skipped.items())),
        bytes=sum(file.stat().st_size for file in out.rglob("*.png")),
        kept=work.kept,
        seconds=time.monotonic() - started,
    )


class _Work:
    """The folder under way."""

    def __init__(self, source: Source, options: Options, journal: Journal, out: Path) -> None:
        self._source, self._options, self._journal, self._out = source, options, journal, out
        self._folder = partial_path(out)
        self._unsaved: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}
        self.kept = 0

    def is_complete(self) -> bool:
        """Whether an interrupted run was killed after it had published the folder."""
        path = ledger.path_of(self._out)
        if self._journal.finished is None or self._folder.exists() or not self._out.is_dir() or not path.exists():
            return False
        self.kept = int(self._journal.finished["portraits"])
        return bool(xxhash.xxh3_128_hexdigest(path.read_bytes()) == self._journal.finished["ledger"])

    def run(self, workers: Workers, progress: Progress, say: Callable[[str], None]) -> None:
        """Do all of it."""
        plan = make_plan(self._source, self._options, workers, self._journal, progress)
        used = sorted(np.flatnonzero(plan.num_crops).tolist())
        seen = [recall(self._journal, index) for index in used]
        self._names = dict(zip(used, file_names([found.name for found in seen]), strict=True))
        tasks = [_Task(found.index, found.name, found.stamp) for found in seen]
        with system_errors(self._out):
            _, descriptor = claim_folder(self._out)
            try:
                self._make(tasks, workers, progress, say)
                self._publish(plan)
            except BaseException as error:
                with contextlib.suppress(InputError, OSError):
                    self._save()
                if isinstance(error, InputError) and self._journal.has_rows:
                    raise to_be_continued(error) from None
                raise
            finally:
                os.close(descriptor)

    def discard(self) -> None:
        """Remove all that was kept."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._journal.discard()

    def _make(self, tasks: Sequence[_Task], workers: Workers, progress: Progress, say: Callable[[str], None]) -> None:
        if not self._journal.continued:
            empty_folder(self._folder)
        missing = [task for task in tasks if not self._is_done(task)]
        self.kept = len(tasks) - len(missing)
        if self.kept:
            say(f"going on where it was interrupted: {self.kept} of {len(tasks)} portraits are there")
        make = partial(make_portrait, self._source, self._options)
        due = time.monotonic() + SAVE_SECONDS
        with (
            progress(len(tasks), "writing portraits", initial=self.kept) as bar,
            contextlib.closing(workers.in_order(make, missing)) as results,
        ):
            meter = Meter(bar)
            for task, (picture, facts) in zip(missing, results, strict=True):
                file = self._folder / self._names[task.index]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(picture)
                about = {"name": task.name, "stamp": task.stamp, "facts": facts}
                digest = xxhash.xxh3_128_hexdigest(picture)
                self._unsaved.append({"done": task.index, **about, "file": self._names[task.index], "xxh3": digest})
                meter.add(1, len(picture))
                if time.monotonic() > due:
                    self._save()
                    due = time.monotonic() + SAVE_SECONDS
        self._save()

    def _is_done(self, task: _Task) -> bool:
        """The portrait was made of this very image, and its file is on disk as it was written."""
        record = self._journal.find("done", task.index)
        name = self._names[task.index]
        if record is None or (record["name"], record["stamp"], record["file"]) != (task.name, task.stamp, name):
            return False
        file = self._folder / name
        return file.is_file() and bool(xxhash.xxh3_128_hexdigest(file.read_bytes()) == record["xxh3"])

    def _save(self) -> None:
        """Bring to disk what was written, and only then say so in the journal."""
        for record in self._unsaved:
            descriptor = os.open(self._folder / record["file"], os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        for folder in {(self._folder / record["file"]).parent for record in self._unsaved}:
            flush_folder(folder)
        self._journal.append(self._unsaved)
        self._journal.sync()
        self._unsaved = []

    def _publish(self, plan: Plan) -> None:
        """Publish the ledger, then the folder, without what an interrupted run made and this one does not want."""
        wanted = set(self._names.values())
        for file in [file for file in self._folder.rglob("*") if file.is_file()]:
            if file.relative_to(self._folder).as_posix() not in wanted:
                file.unlink()
        path = ledger.path_of(self._out)
        temporary = partial_path(path)
        try:
            ledger.write(temporary, self._entries(plan))
            digest = xxhash.xxh3_128_hexdigest(temporary.read_bytes())
            publish(temporary, path)
            self._journal.finish({"ledger": digest, "portraits": len(wanted)})
            publish_folder(self._folder, self._out)
        except BaseException:
            for file in (temporary, path):
                file.unlink(missing_ok=True)  # a ledger of nothing is worse than none
            raise

    def _entries(self, plan: Plan) -> Iterator[Entry]:
        """The ledger entry of every image, in source order."""
        for index in range(len(plan.num_crops)):
            seen = recall(self._journal, index)
            if index in plan.skipped:
                facts = {"width": seen.width or None, "height": seen.height or None, **seen.facts}
                yield Entry(path=seen.name, **facts, skipped=plan.skipped[index])
                continue
            record = self._journal.find("done", index)
            assert record is not None, f"image {index} was not written"
            facts = {**record["facts"], "applied": tuple(record["facts"]["applied"])}
            details = {**facts.pop("details", {}), "file": self._names[index]}
            yield Entry(path=seen.name, **facts, details=details)


def make_portrait(source: Source, options: Options, task: _Task) -> tuple[bytes, Facts]:
    """PNG file of one portrait, and the facts about it.

    Raises
    ------
    InputError
        If the image is bad, or is not what it was when it was looked at.
    """
    item = source[task.index]
    if (item.name, item.stamp) != (task.name, task.stamp):
        raise process.changed(item.where, gone=item.stamp == "missing")
    try:
        pixels, facts = process.read(item, options)
    except (InputError, OSError) as error:
        raise process.bad_image(process.reason_of(item, error), item) from None
    return png(np.ascontiguousarray(pixels.transpose(2, 0, 1))), facts


def file_names(names: Sequence[str]) -> list[str]:
    """PNG files for portraits of these names: the suffix of the photograph goes, unless two would become one."""
    short = [_renamed(name) for name in names]
    count = Counter(name.casefold() for name in short)  # some file systems take a.png and A.png for one
    return [one if count[one.casefold()] == 1 else f"{name}.png" for name, one in zip(names, short, strict=True)]


def _renamed(name: str) -> str:
    path = PurePosixPath(name)
    suffix, mark, face = path.suffix.partition("#")
    return f"{path.with_suffix('').as_posix() if suffix else name}{mark}{face}.png"


def _check_place(source: Source, out: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done, a folder that cannot be made."""
    if os.path.lexists(out) and not overwrite:
        raise InputError(f"{out} exists already; choose another name, remove it, or pass --overwrite")
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder to make")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: no permission to write into {out.parent}")
    read, written = source.path.resolve(), out.resolve()
    if read == written or read.is_relative_to(written) or (read.is_dir() and written.is_relative_to(read)):
        raise InputError(f"{out} and {source.path}, which would be read, lie in each other; choose another folder")


def _publish_scores(out: Path, source: Source, options: Options, say: Callable[[str], None]) -> Path | None:
    """Draw the best and the worst. The folder is whole already, so a failure is no more than a remark."""
    path = score_sheet.path_of(out)
    temporary = partial_path(path)

    def stayed(entry: Entry) -> Any:
        with Image.open(out / entry.details["file"]) as picture:
            return np.asarray(picture)

    try:
        sheet = score_sheet.draw_from(out, source, options, stayed) if options.scores else None
        if sheet is not None:
            sheet.save(temporary, format="PNG")
            publish(temporary, path)
            return path
        path.unlink(missing_ok=True)
    except (InputError, OSError) as error:
        temporary.unlink(missing_ok=True)
        say(f"there is no picture of {score_sheet.TITLE}: {error}")
    return None
