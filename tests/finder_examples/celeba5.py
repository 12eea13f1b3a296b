"""Three photographs of CelebA in the wild; one face reaches beyond the photograph."""

from pathlib import Path

import numpy as np

from finder_examples import FIVE, Example

HEADER = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y \n"


def rows(points, first=1):
    """Text of a list of landmarks (N, 5, 2), whole numbers, laid out as the released one."""
    lines = (
        f"{first + number:06d}.jpg " + " ".join(f"{value:4d}" for value in face.ravel().astype(int).tolist())
        for number, face in enumerate(np.asarray(points))
    )
    return f"{len(points)}\n{HEADER}" + "".join(f"{line}\n" for line in lines)


def make(where: Path) -> Example:
    faces = [FIVE, FIVE * 4 + 13, FIVE - (180, 2)]
    path = where / "list_landmarks_celeba.txt"
    path.write_text(rows(faces), encoding="ascii")
    return Example(path, {f"img_celeba/{number:06d}.jpg": [face] for number, face in enumerate(faces, start=1)})
