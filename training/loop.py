"""The story of a run: begin or resume, step, log, take snapshots, end."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch

from datasets.errors import InputError
from datasets.formats import PyramidReader
from datasets.levels import resolution_of
from datasets.order import Order
from training import compute, csv_log, grid, guards, provenance
from training.checkpoint import Checkpoint
from training.conditioning import Labels
from training.config import Config
from training.evaluation import SnapshotMetrics
from training.feed import Feed
from training.folder import RunFolder
from training.gradient_norms import GradientNorms
from training.growth import Schedule, Stage
from training.guards import Alarm
from training.journal import Journal
from training.live_report import LiveReport
from training.loggers import Loggers
from training.plan import make_plan
from training.progress import TrainingBar
from training.ranks import Ranks
from training.resuming import check_options, go_to_checkpoint, resume, top_level
from training.sampler import Sampler
from training.settings import to_mapping
from training.state import TrainingState
from training.step import prepare, update
from training.stopping import Stop, stop_signals


def train(
    config: Config,
    reader: PyramidReader,
    out: Path,
    device: torch.device,
    *,
    preset: str = "",
    command: str = "",
    ranks: Ranks | None = None,
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
    ranks : Ranks, optional
        The processes that train together, each of which calls this; by default this one is alone.

    Returns
    -------
    bool
        True if the run is complete, False if a signal stopped it (after a checkpoint was written).

    Raises
    ------
    InputError
        If configuration, data set and run directory do not fit together, or training diverges.
    """
    ranks = ranks or Ranks()
    schedule = Schedule(config.growth, top_level(config, reader))
    for segment in schedule.segments():
        where = f"{resolution_of(segment.level)}x{resolution_of(segment.level)}"
        ranks.check_batch(segment.batch, where, config.images_together)
    metrics = None
    if ranks.first:  # before anything is written: it refuses what cannot be measured
        metrics = SnapshotMetrics(reader, 1 << schedule.top_level, config.snapshots, config.seed, str(device))
    labels = Labels.of(config.conditioning, reader)
    plans = make_plan(config, schedule, labels)
    folder = RunFolder(out)
    with folder if ranks.first else contextlib.nullcontext():  # the first rank's lock is that of all
        if ranks.first:
            check_options(folder, config)
        compute.set_up(device, config.compute)
        state = TrainingState(config, 1 << schedule.top_level, device, labels)
        arithmetic = provenance.describe_arithmetic(config, device, ranks)
        saved, notes = resume(folder, state, reader, ranks, arithmetic)
        if ranks.first:
            provenance.write_run_files(
                folder, config, reader, schedule, plans, device, arithmetic, preset=preset, command=command
            )
        steps = config.optimizer.discriminator_steps
        with (
            stop_signals() as stop,
            TrainingBar(plans, state.images, visible=ranks.first) as bar,
            Feed(reader, schedule, config.seed, steps, device, labels, ranks) as feed,
        ):
            for note in [*notes, *(metrics.notes if metrics else [])]:
                bar.say(note)
            run = _Run(config, reader, schedule, state, folder, ranks, metrics, bar, resumed=saved is not None)
            with contextlib.closing(run):
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
        ranks: Ranks,
        metrics: SnapshotMetrics | None,
        bar: TrainingBar,
        *,
        resumed: bool,
    ) -> None:
        self.config, self.reader, self.schedule, self.state, self.folder = config, reader, schedule, state, folder
        self.ranks, self.resumed, self.metrics = ranks, resumed, metrics
        loggers = None
        if ranks.first:
            loggers = Loggers(folder.path, to_mapping(config), state.images if resumed else None, bar.say)
        norms = GradientNorms({f"grad_norm_{name[0]}": optimizer for name, optimizer in state.optimizers.items()})
        self.journal = Journal(folder, state.images, norms, loggers, ranks=ranks)
        self.report = LiveReport(folder.path, wanted=config.snapshots.report and ranks.first, say=bar.say)
        self.table = csv_log.LiveTable(folder.log_file, folder.path / "log.csv", wanted=ranks.first, say=bar.say)
        self._clock = time.perf_counter()
        self._warned_of: set[str] = set()

    def go(self, feed: Feed, bar: TrainingBar, stop: Stop, *, at_snapshot: bool) -> bool:
        """Step to the end of the schedule, or to the next safe point after a stop signal.

        `at_snapshot` says that the state stands where a snapshot is due, which may have been broken off.
        """
        state, snapshots = self.state, self.config.snapshots
        if not self.resumed:
            prepare(state, feed, self.schedule)
            self._save(snapshot=True)
        self.report.write("going", at_once=True)
        if at_snapshot:
            self._record(bar, stop)
        stopping = self.ranks.any(bool(stop))
        while state.images < self.schedule.total_images and not stopping:
            stage = self.schedule.stage(state.images)
            before = state.images
            self.journal.add(
                update(
                    state,
                    feed.batch(before),
                    stage,
                    self.config,
                    self.schedule.top_level - stage.level,
                    self.ranks,
                )
            )
            bar.step(stage, state.images, state.images - before)
            finished = state.images >= self.schedule.total_images
            due = _crosses(before, state.images, snapshots.every_kimg) or finished
            alarm, looked = None, due or _crosses(before, state.images, snapshots.log_every_kimg)
            if looked:
                means = self.journal.write(stage, state.images, self._tick(), state.caution)
                bar.losses(means)
                alarm = guards.look_at_window(self.config.guards, means)
            if due and alarm is None:  # weights may have been broken since the last loss that was looked at
                alarm = guards.look_at_state(self.config.guards, self.ranks.tell(state.not_finite()))
            if due and not (alarm and alarm.answer != "go_on"):
                self._save(snapshot=True)
                self._record(bar, stop)
                if alarm is None:
                    alarm = self._look_at_results()
                    self._warned_of -= {"collapse"} if alarm is None else set()
            if looked:
                self._answer(alarm, bar)
            stopping = self.ranks.any(bool(stop))
        if stopping:
            if not self.journal.empty:
                self.journal.write(self._reached(), state.images, self._tick(), state.caution)
                self._save(snapshot=False)
            who = stop.reason or "another rank"
            bar.say(f"stopped by {who} at {state.images} images shown; the same command goes on from here")
        return state.images >= self.schedule.total_images and not stopping

    def close(self) -> None:
        """End the session, however it went."""
        self.journal.close()
        self.table.write()
        self.report.write("stopped", at_once=True)

    def _record(self, bar: TrainingBar, stop: Stop) -> None:
        """Sample grid and measurements of a snapshot whose checkpoint is written, unless they are there already.

        After the checkpoint, so that a signal can break them off: they may take minutes at high resolutions, and the
        same command makes up for them. The grid comes last and says that the rest is whole.
        """
        if self.ranks.first:
            self._record_alone(stop)
            self.report.write("going")
        self.ranks.wait()
        bar.resume_clock()
        self.journal.restart_clock()

    def _record_alone(self, stop: Stop) -> None:
        images = self.state.images
        path = self.folder.samples / f"fakes-{images:09d}.png"
        if stop or path.exists():
            return
        with stop.at_once():
            sampler = self._sampler()
            if not images:
                self._save_reals()
            results = self.metrics.measure(sampler) if self.metrics else []
            seconds = self._tick()
            self.journal.write_snapshot(results, images, seconds)
            snapshots = self.config.snapshots
            numbers, classes = grid.snapshot_cells(snapshots.columns, snapshots.rows, sampler.num_classes)
            fakes = sampler.images(self.config.seed, numbers, classes)
            self.table.write()
            grid.save_png(path, grid.tile(fakes, self.config.snapshots.columns))
            self.journal.tell_of_snapshot(results, images, seconds, path)

    def _look_at_results(self) -> Alarm | None:
        results = self.folder.results() if self.ranks.first else []
        return self.ranks.tell(guards.look_at_results(self.config.guards, results))

    def _answer(self, alarm: Alarm | None, bar: TrainingBar) -> None:
        """Do what is configured about an alarm; a warning is given once, until all is well again."""
        if alarm is None:
            self._warned_of &= {"collapse"}  # which is looked at only with a snapshot
            return
        known = alarm.kind in self._warned_of
        self._warned_of.add(alarm.kind)
        config, state = self.config.guards, self.state
        found = f"{alarm.text} by {state.images} images shown"
        if alarm.answer == "go_on":
            if not known:
                bar.say(f"warning: {found}; going on, as guards.{alarm.kind} says (stop and roll_back would not)")
                self._note(alarm.text, "went on", state.images)
            return
        if alarm.answer == "stop" or state.roll_backs >= config.max_roll_backs:
            self._note(alarm.text, "stopped", state.images)
            tried, other = "", f"--set guards.{alarm.kind}=roll_back"
            if alarm.answer == "roll_back":
                tried, other = f" after {state.roll_backs} roll-backs", "a larger guards.max_roll_backs"
            raise InputError(
                f"{found}{tried}; the last good state is in {self.folder.checkpoints}; go on from there with {other}, "
                "or start again elsewhere with a lower growth.learning_rate"
            )
        self._roll_back(alarm, found, bar)

    def _roll_back(self, alarm: Alarm, found: str, bar: TrainingBar) -> None:
        """Go back to the last good checkpoint and on with lower learning rates."""
        state, seconds, at = self.state, self._tick(), self.state.images
        caution, roll_backs = state.caution * self.config.guards.rate_factor, state.roll_backs + 1
        saved = go_to_checkpoint(self.folder, state, self.ranks, until=alarm.good_until)
        if saved is None:
            raise InputError(f"{found}, and there is no checkpoint to go back to; keep more of them (snapshots.keep)")
        state.caution, state.roll_backs, state.seconds = caution, roll_backs, seconds
        if self.ranks.first:
            self.folder.rewind(state.images)
            self.table.write()
        self._save(snapshot=bool(saved.facts["snapshot"]))  # a kill must not forget the lower rates
        self.journal.restart(state.images)
        bar.rewind(state.images)
        done = f"back to {state.images} images shown, learning rates times {caution:g} from now on"
        bar.say(f"warning: {found}; {done}")
        self._note(alarm.text, done, at)

    def _note(self, found: str, done: str, images: int) -> None:
        """Keep what a guard found after `images` images shown, and what was done, in the run directory."""
        if not self.ranks.first:
            return
        event: dict[str, Any] = {"images": images, "seconds": self._tick(), "found": found, "done": done}
        if self.state.images != images:
            event["back_to"] = self.state.images
        self.folder.append(self.folder.events_file, event)
        self.report.write("going")

    @property
    def _cells(self) -> int:
        return self.config.snapshots.columns * self.config.snapshots.rows

    def _sampler(self) -> Sampler:
        stage = self._reached()
        counts = self.state.labels.counts
        return Sampler(self.state.average, stage.level, stage.alpha, 1 << self.schedule.top_level, class_counts=counts)

    def _reached(self) -> Stage:
        """Stage at which the last step was made."""
        return self.schedule.stage(max(self.state.images - 1, 0))

    def _save(self, *, snapshot: bool) -> None:
        if not self.ranks.first:
            return
        self.state.check_finite()
        stage = self._reached()
        facts = {
            "config": to_mapping(self.config),
            "resolution": 1 << self.schedule.top_level,
            "level": stage.level,
            "alpha": stage.alpha,
            "phase": self.state.phase,
            "parts": self.state.parts,
            "caution": self.state.caution,
            "roll_backs": self.state.roll_backs,
            "class_counts": self.state.labels.counts,
            "snapshot": snapshot,
            "seconds": self._tick(),
            "data": provenance.describe_data(self.reader),
            "versions": provenance.versions(),
            "arithmetic": provenance.describe_arithmetic(self.config, self.state.device, self.ranks),
        }
        state = Checkpoint(self.state.images, facts, self.state.tensors())
        self.folder.save_checkpoint(state, self.config.snapshots.keep, self._precious())

    def _precious(self) -> set[int]:
        """Checkpoints that are kept beyond the newest: the best, and the last one of every level that was left."""
        snapshots, precious = self.config.snapshots, set()
        if snapshots.keep_best and (best := guards.best_of(self.folder.results())):
            precious.add(best[0])
        if snapshots.keep_levels:
            there = self.folder.checkpoint_images()
            ends = [s.end for s in self.schedule.segments() if s.end < self.state.images]
            precious |= {max((images for images in there if images <= end), default=0) for end in ends}
        return precious

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
