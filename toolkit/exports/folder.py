"""Export one level of a pyramid as PNG files named by their rows, with ``dataset.json`` for the labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from datasets.atomic import new_folder
from datasets.formats import PyramidReader, open_pyramid
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.exports.rows import (
    Exported,
    check_new_folder,
    check_space,
    chosen_level,
    dataset_json,
    exported,
    png,
    verified_rows,
)

_PER_FOLDER = 1000
_SAMPLE_ROWS = 16  # to find out how large files become
_BLOCK_BYTES = 4096  # of which file systems give whole ones


def export_folder(
    path: Path, out: Path, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Exported:
    """Write the images of one level as ``OUT/000000.png`` and so on.

    If there are more than 1000, a thousand lie in each sub-folder: ``OUT/012/012345.png``. In both cases the paths,
    sorted, are in the order of the rows. Folders of classes would break that order, so labels go to
    ``OUT/dataset.json``, which ``make-pyramid`` reads; it is there without labels, too, and says that there are none.

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        Folder to make; it appears when it is whole.
    resolution : int or None
        Side of the level in pixels; None: the finest.
    labels : bool
        Write the labels, if there are any.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If the pyramid is damaged or has no such level, or `out` exists or cannot be written.
    """
    check_new_folder(out)
    reader = open_pyramid(path)
    level = chosen_level(reader, resolution)
    labelled = labels and reader.manifest.labels_digest is not None
    size = reader.manifest.num_images
    digits = max(6, len(str(size - 1)))
    names = [f"{row:0{digits}d}.png" for row in range(size)]
    if size > _PER_FOLDER:
        names = [f"{row // _PER_FOLDER:0{digits - 3}d}/{name}" for row, name in enumerate(names)]
    check_space(out, size * _file_bytes(reader, level))
    with new_folder(out) as folder, progress(size, "writing images") as bar:
        for first in range(0, size, _PER_FOLDER):
            (folder / names[first]).parent.mkdir(exist_ok=True)
        pictures = verified_rows(reader, level, png, jobs=jobs, meter=Meter(bar))
        for name, picture in zip(names, pictures, strict=True):
            (folder / name).write_bytes(picture)
        content = dataset_json(reader, names) if labelled else {"labels": None}  # sub-folders are no classes
        (folder / "dataset.json").write_text(json.dumps(content), encoding="ascii")
        return exported(out, folder, "folder", reader, [level], labelled=labelled)


def _file_bytes(reader: PyramidReader, level: int) -> int:
    """Bytes of disk that a file takes up, by a sample: less a tenth, for a sample can be wrong."""
    pixels = reader.level(level)
    rows = np.arange(0, len(pixels), -(-len(pixels) // _SAMPLE_ROWS))
    sizes = [-(-len(png(image)) // _BLOCK_BYTES) * _BLOCK_BYTES for image in pixels.gather(rows)]
    return int(0.9 * sum(sizes) / len(sizes))
