"""CelebA's list_landmarks_celeba.txt: five points for every photograph, in the wild.

Liu et al. 2015 (arXiv:1411.7766). The first line holds the number of photographs (202,599), the second the names of ten
columns, and every other line a file name and ten numbers. A list of fewer photographs will do, if the first line says
how many.

``list_landmarks_align_celeba.txt`` looks the same but belongs to the aligned images of 178x218 pixels, in which eyes
are always at about the same place. Its values give it away, and it is refused: it would cut squares out of nowhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.landmark_file import Landmarks, repeated

COLUMNS = tuple(
    f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in ("x", "y")
)

_ALIGNED_SIZE = (178, 218)
_ALIGNED_EYES = ((69.0, 111.0), (108.0, 111.0))  # where alignment puts them, to within a few pixels
_AT_THE_PLACE = 8.0  # pixels
_BOXES = ("x_1", "y_1", "width", "height")


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001
    """True if the first line is a number and the second names columns as CelebA's lists do."""
    first, second = [*(line.split() for line in head.split(b"\n", 2)[:2]), [], []][:2]
    if len(first) != 1 or not first[0].isdigit():
        return False
    return second[:1] == [b"lefteye_x"] or tuple(name.decode("latin-1") for name in second[1:]) == _BOXES


def read(path: Path) -> Landmarks:
    """Read the list; 202,599 rows take about half a second.

    Raises
    ------
    InputError
        If a line is not as it should be, lines are missing, or it is another of CelebA's lists.
    """
    data = path.read_bytes()
    first, second, body = [*data.split(b"\n", 2), b"", b""][:3]
    columns = tuple(second.decode("ascii", "backslashreplace").split())
    if columns[1:] == _BOXES:
        raise InputError(
            f"{path} is CelebA's list of boxes around faces (list_bbox_celeba.txt), which holds no landmarks; name "
            "list_landmarks_celeba.txt, which lies in the same folder Anno"
        )
    if columns != COLUMNS:
        raise InputError(f"{path}, line 2: the columns are not {' '.join(COLUMNS)}; get the file again")
    names, points = _rows(body, path)
    if len(names) != int(first):
        raise InputError(
            f"{path} holds {len(names):,} photographs, but its first line says {int(first):,}; get the file again, or "
            "mend its first line if you left photographs out"
        )
    twice = repeated(names)
    if twice is not None:
        raise InputError(f"{path} has {twice!r} more than once; get the file again")
    refuse_aligned(points, path)
    return Landmarks(names, points)


def refuse_aligned(points: NDArray[np.float64], path: Path) -> None:
    """Refuse the landmarks of the aligned images.

    Parameters
    ----------
    points : ndarray of float64, shape (number of photographs, 5, 2)
    path : Path
        Where they come from, for the message.

    Raises
    ------
    InputError
        If all of them lie within 178x218 pixels, and half of the eyes or more where alignment puts them.
    """
    if len(points) == 0 or (points < 0).any() or (points > _ALIGNED_SIZE).any():
        return
    distance = np.linalg.norm(points[:, :2] - np.array(_ALIGNED_EYES), axis=-1)
    if (np.median(distance, axis=0) < _AT_THE_PLACE).all():
        raise InputError(
            f"{path} holds the landmarks of the aligned images: all points lie within "
            f"{_ALIGNED_SIZE[0]}x{_ALIGNED_SIZE[1]} pixels, and the eyes always at the same place; name "
            "list_landmarks_celeba.txt, that of the photographs in the wild (img_celeba), and not "
            "list_landmarks_align_celeba.txt"
        )


def _rows(body: bytes, path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Split all lines at once; only if something is wrong, one by one, to say where."""
    cells = body.split()
    width = 1 + len(COLUMNS)
    names = cells[::width]
    del cells[::width]
    try:
        values = np.array(list(map(float, cells)), np.float64).reshape(-1, 5, 2)
        whole = len(values) == len(names) and bool(np.isfinite(values).all()) and b".".join(names).isascii()
        whole = whole and not any(map(_is_number, names[:: max(1, len(names) // 100)]))
    except ValueError:
        whole = False
    if whole:
        return [name.decode("ascii") for name in names], values
    for number, line in enumerate(body.split(b"\n"), start=3):
        row = line.split()
        if row and (len(row) != width or not line.isascii() or _is_number(row[0]) or not all(map(_is_number, row[1:]))):
            raise InputError(
                f"{path}, line {number}: {line.decode('ascii', 'backslashreplace').strip()[:60]!r} is not a file name "
                f"and {len(COLUMNS)} numbers; get the file again"
            )
    raise InputError(f"{path} is damaged; get the file again")


def _is_number(cell: bytes) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
