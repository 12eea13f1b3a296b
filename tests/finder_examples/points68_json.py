"""68 points of three photographs: one face, two of which the left one comes last, none."""

import json
from pathlib import Path

import numpy as np

from finder_examples import FIVE, Example, sixty_eight


def make(where: Path) -> Example:
    left, right = np.add(FIVE, (1, 3)), np.add(FIVE, (500, 7))
    document = {
        "a.jpg": sixty_eight(1).tolist(),
        "sub/b.png": [sixty_eight(2, right).tolist(), sixty_eight(3, left).tolist()],
        "é.jpg": [],
    }
    path = where / "landmarks.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return Example(path, {"a.jpg": [FIVE], "sub/b.png": [left, right], "é.jpg": []})
