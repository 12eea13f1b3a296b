"""Export a pyramid as the TFRecord files of the 2017 TensorFlow tools: one file for every level, and one for labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.atomic import new_folder
from datasets.formats import open_pyramid
from datasets.levels import levels_up_to, resolution_of
from datasets.manifest import one_hot
from datasets.tfrecord import frame
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.exports.rows import Exported, check_new_folder, check_space, chosen_level, exported, verified_rows


def export_tfrecord(
    path: Path, out: Path, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Exported:
    """Write a folder with ``OUT/OUT-rNN.tfrecords`` for every level, and ``OUT/OUT-rxx.labels`` if there are labels.

    NN is the level, log2(resolution), in two digits. The labels are a NumPy file: float32 of shape (N, classes), one
    hot. The records are in the order of the pyramid's rows.

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        Folder to make; it appears when it is whole.
    resolution : int or None
        Side of the finest level to write, in pixels; None: all levels.
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
    levels = levels_up_to(chosen_level(reader, resolution))
    size, classes = reader.manifest.num_images, reader.labels() if labels else None
    check_space(out, size * sum(_record_bytes(level) for level in levels))
    with new_folder(out) as folder, progress(size * len(levels), "writing records") as bar:
        meter = Meter(bar)
        for level in levels:
            with (folder / f"{out.name}-r{level:02d}.tfrecords").open("wb") as file:
                file.writelines(verified_rows(reader, level, frame, jobs=jobs, meter=meter))
        if classes is not None:
            with (folder / f"{out.name}-rxx.labels").open("wb") as file:
                np.save(file, one_hot(classes, reader.manifest.num_classes or 0), allow_pickle=False)
        return exported(out, folder, "tfrecord", reader, levels, labelled=classes is not None)


def _record_bytes(level: int) -> int:
    """Size of one record, the same for all images of a level."""
    side = resolution_of(level)
    return len(frame(np.zeros((3, side, side), np.uint8)))
