"""FFHQ's ffhq-dataset-v2.json: 68 points for every photograph in the wild.

Karras et al. 2019 (arXiv:1812.04948). A record holds two sets of landmarks: ``in_the_wild`` those of the photograph
(``in-the-wild-images/00000/00000.png``), ``image`` those of the finished image (``images1024x1024/00000/00000.png``),
for which there is nothing left to align. Only the former are taken, with the size of the photograph, so that finished
images are not cut by them. The released file (255 MB) takes some seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.errors import InputError
from toolkit.celebahq.faces.json_members import members
from toolkit.celebahq.faces.landmark_file import Landmarks
from toolkit.celebahq.faces.points import from_68

_KEY = b'"in_the_wild"'


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True for JSON whose first records have photographs in the wild."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" and _KEY in head


def read(path: Path) -> Landmarks:
    """Read the landmarks of the photographs in the wild.

    Raises
    ------
    InputError
        If a record has none, or they are not 68 points; names the record.
    """
    names: list[str] = []
    sizes: list[tuple[int, int] | None] = []
    points = []
    for key, record in members(path):
        try:
            photo = record["in_the_wild"]
            width, height = photo["pixel_size"]
            landmarks = np.array(photo["face_landmarks"], np.float64)
            name = photo["file_path"]
            if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all() or not isinstance(name, str):
                raise ValueError
            sizes.append((int(width), int(height)))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}, record {key!r}: in_the_wild has not file_path, pixel_size and 68 face_landmarks; get the "
                "file again"
            ) from None
        names.append(name)
        points.append(from_68(landmarks))
    return Landmarks(names, np.array(points).reshape(-1, 5, 2), sizes=sizes)
