"""The story of a run: begin or resume, step, log, take snapshots, end."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

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
from training.resuming import check_options, resume, top_level
from training.sampler import Sampler
from training.settings import to_mapping
from training.state import TrainingState
from training.step import update
from training.stopping import Stop, stop_signals


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
        check_options(folder, config)
        state = TrainingState(config, 1 << schedule.top_level, device)
        saved, notes = resume(folder, state, reader)
        provenance.write_run_files(folder, config, reader, schedule, plans, device, preset=preset, command=command)
        run = _Run(config, reader, schedule, state, folder, resumed=saved is not None)
        with (
            stop_signals() as stop,
            TrainingBar(plans, state.images) as bar,
            Feed(reader, schedule, config.seed, config.optimizer.discriminator_steps, device) as feed,
        ):
            for note in [*notes, *run.metrics.notes]:
                bar.say(note)
            return run.go(feed, bar, stop, at_snapshot=saved is None or saved.facts["snapshot"])


class _Run:
    """One session of a run."""

    def __init__(
        self,
        config: Config,
        reader: PyramidReader,
        schedule: Schedule,
        state: TrainingState,
        folder: RunFolder,
        *,
        resumed: bool,
    ) -> None:
        self.config, self.reader, self.schedule, self.state, self.folder = config, reader, schedule, state, folder
        self.resumed = resumed
        self.journal = Journal(folder, state.images, resumed=resumed)
        self.metrics = SnapshotMetrics(reader, 1 << schedule.top_level, config.snapshots.metric_images, config.seed)
        self._clock = time.perf_counter()

    def go(self, feed: Feed, bar: TrainingBar, stop: Stop, *, at_snapshot: bool) -> bool:
        """Step to the end of the schedule, or to the next safe point after a stop signal.

        `at_snapshot` says that the state stands where a snapshot is due, which may have been broken off.
        """
        state, snapshots = self.state, self.config.snapshots
        if not self.resumed:
            self._save(snapshot=True)
        if at_snapshot:
            self._record(bar, stop)
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
                self._save(snapshot=True)
                self._record(bar, stop)
        if stop:
            if not self.journal.empty:
                self.journal.write(self._reached(), state.images, self._tick())
                self._save(snapshot=False)
            bar.say(f"stopped by {stop.reason} at {state.images} images shown; the same command goes on from here")
        self.journal.close()
        return state.images >= self.schedule.total_images and not stop

    def _record(self, bar: TrainingBar, stop: Stop) -> None:
        """Sample grid and measurements of a snapshot whose checkpoint is written, unless they are there already.

        After the checkpoint, so that a signal can break them off: they may take minutes at high resolutions, and the
        same command makes up for them. The grid comes last and says that the rest is whole.
        """
        images = self.state.images
        path = self.folder.samples / f"fakes-{images:09d}.png"
        if stop or path.exists():
            return
        with stop.at_once():
            sampler = self._sampler()
            if not images:
                self._save_reals()
            results = self.metrics.measure(sampler)
            self.folder.trim(self.folder.metrics_file, images - 1)  # what a kill left of an earlier attempt
            for result in results:
                self.journal.write_metric(result, images, self._tick())
            fakes = sampler.images(self.config.seed, np.arange(self._cells))
            grid.save_png(path, grid.tile(fakes, self.config.snapshots.columns))
        bar.resume_clock()
        self.journal.restart_clock()

    @property
    def _cells(self) -> int:
        return self.config.snapshots.columns * self.config.snapshots.rows

    def _sampler(self) -> Sampler:
        stage = self._reached()
        return Sampler(self.state.average, stage.level, stage.alpha, 1 << self.schedule.top_level)

    def _reached(self) -> Stage:
        """Stage at which the last step was made."""
        return self.schedule.stage(max(self.state.images - 1, 0))

    def _save(self, *, snapshot: bool) -> None:
        self.state.check_finite()
        stage = self._reached()
        facts = {
            "config": to_mapping(self.config),
            "resolution": 1 << self.schedule.top_level,
            "level": stage.level,
            "alpha": stage.alpha,
            "phase": self.state.phase,
            "snapshot": snapshot,
            "seconds": self._tick(),
            "data": provenance.describe_data(self.reader),
            "versions": provenance.versions(),
        }
        state = Checkpoint(self.state.images, facts, self.state.tensors())
        self.folder.save_checkpoint(state, self.config.snapshots.keep)

    def _save_reals(self) -> None:
        level = self.reader.level(self.schedule.top_level)
        rows = Order(len(level), self.config.seed).rows(0, min(self._cells, len(level)))
        picture = grid.tile(level.gather(rows), self.config.snapshots.columns)
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
