"""Menpo's .ljson: 68 points of one photograph of the same name.

``a.ljson`` belongs to ``a.jpg``. Every group of 68 or 5 points is a face; others, such as pupils, are left out. Menpo
writes (y, x).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from datasets.errors import InputError
from toolkit.celebahq.faces.landmark_file import Landmarks
from toolkit.celebahq.faces.points import five_points

_VERSION_1, _VERSION_2 = b'"connectivity"', b'"groups"'


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True for a JSON object with menpo's groups of points."""
    return head.lstrip()[:1] == b"{" and b'"in_the_wild"' not in head and (_VERSION_2 in head or _VERSION_1 in head)


def read(path: Path) -> Landmarks:
    """Read every group of 68 or 5 points.

    Raises
    ------
    InputError
        If the file is damaged, no group has as many points, or one is missing.
    """
    try:
        document = json.loads(path.read_text("utf-8-sig"))
        groups = document.get("groups", {"": document})  # version 1 has one group alone
        groups = {name: group["landmarks"]["points"] for name, group in groups.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged, or no .ljson of menpo; get it or write it again") from None
    wanted = {name: points for name, points in groups.items() if isinstance(points, list) and len(points) in (5, 68)}
    if not wanted:
        raise InputError(f"{path} has no group of 68 or 5 points, but only {', '.join(map(repr, groups))}; add one")
    faces = [five_points(points, f"{path}, group {name!r}")[:, ::-1] for name, points in wanted.items()]
    return Landmarks([path.stem] * len(faces), np.array(faces).reshape(-1, 5, 2))
