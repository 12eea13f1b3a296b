"""What a run directory says, read and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datasets.errors import InputError
from metrics.report.events import Event, read_events
from metrics.report.fields import (
    Row,
    check_level,
    check_number,
    check_result,
    check_tick,
    latest_session,
    read_lines,
    read_object,
    read_text,
    whole_number,
)
from metrics.report.standing import Standing


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """One level of the growing schedule, in images shown: fades in from `start` to `fade_end`, lasts until `end`."""

    level: int
    start: int
    fade_end: int
    end: int
    batch: int
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Layout of the sample pictures: `columns` x `rows` cells of `cell` x `cell` pixels, without gaps."""

    columns: int
    rows: int
    cell: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a report shows of a run directory.

    Attributes
    ----------
    path : Path
        The run directory.
    info : mapping
        run.json as it stands.
    total_images : int or None
        Images shown when the run ends, if run.json says so.
    plan : tuple of LevelPlan
        The growing schedule.
    grid : Grid or None
        Layout of the sample pictures, if run.json says so.
    config_text : str or None
        config.yaml as it stands.
    config : mapping
        The same as nested options; empty if it is not YAML.
    ticks : list of dict
        Lines of log.jsonl in the order of images shown; a number that was not finite is None.
    evaluations : list of dict
        Lines of metrics.jsonl, likewise, one metric after another.
    events : list of Event
        What guards found and did, in the order of time.
    reals : Path or None
        Grid of real images.
    snapshots, checkpoints : list of (int, Path)
        Images shown and file of every grid of samples and of every checkpoint, in order.
    logged_at : float or None
        When the log was last written, in seconds since the epoch.
    standing : str
        Whether a trainer is at work.
    """

    path: Path
    info: Mapping[str, Any]
    total_images: int | None
    plan: tuple[LevelPlan, ...]
    grid: Grid | None
    config_text: str | None
    config: Mapping[str, Any]
    ticks: list[Row]
    evaluations: list[Row]
    events: list[Event]
    reals: Path | None
    snapshots: list[tuple[int, Path]]
    checkpoints: list[tuple[int, Path]]
    logged_at: float | None
    standing: Standing = "unknown"

    @property
    def images_shown(self) -> int:
        """Images shown so far, by the log and the evaluations."""
        return max((int(row["images"]) for row in (*self.ticks, *self.evaluations)), default=0)

    @property
    def finished(self) -> bool:
        """Whether every planned image has been shown."""
        return self.total_images is not None and self.images_shown >= self.total_images

    @property
    def going(self) -> bool:
        """Whether a trainer is at work on images that are left."""
        return self.standing == "going" and not self.finished

    def option(self, key: str) -> Any:
        """Value of a dotted option of the run; None if its configuration does not say."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def results(self, metric: str) -> list[Row]:
        """Evaluations of one metric, in the order of images shown, those without a value left out."""
        return [row for row in self.evaluations if row["metric"] == metric and row["value"] is not None]

    def stage(self, images: int) -> tuple[int, float] | None:
        """Level and alpha (share of the new level, 0..1) at which the last of `images` images was shown."""
        for row in self.ticks:
            if row["images"] == images and row.get("level") is not None:
                return int(row["level"]), 1.0 if row.get("alpha") is None else float(row["alpha"])
        for plan in self.plan:
            # A level's last image closes it: a snapshot taken at `end` shows this level, not the next one at alpha 0.
            if plan.start < images <= plan.end or (images == 0 and plan is self.plan[0]):
                fade = plan.fade_end - plan.start
                return plan.level, min(1.0, (images - plan.start) / fade) if fade > 0 else 1.0
        return None


def check_run_directory(path: Path) -> Path:
    """Check that `path` is the directory of a run.

    Raises
    ------
    InputError
        If it does not exist, is not a folder or has no run.json.
    """
    advice = "name the folder that was given to training as --out"
    if not path.exists():
        raise InputError(f"the run directory {path} does not exist; {advice}")
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a run directory; {advice}")
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not a run directory: it holds no run.json; {advice}")
    return path


def read_run(path: Path, standing: Standing = "unknown") -> Run:
    """Read a run directory.

    Parameters
    ----------
    path : Path
        The folder.
    standing : str
        Whether a trainer is at work in it.

    Raises
    ------
    InputError
        If a file is damaged; the message names the file, the line or field, and what was expected.
    """
    where, log, measured = path / "run.json", path / "log.jsonl", path / "metrics.jsonl"
    info = read_object(where)
    ticks, results = read_lines(log), read_lines(measured)
    for row in ticks:
        check_tick(row, log)
    for row in results:
        check_result(row, measured)
    by_metric = {name: [row for row in results if row["metric"] == name] for name in [row["metric"] for row in results]}
    reals, config = path / "samples" / "reals.png", path / "config.yaml"
    config_text = read_text(config) if config.is_file() else None
    return Run(
        path=path,
        info=info,
        total_images=None if info.get("total_images") is None else whole_number(info, "total_images", where),
        plan=_plan(info, where),
        grid=_grid(info, where),
        config_text=config_text,
        config=_options(config_text),
        ticks=latest_session(ticks),
        evaluations=[row for rows in by_metric.values() for row in latest_session(rows)],
        events=read_events(path / "events.jsonl"),
        reals=reals if reals.is_file() else None,
        snapshots=_numbered(path / "samples", r"fakes-(\d+)\.png"),
        checkpoints=_numbered(path / "checkpoints", r"checkpoint-(\d+)\.safetensors"),
        logged_at=log.stat().st_mtime if log.is_file() else None,
        standing=standing,
    )


def _options(text: str | None) -> Mapping[str, Any]:
    try:
        options = yaml.safe_load(text or "")
    except yaml.YAMLError:  # the page shows the text, whatever it is
        return {}
    return options if isinstance(options, dict) else {}


def _plan(info: Mapping[str, Any], where: Path) -> tuple[LevelPlan, ...]:
    levels = info.get("levels") or []
    if not isinstance(levels, list) or not all(isinstance(entry, dict) for entry in levels):
        raise InputError(f"{where}: levels is not a list of objects; restore the file")
    plan = []
    for k, entry in enumerate(levels):
        here = f"{where}: levels[{k}]"
        check_number(entry.get("learning_rate"), "learning_rate", here)
        numbers = {name: whole_number(entry, name, here) for name in ("level", "start", "fade_end", "end", "batch")}
        check_level(numbers["level"], here)
        plan.append(LevelPlan(**numbers, learning_rate=entry.get("learning_rate")))
    return tuple(plan)


def _grid(info: Mapping[str, Any], where: Path) -> Grid | None:
    grid = info.get("grid")
    if grid is None:
        return None
    if not isinstance(grid, dict):
        raise InputError(f"{where}: grid is {grid!r}, not an object with columns, rows and cell; restore the file")
    sizes = {field: whole_number(grid, field, f"{where}: grid") for field in ("columns", "rows", "cell")}
    if 0 in sizes.values():
        raise InputError(f"{where}: grid is {sizes}, and none of these may be 0; restore the file")
    return Grid(**sizes)


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """Files of `folder` whose whole name matches, with the number in the name, in the order of that number."""
    if not folder.is_dir():
        return []
    matches = ((re.fullmatch(pattern, entry.name), entry) for entry in folder.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)
