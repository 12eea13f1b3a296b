"""The story of a run: begin or resume, step, log, take snapshots, end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from datasets.errors import InputError
from datasets.formats import PyramidReader
from datasets.order import Order
from training import grid, provenance
from training.checkpoint import Checkpoint
from training.config import Config
from training.evaluation import SnapshotMetrics
from training.feed import Feed
from training.folder import RunFolder
from training.growth import Schedule, Stage
from training.journal import Journal
from training.plan import make_plan
from training.progress import TrainingBar
from training.sampler import Sampler
from training.settings import differences, from_yaml, to_mapping
from training.state import TrainingState
from training.step import update

# A resumed run may change these: they say how long it lasts and what it writes, not what it computes.
_FREE_ON_RESUME = ("growth.total_kimg", "snapshots.")


def train(
    config: Config, reader: PyramidReader, out: Path, device: torch.device, *, preset: str = "", command: str = ""
) -> bool:
    """Train until the schedule ends, going on from the last checkpoint in `out` if there is one.

    Parameters
    ----------
    config : Config
        Of the run; it must be that of the run in `out`, but for its length and its snapshots.
    reader : PyramidReader
        The data set; likewise.
    out : Path
        The run directory.
    device : torch.device
        Where to train.
    preset, command : str
        Where the options started from and what reproduces the run, for its records.

    Returns
    -------
    bool
        True if the run is complete, False if a signal stopped it (after a checkpoint was written).

    Raises
    ------
    InputError
        If configuration, data set and run directory do not fit together, or training diverges.
    """
    schedule = Schedule(config.growth, top_level(config, reader))
    plans = make_plan(config, schedule)
    with RunFolder(out) as folder:
        _check_resume(folder, config, reader)
        state = TrainingState(config, 1 << schedule.top_level, device)
        saved, faults = folder.last_checkpoint()
        if saved is None and faults:
            raise InputError(f"no checkpoint of {out} is whole: {'; '.join(faults)}; remove the folder to start again")
        if saved is not None:
            state.restore(saved.tensors, str(folder.checkpoints))
            state.images, state.seconds = saved.images, float(saved.facts["seconds"])
            state.phase = int(saved.facts["phase"])
        folder.rewind(state.images if saved is not None else -1)
        begun = {"preset": preset, "command": command}
        provenance.write_run_files(folder, config, reader, schedule, plans, begun, device)
        run = _Run(config, reader, schedule, state, folder)
        with (
            _stop_flag() as stop,
            TrainingBar(plans, state.images) as bar,
            Feed(reader, schedule, config.seed, config.optimizer.discriminator_steps, device) as feed,
        ):
            for fault in faults:
                bar.say(f"skipped a broken checkpoint: {fault}")
            if saved is not None:
                bar.say(f"going on from {saved.images} images shown")
            return run.go(feed, bar, stop, fresh=saved is None)


def top_level(config: Config, reader: PyramidReader) -> int:
    """Level at which the run ends: the data set's, or a coarser one if configured."""
    finest = reader.manifest.resolution
    wanted = config.data.resolution or finest
    levels = {1 << level: level for level in range(2, reader.manifest.top_level + 1)}
    if wanted not in levels:
        raise InputError(f"data.resolution {wanted} is not in {reader.path}; it has {', '.join(map(str, levels))}")
    return levels[wanted]


