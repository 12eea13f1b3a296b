"""JSON of 68 or 5 points per face: names with faces, or a list of records.

``{"a.jpg": face}``
    One face. A face is a list of 68 or 5 points ``[x, y]`` (or ``{"x": ..., "y": ...}``, or all numbers in one flat
    list), or a mapping of named parts: see `toolkit.celebahq.faces.points.five_points`.
``{"a.jpg": [face, face], "b.jpg": []}``
    Several faces, or none (``null`` says none too).
``{"a.jpg": {"landmarks": face, "confidence": 0.9, "width": 640, "height": 480}}``
    A record; also a list of them. Instead of ``landmarks`` one of `FACE_KEYS` will do.
``[{"file": "a.jpg", "landmarks": face}, ...]``
    The same in a list or in JSON lines; the name is under one of `NAME_KEYS`. Several faces of a photograph are several
    records, or one with a list of faces. The list may be a member of an object, as in ``{"images": [...]}``.

68 points are dlib's, which FFHQ used, and counted from 0 in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.json_members import members
from toolkit.celebahq.faces.landmark_file import Landmarks
from toolkit.celebahq.faces.points import five_points, is_face

NAME_KEYS = ("file", "file_name", "filename", "file_path", "image", "image_path", "img_path", "name", "path")
FACE_KEYS = ("landmarks", "face_landmarks", "landmarks_68", "landmarks68", "points", "keypoints", "kps", "faces")
_SCORES = ("confidence", "score", "det_score")
_OTHERS = (b'"in_the_wild"', b'"groups"', b'"connectivity"')  # of FFHQ's and menpo's files


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True for an object or array of JSON that is not of a known kind of its own."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    inside = text[1:].lstrip()[:1]
    begins = (text[:1] == b"{" and inside == b'"') or (text[:1] == b"[" and inside == b"{")
    return begins and not any(key in head for key in _OTHERS)


def read(path: Path) -> Landmarks:
    """Read all faces.

    Raises
    ------
    InputError
        If a photograph's entry is not of the forms above; names it.
    """
    names: list[str] = []
    points: list[NDArray[np.float64]] = []
    confidences: list[float | None] = []
    sizes: list[tuple[int, int] | None] = []
    faceless: set[str] = set()
    for key, value in _entries(path):
        name = _name(key, value, path)
        where = f"{path}, {name!r}"
        before = len(names)
        for face, record in _faces(value, where):
            names.append(name)
            points.append(five_points(face, where))
            confidences.append(_confidence(record, where))
            sizes.append(_size(record, where))
        if len(names) == before:
            faceless.add(name)
    return Landmarks(names, np.array(points).reshape(-1, 5, 2), confidences, sizes, frozenset(faceless - set(names)))


def _entries(path: Path) -> Iterator[tuple[str | int, Any]]:
    """Members of the file; a list of records inside of an object, as in ``{"images": [...]}``, counts as such."""
    for key, value in members(path):
        if isinstance(value, list) and value and all(_own_name(record) is not None for record in value):
            yield from enumerate(value)
        else:
            yield key, value


def _name(key: str | int, value: Any, path: Path) -> str:
    """Name of the photograph: in the record, or else the key."""
    name = _own_name(value)
    if name is not None:
        return name
    if isinstance(key, int):
        raise InputError(
            f"{path}, record {key}: no name of a photograph; give it as {NAME_KEYS[0]!r} (or "
            f"{', '.join(NAME_KEYS[1:])})"
        )
    return key


def _own_name(record: Any) -> str | None:
    if not isinstance(record, dict):
        return None
    return next((record[key] for key in NAME_KEYS if isinstance(record.get(key), str)), None)


def _faces(value: Any, where: str, record: dict[str, Any] | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each face and the record that it stands in."""
    if value is None or value == []:
        return
    if is_face(value):
        yield value, record or {}
        return
    if isinstance(value, dict):
        inner = [value[key] for key in FACE_KEYS if key in value]
        if inner:
            yield from _faces(inner[0], where, {**(record or {}), **value})
            return
    elif isinstance(value, list):
        for element in value:
            yield from _faces(element, where, record)
        return
    raise InputError(
        f"{where}: no landmarks; give 68 or 5 points (x, y), or a record with {FACE_KEYS[0]!r} (or "
        f"{', '.join(FACE_KEYS[1:])})"
    )


def _confidence(record: dict[str, Any], where: str) -> float | None:
    value = next((record[key] for key in _SCORES if record.get(key) is not None), None)
    if value is None:
        return None
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(f"{where}: the confidence {str(value)[:30]!r} is no number; mend it or leave it out")
    return float(value)


def _size(record: dict[str, Any], where: str) -> tuple[int, int] | None:
    size = record.get("width"), record.get("height")
    if size == (None, None):
        return None
    width, height = size
    if not isinstance(width, int) or not isinstance(height, int):
        raise InputError(f"{where}: width and height of the photograph are not whole numbers; mend or leave out both")
    return width, height
