"""Build a data set: source -> decode -> crop -> levels -> writer, in parallel, with one ledger line per image.

The bytes of the data set and of its ledger depend on the source's content, the options and the library versions (all in
the manifest) alone: not on the number of jobs, the time, the machine's folders, or how often the build was interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.atomic import partial_path, publish, system_errors
from datasets.errors import InputError
from datasets.formats import PyramidWriter, create, is_pyramid, open_pyramid
from datasets.manifest import Manifest
from datasets.packing import Packed, Packer
from growgan import __version__
from toolkit import ledger, score_sheet, skipped_sheet
from toolkit.engine import journal as journals
from toolkit.engine import process
from toolkit.engine.journal import Journal
from toolkit.engine.meter import Meter
from toolkit.engine.output import Output, to_be_continued
from toolkit.engine.progress import Progress
from toolkit.engine.summary import Summary, Tally
from toolkit.engine.tasks import Work, num_bytes, records
from toolkit.engine.versions import deciding_versions
from toolkit.engine.workers import Workers, hired
from toolkit.engine.writeback import early_writeback
from toolkit.ledger import Entry
from toolkit.options import Options
from toolkit.plan import Plan, make_plan, recall
from toolkit.sources import Source, file_stamp, open_source

_QUICK_SECONDS = 10.0  # in which a plan may be made once more
_SAMPLE_IMAGES = 8  # to find out how small their rows become
SAVE_SECONDS = 3.0  # between two moments at which everything written so far is brought to disk


Table = Callable[[Path, Iterable[Entry]], None]  # writes something about the entries of a ledger into a file


def build(
    source: Path | Source,
    output: Output,
    options: Options,
    *,
    jobs: int,
    progress: Progress,
    scheduler: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    tables: Mapping[Path, Table] | None = None,
) -> Summary:
    """Build a data set, and its ledger beside it; both appear under their names when they are whole, or not at all.

    If it ends before, by an error or a kill, what was done is kept in hidden files beside `output`, and the same call
    goes on with it.

    Parameters
    ----------
    source : Path or Source
        Anything that `toolkit.sources.open_source` opens, or what it gave, or another source.
    output : Output
        Where and how to write.
    options : Options
        What decides the pixels.
    jobs : int
        Number of threads, at least 1.
    progress : callable
        Makes progress bars.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then compute instead of threads: see `toolkit.engine.cluster`.
    say : callable, optional
        Told, in one line, if the build goes on with an interrupted one, or does not.
    tables : mapping of Path to callable, optional
        Further files that belong to the data set -> what writes them from the ledger. They are published before it.

    Raises
    ------
    InputError
        If an argument is at fault, an image is bad (see `Options.skip_bad`), or the disk is full.
    """
    started = time.monotonic()
    output.check_read(source if isinstance(source, Path) else source.path)
    output.check_place(may_exist=journals.path_of(output.path).exists())
    if isinstance(source, Path):
        source = open_source(source, options.kind, labels=options.labels)
    options = dataclasses.replace(options, crop=options.crop or source.crop)
    with Journal(output.path, _key(source, output, options)) as journal:
        work = _Build(source, output, options, journal, progress, say, tables or {})
        if _is_complete(journal, output.path):
            say(f"{output.path} was complete already")
            with hired(jobs, scheduler) as workers:
                source.prepare(workers, journal, progress)
            tally = Tally.of(ledger.read(ledger.path_of(output.path)))
            work.rows_kept = open_pyramid(output.path).manifest.num_images
        else:
            tally = work.run(jobs, scheduler)
        skipped = _publish_sheet(skipped_sheet, output.path, source, options, say, wanted=bool(tally.skipped))
        scored = _publish_sheet(score_sheet, output.path, source, options, say, wanted=options.scores)
        journal.discard()
    return Summary.of(
        output.path,
        tally,
        skipped_sheet=skipped,
        score_sheet=scored,
        rows_kept=work.rows_kept,
        seconds=time.monotonic() - started,
    )


@dataclasses.dataclass
class _Build:
    """One build under way."""

    source: Source
    output: Output
    options: Options
    journal: Journal
    progress: Progress
    say: Callable[[str], None]
    tables: Mapping[Path, Table]
    rows_kept: int = 0

    def __post_init__(self) -> None:
        self._file_stamp = self._stamp_of_file()

    def _stamp_of_file(self) -> str:
        """Stamp of a source that is one file; folders change while they are read, and their images have stamps."""
        return file_stamp(self.source.path) if self.source.path.is_file() else ""

    def _sample(self, plan: Plan, packer: Packer) -> Packed:
        """The first rows of some images, spread over all that are used."""
        used = np.flatnonzero(plan.num_crops)
        looks = [recall(self.journal, index) for index in used[:: -(-len(used) // _SAMPLE_IMAGES)].tolist()]
        parts = tuple(process.part_of(found, 0, 1) for found in looks)
        made = process.make(self.source, self.options, plan.resolution, packer, process.Parts(parts))
        process.forget()
        return made.packed

    def run(self, jobs: int, scheduler: str | None) -> Tally:
        """Do all of it."""
        if self.journal.replaced:
            self.say(f"an interrupted build of {self.output.path} was another one; this one begins anew")
        begun = time.monotonic()
        try:
            self.output.check_place()
            with hired(jobs, scheduler) as workers:
                self.source.prepare(workers, self.journal, self.progress)
                plan = make_plan(self.source, self.options, workers, self.journal, self.progress)
                self.output.check_space(len(plan.rows), plan.resolution, partial(self._sample, plan))
                return self._write(plan, workers)
        except BaseException:
            quick = not self.journal.continued and time.monotonic() - begun < _QUICK_SECONDS
            if quick and not self.journal.has_rows:
                self.journal.discard()  # it holds nothing that takes long to find out again
            raise

    def _write(self, plan: Plan, workers: Workers) -> Tally:
        output, journal = self.output, self.journal
        output.clear_leftover()
        with create(
            output.path,
            len(plan.rows),
            plan.resolution,
            shards=output.shards,
            encoding=output.encoding,
            keep=True,
            resume=journal.continued,
        ) as writer:
            saver = _Saver(writer, journal)
            try:
                work = Work(plan, journal, writer)
                self.rows_kept = work.rows_kept
                if work.rows_kept:
                    self.say(f"going on with an interrupted build: {work.rows_kept} of {len(plan.rows)} rows are there")
                self._make_rows(plan, workers, writer, work, saver)
                return self._publish(plan, writer, work)
            except BaseException as error:
                with contextlib.suppress(InputError, ValueError):  # the error that is on its way says more
                    saver.save()
                if not journal.has_rows:
                    writer.discard()
                elif isinstance(error, InputError):
                    raise to_be_continued(error) from None
                raise

    def _make_rows(self, plan: Plan, workers: Workers, writer: PyramidWriter, work: Work, saver: _Saver) -> None:
        """Compute what is missing, and write it."""
        make = partial(process.make, self.source, self.options, plan.resolution, writer.pack)
        with (
            early_writeback(partial_path(self.output.path)),
            self.progress(len(plan.rows), "writing rows", initial=work.rows_kept) as bar,
            contextlib.closing(workers.in_order(make, work.tasks(workers.size))) as results,
        ):
            meter = Meter(bar)
            for made in results:
                writer.write(work.rows_of_task(made.task), made.packed)
                meter.add(len(made.packed), num_bytes(made.packed))
                saver.written.extend(records(made))
                saver.save_if_due()
        if self._stamp_of_file() != self._file_stamp:
            writer.discard()  # nobody knows which rows are of which file
            raise process.changed(str(self.source.path), gone=not self.source.path.exists())
        process.forget()
        saver.save()

    def _publish(self, plan: Plan, writer: PyramidWriter, work: Work) -> Tally:
        """Publish the ledger and the tables, then the data set."""
        label_names = self.source.label_names
        names = [""] * len(plan.rows)
        labels = None if label_names is None else np.zeros(len(plan.rows), np.int64)
        path, tally = ledger.path_of(self.output.path), Tally()
        # Always the same names, so that a killed build leaves nothing for good.
        temporary = {file: partial_path(file) for file in (path, *self.tables)}
        try:
            with system_errors(path):
                digest = ledger.write(temporary[path], tally.watch(self._entries(plan, work, names, labels)))
            for file, write in self.tables.items():
                with system_errors(file):
                    write(temporary[file], ledger.read(temporary[path]))
            for file in temporary:
                with system_errors(file):
                    publish(temporary[file], file)
            self.journal.finish({"ledger": digest})
            writer.finish(
                names,
                labels,
                None if label_names is None else list(label_names),
                {**self.options.for_manifest(), **self.source.settings},
                _provenance(self.source, plan, digest),
            )
        except BaseException:
            for file in (*temporary, *temporary.values()):
                file.unlink(missing_ok=True)  # a ledger of nothing is worse than none
            raise
        return tally

    def _entries(self, plan: Plan, work: Work, names: list[str], labels: NDArray[np.int64] | None) -> Iterator[Entry]:
        """The ledger entry of every image, in source order; fills in the names and labels of the rows meanwhile."""
        crop = self.options.squares
        for index in range(len(plan.num_crops)):
            seen = recall(self.journal, index)
            if index in plan.skipped:
                facts = {"width": seen.width or None, "height": seen.height or None, **seen.facts}
                yield Entry(path=seen.name, label=seen.label, **facts, skipped=plan.skipped[index])
                continue
            facts = work.facts_of(index)
            rows = work.rows_of(index).tolist()
            boxes = crop.boxes(facts["width"], facts["height"], seen.name)
            for row, (left, top, _) in zip(rows, boxes, strict=True):
                names[row] = f"{seen.name}@{left},{top}" if crop.name == "tile" else seen.name
                if labels is not None and seen.label is not None:
                    labels[row] = seen.label
            yield Entry(path=seen.name, label=seen.label, **facts, rows=tuple(rows))


class _Saver:
    """Brings to disk what was written, and only then says so in the journal.

    Attributes
    ----------
    written : list of dict
        Records of what was written since the last time.
    """

    def __init__(self, writer: PyramidWriter, journal: Journal) -> None:
        self._writer, self._journal = writer, journal
        self.written: list[dict[str, Any]] = []
        self._due = time.monotonic() + SAVE_SECONDS

    def save_if_due(self) -> None:
        """Save if the last time is long enough ago: a slow disk is left alone for as long as it was kept busy."""
        begun = time.monotonic()
        if begun > self._due:
            self.save()
            self._due = time.monotonic() + max(SAVE_SECONDS, time.monotonic() - begun)

    def save(self) -> None:
        """Save everything."""
        self._writer.flush()
        self._journal.append(self.written)
        self._journal.sync()
        self.written = []


def _is_complete(journal: Journal, out: Path) -> bool:
    """Whether an interrupted build with the journal's key was killed after it had published the data set."""
    if journal.finished is None or partial_path(out).exists() or not is_pyramid(out):
        return False
    manifest: Manifest = open_pyramid(out).manifest
    return bool(manifest.provenance.get("ledger_sha256") == journal.finished["ledger"])


