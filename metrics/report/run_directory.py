"""Reading a run directory: what the trainer wrote, checked, and free of what a killed session left behind.

A run may have been killed in the middle of a line, gone on from an older checkpoint, or be going on right now. So a
last line that is not whole is ignored, and where images shown steps back, what the later session wrote stands.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL

Row = dict[str, Any]
_MAX_TEXT_BYTES = 64 << 20  # far above any run's log; refuses to swallow a file that is something else


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """One level of the growing schedule, in images shown: fades in from `start` to `fade_end`, lasts until `end`."""

    level: int
    start: int
    fade_end: int
    end: int
    batch: int


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
    info : mapping
        run.json as it stands.
    total_images : int or None
        Images shown when the run ends, if run.json says so.
    ticks : list of dict
        Lines of log.jsonl in the order of images shown; a number that was not finite is None.
    evaluations : list of dict
        Lines of metrics.jsonl, likewise.
    snapshots : list of (int, Path)
        Images shown and file of every fakes picture, in order.
    checkpoints : list of (int, Path)
        Images shown and file of every checkpoint, in order.
    logged_at : float or None
        When the log was last written, in seconds since the epoch.
    """

    path: Path
    info: Mapping[str, Any]
    total_images: int | None
    plan: tuple[LevelPlan, ...]
    grid: Grid | None
    config_text: str | None
    ticks: list[Row]
    evaluations: list[Row]
    reals: Path | None
    snapshots: list[tuple[int, Path]]
    checkpoints: list[tuple[int, Path]]
    logged_at: float | None

    @property
    def images_shown(self) -> int:
        """Images shown so far, by the log and the evaluations."""
        return max((int(row["images"]) for row in (*self.ticks, *self.evaluations)), default=0)

    @property
    def finished(self) -> bool:
        """Whether every planned image has been shown."""
        return self.total_images is not None and self.images_shown >= self.total_images

    def results(self, metric: str) -> list[Row]:
        """Evaluations of one metric, in the order of images shown, those without a value left out."""
        return [row for row in self.evaluations if row["metric"] == metric and row["value"] is not None]

    def stage(self, images: int) -> tuple[int, float] | None:
        """Level and alpha (share of the new level, 0..1) at which the images up to number `images` were shown."""
        for row in self.ticks:
            if row["images"] == images and row.get("level") is not None:
                return int(row["level"]), 1.0 if row.get("alpha") is None else row["alpha"]
        for level in self.plan:
            # A level's last image closes it: a snapshot taken at `end` shows this level, not the next one at alpha 0.
            if level.start < images <= level.end or (images == 0 and level is self.plan[0]):
                fade = level.fade_end - level.start
                return level.level, min(1.0, (images - level.start) / fade) if fade > 0 else 1.0
        return None


def check_run_directory(path: Path) -> Path:
    """Check that `path` is the directory of a run.

    Raises
    ------
    InputError
        If it does not exist, is not a folder or has no run.json.
    """
    if not path.exists():
        raise InputError(f"the run directory {path} does not exist; name the folder that was given to training as --out")
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a run directory; name the folder that was given to training as --out")
    if not (path / "run.json").is_file():
        raise InputError(f"{path} is not a run directory: it holds no run.json; name the folder given to training as --out")
    return path


def read_run(path: Path) -> Run:
    """Read a run directory.

    Raises
    ------
    InputError
        If a file is damaged; the message names the file, the line or field, and what was expected.
    """
    where = path / "run.json"
    try:
        info = json.loads(_text(where))
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error}); restore the file or train into a new folder") from None
    if not isinstance(info, dict):
        raise InputError(f"{where}: holds a {type(info).__name__}, not an object; restore the file")
    total = info.get("total_images")
    log, config = path / "log.jsonl", path / "config.yaml"
    evaluations = read_lines(path / "metrics.jsonl")
    for row in evaluations:
        if not isinstance(row.get("metric"), str):
            raise InputError(f"{path / 'metrics.jsonl'}: the result at {row['images']} images names no metric; remove the line")
        _check_result(row, path / "metrics.jsonl")
    return Run(
        path=path,
        info=info,
        total_images=None if total is None else _whole(info, "total_images", where),
        plan=_plan(info, where),
        grid=_grid(info, where),
        config_text=_text(config) if config.is_file() else None,
        ticks=latest_session(_numbers_only(read_lines(log), log)),
        evaluations=[row for name in _names(evaluations) for row in latest_session([r for r in evaluations if r["metric"] == name])],
        reals=path / "samples" / "reals.png" if (path / "samples" / "reals.png").is_file() else None,
        snapshots=_numbered(path / "samples", r"fakes-(\d+)\.png"),
        checkpoints=_numbered(path / "checkpoints", r"checkpoint-(\d+)\.safetensors"),
        logged_at=log.stat().st_mtime if log.is_file() else None,
    )


