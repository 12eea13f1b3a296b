"""The .ljson of one photograph with two faces."""

import json
from pathlib import Path

import numpy as np

from finder_examples import FIVE, Example, sixty_eight


def document(*faces):
    groups = {
        f"group{number}": {
            "labels": [{"label": "jaw", "mask": [0, 1]}],
            "landmarks": {"connectivity": [[0, 1]], "points": sixty_eight(number, face)[:, ::-1].tolist()},
        }
        for number, face in enumerate(faces)
    }
    groups["pupils"] = {"labels": [], "landmarks": {"connectivity": [], "points": [[1, 2], [3, 4]]}}
    return {"groups": groups, "version": 3}


def make(where: Path) -> Example:
    left, right = FIVE, np.add(FIVE, (333, 1))
    path = where / "photo.ljson"
    path.write_text(json.dumps(document(right, left), indent=4), encoding="utf-8")
    return Example(path, {"photo.jpg": [left, right]})
