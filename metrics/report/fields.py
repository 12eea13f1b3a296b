"""Checked reading of the JSON files of a run: one clear line for a damaged file, never a wrong curve.

A run may have been killed in the middle of a line, gone on from an older checkpoint, or be going on right now. So a
last line that is not whole is ignored, and where images shown steps back, what the later session wrote stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL

Row = dict[str, Any]
_MAX_TEXT_BYTES = 64 << 20  # far above any run's log; refuses to swallow a file that is something else


def read_object(path: Path) -> Row:
    """The JSON object a file holds.

    Raises
    ------
    InputError
        If it is not UTF-8 text with one JSON object.
    """
    try:
        value = json.loads(read_text(path), parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); restore the file or train into a new folder") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, not an object; restore the file")
    return value


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
    lines = _read_bytes(path).split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line, parse_constant=lambda _: None)
        except ValueError as error:  # also bytes that are not UTF-8
            if number == len(lines):
                break
            raise InputError(f"{where}: not JSON ({error}); restore or remove this line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: holds a {type(row).__name__}, not an object; restore or remove this line")
        whole_number(row, "images", where)
        rows.append({key: _finite(value) for key, value in row.items()})
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


def read_text(path: Path) -> str:
    """A file's UTF-8 text."""
    try:
        return _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); restore the file") from None


def whole_number(mapping: Mapping[str, Any], field: str, where: object) -> int:
    """A field that must hold a whole number from 0 up."""
    value = mapping.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{where}: {field} is {value!r}, not a whole number from 0 up; restore or correct the file")
    return value


def check_number(value: Any, field: str, where: object) -> None:
    """Refuse what is neither a number nor null."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"{where}: {field} is {value!r}, not a number or null; correct the file")


def check_level(level: float, where: object) -> None:
    """Refuse what is not log2 of a resolution that a pyramid can have."""
    if not (MIN_LEVEL <= level <= MAX_LEVEL and level == int(level)):
        allowed = f"whole numbers from {MIN_LEVEL} to {MAX_LEVEL}"
        raise InputError(f"{where}: level is {level}; levels are {allowed}; correct the file")


def check_tick(row: Row, path: Path) -> None:
    """Check a line of the training log: every value is a number or null."""
    where = f"{path}, {row['images']} images"
    for field, value in row.items():
        check_number(value, field, where)
    if row.get("level") is not None:
        check_level(row["level"], where)


def check_result(row: Row, path: Path) -> None:
    """Check the fields of a metric's result that a report computes with, and put null where they are absent."""
    where = f"{path}, {row['images']} images"
    if not isinstance(row.get("metric"), str):
        raise InputError(f"{where}: metric is {row.get('metric')!r}, not a name; remove the line")
    where = f"{where}, {row['metric']}"
    for field in ("floor", "levels", "real", "reference", "warnings"):
        kind = list if field == "warnings" else dict
        if row.setdefault(field, None) is not None and not isinstance(row[field], kind):
            expected = "a list" if kind is list else "an object"
            raise InputError(f"{where}: {field} is {row[field]!r}, not {expected} or null; correct the file")
    floor, reference = row["floor"] or {}, row["reference"] or {}
    check_number(row.setdefault("value", None), "value", where)
    check_number(row.get("standard_error"), "standard_error", where)
    check_number(floor.get("value"), "floor.value", where)
    check_number(reference.get("value"), "reference.value", where)
    check_number(reference.get("standard_error"), "reference.standard_error", where)
    for name, levels in (("levels", row["levels"]), ("floor.levels", floor.get("levels"))):
        for side, number in (levels or {}).items():
            if not side.isdecimal():
                raise InputError(f"{where}: {name} holds {side!r}, not a resolution; correct the file")
            check_number(number, f"{name}.{side}", where)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MAX_TEXT_BYTES:
        raise InputError(f"{path}: {size:,} bytes, more than a report reads ({_MAX_TEXT_BYTES:,}); is it a run's file?")
    return path.read_bytes()