class _Run:
    """One session of a run."""

    def __init__(
        self,
        config: Config,
        reader: PyramidReader,
        schedule: Schedule,
        state: TrainingState,
        folder: RunFolder,
    ) -> None:
        self.config, self.reader, self.schedule, self.state, self.folder = config, reader, schedule, state, folder
        self.journal = Journal(folder, state.images)
        self.metrics = SnapshotMetrics(reader, 1 << schedule.top_level, config.snapshots.metric_images, config.seed)
        self._clock = time.perf_counter()

    def go(self, feed: Feed, bar: TrainingBar, stop: list[str], *, fresh: bool) -> bool:
        """Step to the end of the schedule, or to the next safe point after a stop signal."""
        state, snapshots = self.state, self.config.snapshots
        if fresh:
            self._save_reals()
            self._snapshot()
        while state.images < self.schedule.total_images and not stop:
            stage = self.schedule.stage(state.images)
            before = state.images
            self.journal.add(
                update(state, feed.batch(before), stage, self.config, self.schedule.top_level - stage.level)
            )
            bar.step(stage, state.images, state.images - before)
            finished = state.images >= self.schedule.total_images
            due = _crosses(before, state.images, snapshots.every_kimg) or finished
            if due or _crosses(before, state.images, snapshots.log_every_kimg):
                bar.losses(self.journal.write(stage, state.images, self._tick()))
            if due:
                self._snapshot()
                bar.resume_clock()
                self.journal.restart_clock()
        if stop:
            if not self.journal.empty:
                self.journal.write(self.schedule.stage(max(state.images - 1, 0)), state.images, self._tick())
            self._save()
            bar.say(f"stopped by {stop[0]} at {state.images} images shown; the same command goes on from here")
        self.journal.close()
        return state.images >= self.schedule.total_images

    def _snapshot(self) -> None:
        """Sample grid, measurements, then the checkpoint: a kill in between repeats all of them, to the same bytes."""
        sampler = self._sampler()
        count = self.config.snapshots.columns * self.config.snapshots.rows
        fakes = sampler.images(self.config.seed, np.arange(count))
        path = self.folder.samples / f"fakes-{self.state.images:09d}.png"
        grid.save_png(path, grid.tile(fakes, self.config.snapshots.columns))
        for result in self.metrics.measure(sampler):
            self.journal.write_metric(result, self.state.images, self._tick())
        self._save()

    def _sampler(self) -> Sampler:
        stage = self._reached()
        return Sampler(self.state.average, stage.level, stage.alpha, 1 << self.schedule.top_level)

    def _reached(self) -> Stage:
        """Stage at which the last step was made."""
        return self.schedule.stage(max(self.state.images - 1, 0))

    def _save(self) -> None:
        stage = self._reached()
        facts = {
            "config": to_mapping(self.config),
            "resolution": 1 << self.schedule.top_level,
            "level": stage.level,
            "alpha": stage.alpha,
            "phase": self.state.phase,
            "seconds": self._tick(),
            "data": provenance.describe_data(self.reader),
            "versions": provenance.versions(),
        }
        state = Checkpoint(self.state.images, facts, self.state.tensors())
        self.folder.save_checkpoint(state, self.config.snapshots.keep)

    def _save_reals(self) -> None:
        count = self.config.snapshots.columns * self.config.snapshots.rows
        level = self.reader.level(self.schedule.top_level)
        rows = Order(len(level), self.config.seed).rows(0, min(count, len(level)))
        picture = grid.tile(level[rows], self.config.snapshots.columns)
        grid.save_png(self.folder.samples / "reals.png", picture)

    def _tick(self) -> float:
        """Seconds spent so far, over all sessions."""
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now
        return self.state.seconds


def _crosses(before: int, after: int, every_kimg: float) -> bool:
    """True if a multiple of the interval lies in (before, after]: a function of the images shown alone."""
    every = every_kimg * 1000
    return int(after / every) > int(before / every)


def _check_resume(folder: RunFolder, config: Config, reader: PyramidReader) -> None:
    """Refuse to go on with a run that was begun with other options or other data."""
    if not folder.exists:
        return
    begun = from_yaml(folder.config_file.read_text(encoding="utf-8"), str(folder.config_file))
    changed = {key: pair for key, pair in differences(begun, config).items() if not key.startswith(_FREE_ON_RESUME)}
    if changed:
        listing = ", ".join(f"{key} was {old} and is {new}" for key, (old, new) in changed.items())
        raise InputError(
            f"{folder.path} holds a run with other options: {listing}; give the same options to go on, or another --out"
        )
    data = provenance.read_run_file(folder).get("data", {})
    digest = reader.manifest.content_digest
    if data.get("content_digest") not in (None, digest):
        raise InputError(
            f"{folder.path} was trained on {data.get('path')} (digest {data['content_digest'][:12]}), "
            f"not on {reader.path} ({digest[:12]}); give the same --data to go on, or another --out"
        )


@contextmanager
def _stop_flag() -> Iterator[list[str]]:
    """List that names the signal once Ctrl-C or SIGTERM has come; a second one interrupts at once."""
    received: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
