"""CSV of five points with a confidence and a photograph's size; a photograph of two faces, one of none."""

from pathlib import Path

import numpy as np

from finder_examples import FIVE, Example

COLUMNS = (
    "File,confidence,lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,"
    "leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y,width,height"
)


def make(where: Path) -> Example:
    left, right = np.add(FIVE, (0.5, 0)), np.add(FIVE, (300.25, 0))
    rows = [COLUMNS]
    for name, face in (('"a, b.jpg"', right), ("c.jpg", FIVE), ('"a, b.jpg"', left)):
        rows.append(",".join([name, "0.9", *map(str, face.ravel().tolist()), "800", "600"]))
    rows.append("none.jpg" + "," * 13)
    path = where / "faces.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Example(path, {"a, b.jpg": [left, right], "c.jpg": [FIVE], "none.jpg": []})
