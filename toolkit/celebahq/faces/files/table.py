"""CSV with a header: a name and 5 or 68 points in every row.

Cells are apart by commas, semicolons or tabs. Columns, in any order, capitals or not:

- the name of the photograph: one of `NAME_COLUMNS`;
- five points: ``lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x
  rightmouth_y``, or with underscores as in ``left_eye_x`` and ``mouth_left_x``; left is left in the image;
- or 68 points: ``x0 y0`` to ``x67 y67``, or ``x_0 y_0``, or from ``x1 y1`` to ``x68 y68``;
- if you have them ``confidence``, ``width`` and ``height`` (of the photograph).

Several rows of one name are several faces. A row whose points are all empty says that the photograph shows no face.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.files import celeba5
from toolkit.celebahq.faces.landmark_file import Landmarks
from toolkit.celebahq.faces.points import from_68

NAME_COLUMNS = ("file", "file_name", "filename", "file_path", "image", "image_id", "image_path", "name", "path")
_SEPARATORS = (",", ";", "\t")
_PARTS = (
    ("lefteye", "left_eye", "eye_left"),
    ("righteye", "right_eye", "eye_right"),
    ("nose", "nose_tip"),
    ("leftmouth", "left_mouth", "mouth_left"),
    ("rightmouth", "right_mouth", "mouth_right"),
)


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True if the first line names the photograph and points among its columns."""
    try:
        line = head.decode("utf-8-sig", "ignore").splitlines()[0]
    except IndexError:
        return False
    header = _header(line)[0]
    return bool(set(header) & set(NAME_COLUMNS)) and _columns(header) is not None


def read(path: Path) -> Landmarks:
    """Read all rows.

    Raises
    ------
    InputError
        If a row has a cell too few or too many, or something else than a number; names line and column.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    header, separator = _header(text.split("\n", 1)[0])
    columns = _columns(header)
    if columns is None:
        raise InputError(f"{path}, line 1: no columns of 5 or 68 points; see docs/celebahq.md for their names")
    name_column = next(header.index(name) for name in NAME_COLUMNS if name in header)
    names: list[str] = []
    values: list[list[float]] = []
    confidences: list[float | None] = []
    sizes: list[tuple[int, int] | None] = []
    faceless: set[str] = set()
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        for cells in rows:
            if rows.line_num == 1 or not any(map(str.strip, cells)):
                continue
            where = f"{path}, line {rows.line_num}"
            if len(cells) != len(header):
                raise InputError(f"{where}: {len(cells)} cells, but the header names {len(header)}; mend the row")
            name = cells[name_column].strip()
            if not name:
                raise InputError(f"{where}, column {header[name_column]}: no name; mend the row")
            if not any(cells[column].strip() for column in columns):
                faceless.add(name)
                continue
            names.append(name)
            values.append([_number(cells, header, column, where) for column in columns])
            confidences.append(_optional(cells, header, "confidence", where))
            width, height = (_optional(cells, header, side, where) for side in ("width", "height"))
            sizes.append(None if width is None or height is None else (int(width), int(height)))
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}; save the table again") from None
    points: NDArray[np.float64] = np.array(values, np.float64).reshape(len(values), len(columns) // 2, 2)
    if points.shape[1:] == (68, 2):
        points = from_68(points)
    else:
        points = points.reshape(-1, 5, 2)
        celeba5.refuse_aligned(points, path)
    return Landmarks(names, points, confidences, sizes, frozenset(faceless - set(names)))


def _header(line: str) -> tuple[list[str], str]:
    """Names of the columns, and what separates them."""
    separator = max(_SEPARATORS, key=line.count)
    return [name.strip().strip('"').strip().lower() for name in line.split(separator)], separator


def _columns(header: list[str]) -> list[int] | None:
    """Places of x and y of every point, or None."""
    place = {name: number for number, name in enumerate(header)}
    five = [next((name for name in names if f"{name}_x" in place), None) for names in _PARTS]
    wanted = [f"{name}_{axis}" for name in five for axis in "xy"]
    if all(name in place for name in wanted):
        return [place[name] for name in wanted]
    for form, first in (("{}{}", 0), ("{}_{}", 0), ("{}{}", 1), ("{}_{}", 1)):
        wanted = [form.format(axis, number) for number in range(first, first + 68) for axis in "xy"]
        if all(name in place for name in wanted):
            return [place[name] for name in wanted]
    return None


def _optional(cells: list[str], header: list[str], column: str, where: str) -> float | None:
    if column not in header or not cells[header.index(column)].strip():
        return None
    return _number(cells, header, header.index(column), where)


def _number(cells: list[str], header: list[str], column: int, where: str) -> float:
    try:
        value = float(cells[column])
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{where}, column {header[column]}: {cells[column][:30]!r} is no number; mend the row")
    return value