class _Sheet(Protocol):
    """A module that draws a picture of a data set, which lies beside it."""

    TITLE: str

    def path_of(self, data_set: Path) -> Path: ...

    def draw(self, data_set: Path, source: Source, options: Options) -> Image.Image | None: ...


def _publish_sheet(
    kind: _Sheet, out: Path, source: Source, options: Options, say: Callable[[str], None], *, wanted: bool
) -> Path | None:
    """Draw a picture. The data set is whole already, so a failure is no more than a remark."""
    path = kind.path_of(out)
    temporary = partial_path(path)  # always the same, so that a killed build leaves nothing for good
    try:
        sheet = kind.draw(out, source, options) if wanted else None
        if sheet is not None:
            sheet.save(temporary, format="PNG")
            publish(temporary, path)
            return path
        path.unlink(missing_ok=True)  # of the data set that was replaced
    except (InputError, OSError) as error:
        temporary.unlink(missing_ok=True)
        say(f"there is no picture of {kind.TITLE}: {error}")
    return None


def _key(source: Source, output: Output, options: Options) -> dict[str, Any]:
    """All that decides the bytes of a build; single images have their own stamps."""
    return {
        "versions": deciding_versions(),
        **source.identity(),
        "options": {**options.for_manifest(), "resolution": options.resolution, "max_pixels": options.max_pixels},
        "skip_bad": options.skip_bad,
        "output": [output.path.suffix.lower(), output.shards, output.encoding],
    }


def _provenance(source: Source, plan: Plan, ledger_digest: str) -> dict[str, Any]:
    """Where the data set came from; no time and no folder, so that equal builds are equal."""
    libraries = {**deciding_versions(), "h5py": importlib.metadata.version("h5py")}
    libraries.pop("growgan")
    return {
        "tool": f"growgan {__version__}",
        "libraries": dict(sorted(libraries.items())),
        "source": source.name,
        "source_images": len(plan.num_crops),
        "skipped": len(plan.skipped),
        "ledger_sha256": ledger_digest,
    }
