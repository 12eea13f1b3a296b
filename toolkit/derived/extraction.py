"""Write chosen rows of a pyramid as PNG files, with an index that says where each came from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.atomic import new_folder
from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import resolution_of
from datasets.order import Order
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.exports.rows import check_new_folder, chosen_level, png, verified_rows

INDEX_NAME = "index.json"


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What was written.

    Attributes
    ----------
    path : Path
        The folder.
    resolution : int
        Side of the images in pixels.
    images : list of dict
        One for each file, as in the index: ``file``, ``row``, ``source`` and, if there are labels, ``label`` and
        ``class``.
    """

    path: Path
    resolution: int
    images: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {"path": str(self.path), "resolution": self.resolution, "images": self.images}


def parse_rows(text: str, num_images: int) -> list[int]:
    """Row numbers from a text such as ``0,5,10-20``: single rows and ranges, both ends included.

    Returns
    -------
    list of int
        Sorted, each once.

    Raises
    ------
    InputError
        If the text is something else, or there is no such row.
    """
    rows: set[int] = set()
    for low, high in parse_ranges(text):
        if high >= num_images:
            raise InputError(f"--rows {text}: there is no row {high}; the rows are 0 to {num_images - 1}")
        rows.update(range(low, high + 1))
    return sorted(rows)


def parse_ranges(text: str) -> list[tuple[int, int]]:
    """First and last row of every piece of a text such as ``0,5,10-20``; an InputError if it is something else."""
    ranges = []
    for piece in text.split(","):
        first, dash, last = (number.strip() for number in piece.partition("-"))
        if not _is_number(first) or (dash and not _is_number(last)):
            raise InputError(f"--rows {text}: {piece.strip()!r} is no row and no range; write them as 0,5,10-20")
        low, high = int(first), int(last or first)
        if low > high:
            raise InputError(f"--rows {text}: {piece.strip()} runs backwards; write {high}-{low}")
        ranges.append((low, high))
    return ranges


def random_rows(num: int, seed: int, num_images: int) -> list[int]:
    """Rows that a seed chooses, the ones that ``toolkit show`` draws: the first of `datasets.order.Order`, sorted."""
    return sorted(Order(num_images, seed).rows(0, min(num, num_images)).tolist())


def extract(
    path: Path, out: Path, rows: Sequence[int], *, resolution: int | None, jobs: int, progress: Progress
) -> Extracted:
    """Write rows of one level into a new folder: ``row000005.png`` and so on, and ``index.json``.

    The names of the files are made of the row numbers alone, because a source may be called anything.

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        Folder to make; it appears when it is whole.
    rows : sequence of int
    resolution : int or None
        Side of the level in pixels; None: the finest.
    jobs : int
        Number of threads, at least 1.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If a row is damaged, there is no such level, or `out` exists or cannot be written.
    """
    check_new_folder(out)
    reader = open_pyramid(path)
    level = chosen_level(reader, resolution)
    names, labels = reader.sources(), reader.labels()
    classes = reader.manifest.label_names
    digits = max(6, len(str(reader.manifest.num_images - 1)))
    images = []
    for row in rows:
        image: dict[str, Any] = {"file": f"row{row:0{digits}d}.png", "row": row, "source": names[row]}
        if labels is not None:
            number = int(labels[row])
            image |= {"label": number, "class": str(number) if classes is None else classes[number]}
        images.append(image)
    with new_folder(out) as folder, progress(len(rows), "writing images") as bar:
        pictures = verified_rows(reader, level, png, jobs=jobs, meter=Meter(bar), rows=rows)
        for image, picture in zip(images, pictures, strict=True):
            (folder / image["file"]).write_bytes(picture)
        (folder / INDEX_NAME).write_text(json.dumps(images, indent=1) + "\n", encoding="ascii")
    return Extracted(out, resolution_of(level), images)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
