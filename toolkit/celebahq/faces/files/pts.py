"""The .pts of 300-W: 68 points of one photograph of the same name.

Sagonas et al. 2013, "300 faces in-the-wild challenge". ``a.pts`` belongs to ``a.jpg``. Positions count from 1, as in
Matlab.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from datasets.errors import InputError
from toolkit.celebahq.faces.landmark_file import Landmarks
from toolkit.celebahq.faces.points import five_points

_FORM = re.compile(rb"\s*version\s*:\s*1\s+n_points\s*:\s*(\d+)\s*\{([^{}]*)\}\s*")


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True if the first line gives the version."""
    return re.match(rb"\s*version\s*:\s*1\s+n_points\s*:", head) is not None


def read(path: Path) -> Landmarks:
    """Read the one face.

    Raises
    ------
    InputError
        If the file is damaged or does not hold 68 or 5 points.
    """
    match = _FORM.fullmatch(path.read_bytes())
    try:
        values = np.array([] if match is None else match[2].split(), np.float64)
    except ValueError:
        match = None
    if match is None or values.size != 2 * int(match[1]):
        raise InputError(f"{path} is damaged: it does not hold as many points as it says; get it again")
    points = five_points((values.reshape(-1, 2) - 1).tolist(), str(path))
    return Landmarks([path.stem], points[None])
