"""A folder of .ljson or .pts files: one for each photograph, of the same name.

Photographs may lie between them; other files too, which are not looked at.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolkit.celebahq.faces.files import menpo_ljson, pts
from toolkit.celebahq.faces.landmark_file import Landmarks

_FORMATS = {".ljson": menpo_ljson, ".pts": pts}


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True for a folder with at least one such file."""
    return path.is_dir() and any(_files(path))


def read(path: Path) -> Landmarks:
    """Read all files; an InputError for the first that is damaged."""
    found = [_FORMATS[file.suffix].read(file) for file in _files(path)]
    names = [name for landmarks in found for name in landmarks.names]
    return Landmarks(names, np.concatenate([landmarks.points for landmarks in found]))


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix in _FORMATS and not file.name.startswith("."))