def read_lines(path: Path) -> list[Row]:
    """Objects of a JSON Lines file, each with a whole number ``images``; an absent file has none.

    Numbers that are not finite (written as null, NaN or Infinity) become None. A last line without its line end that
    is not whole is what a kill leaves of an append, and is ignored.

    Raises
    ------
    InputError
        If any other line is not a JSON object with ``images``; the message names file and line.
    """
    if not path.is_file():
        return []
    *lines, tail = _bytes(path).split(b"\n")
    rows = []
    for number, line in enumerate([*lines, tail], start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line, parse_constant=lambda _: None)
        except ValueError as error:  # also bytes that are not UTF-8
            if number > len(lines):
                break
            raise InputError(f"{where}: not JSON ({error}); restore or remove this line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: holds a {type(row).__name__}, not an object; restore or remove this line")
        _whole(row, "images", where)
        rows.append(_finite(row))
    return rows


def latest_session(rows: list[Row]) -> list[Row]:
    """Drop what a killed session wrote beyond the checkpoint from which the next session went on.

    Where ``images`` does not rise, the later line stands and earlier ones at or beyond it go.
    """
    kept: list[Row] = []
    for row in rows:
        while kept and kept[-1]["images"] >= row["images"]:
            kept.pop()
        kept.append(row)
    return kept


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers_only(rows: list[Row], path: Path) -> list[Row]:
    for row in rows:
        for key, value in row.items():
            if not _is_number_or_none(value):
                raise InputError(f"{path}: {key} at {row['images']} images is {value!r}, not a number; correct the line")
        if row.get("level") is not None:
            _check_level(row["level"], f"{path}, {row['images']} images")
    return rows


def _check_result(row: Row, path: Path) -> None:
    """Check the fields of a metric's result that a report computes with."""
    where = f"{path}: {row['metric']} at {row['images']} images"
    floor = row.get("floor") or {}
    if not isinstance(floor, dict):
        raise InputError(f"{where}: floor is {floor!r}, not an object or null; correct the line")
    row.setdefault("value", None)
    for name, number in [("value", row["value"]), ("real_value", row.get("real_value")), ("floor.value", floor.get("value"))]:
        if not _is_number_or_none(number):
            raise InputError(f"{where}: {name} is {number!r}, not a number; correct the line")
    for name, levels in [("levels", row.get("levels")), ("floor.levels", floor.get("levels"))]:
        known = levels is None or (isinstance(levels, dict) and all(key.isdecimal() for key in levels))
        if not known or not all(_is_number_or_none(number) for number in (levels or {}).values()):
            raise InputError(f"{where}: {name} is {levels!r}, not numbers by resolution; correct the line")


def _is_number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _names(evaluations: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["metric"] for row in evaluations))


def _plan(info: Mapping[str, Any], where: Path) -> tuple[LevelPlan, ...]:
    levels = info.get("levels") or []
    if not isinstance(levels, list) or not all(isinstance(entry, dict) for entry in levels):
        raise InputError(f"{where}: levels is not a list of objects; restore the file")
    fields = ("level", "start", "fade_end", "end", "batch")
    plan = tuple(
        LevelPlan(**{field: _whole(entry, field, f"{where}: levels[{k}]") for field in fields}) for k, entry in enumerate(levels)
    )
    for entry in plan:
        _check_level(entry.level, where)
    return plan


def _check_level(level: float, where: object) -> None:
    if not (MIN_LEVEL <= level <= MAX_LEVEL and level == int(level)):
        raise InputError(f"{where}: level is {level}; levels are whole numbers from {MIN_LEVEL} to {MAX_LEVEL}; correct the file")


def _grid(info: Mapping[str, Any], where: Path) -> Grid | None:
    grid = info.get("grid")
    if grid is None:
        return None
    if not isinstance(grid, dict):
        raise InputError(f"{where}: grid is {grid!r}, not an object with columns, rows and cell; restore the file")
    sizes = {field: _whole(grid, field, f"{where}: grid") for field in ("columns", "rows", "cell")}
    if 0 in sizes.values():
        raise InputError(f"{where}: grid {sizes} has a side of 0; all must be at least 1; restore the file")
    return Grid(**sizes)


def _whole(mapping: Mapping[str, Any], field: str, where: object) -> int:
    value = mapping.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{where}: {field} is {value!r}, not a whole number from 0 up; restore or correct the file")
    return value


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """Files of `folder` whose whole name matches, with the number in the name, in the order of that number."""
    if not folder.is_dir():
        return []
    matches = ((re.fullmatch(pattern, entry.name), entry) for entry in folder.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def _bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MAX_TEXT_BYTES:
        raise InputError(f"{path}: {size:,} bytes; a report reads at most {_MAX_TEXT_BYTES:,}; is this the file of a run?")
    return path.read_bytes()


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); restore the file") from None
