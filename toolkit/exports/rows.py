"""What all exports share: rows that are checked while they are read, PNG, new folders, and what is told at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from datasets.formats import PyramidReader
from datasets.levels import level_of, name_of, resolution_of
from datasets.manifest import level_digest, row_digest
from toolkit.engine.meter import Meter
from toolkit.engine.workers import in_order

_BATCH_BYTES = 1 << 22  # pixels that a thread holds at a time
_MOST_ROWS = 256  # of a batch, so that the progress bar moves

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
        The file or folder.
    layout : str
        Its kind, as ``toolkit convert --to`` names it.
    num_images : int
        Images of every resolution, in the order of the pyramid's rows.
    resolutions : tuple of int
        Sides in pixels, coarsest first.
    num_classes : int or None
        Classes of the labels that were written; None if none were.
    files : int
        Number of files.
    bytes : int
        Their size.
    content_digest : str
        Of the pyramid.
    """

    path: Path
    layout: str
    num_images: int
    resolutions: tuple[int, ...]
    num_classes: int | None
    files: int
    bytes: int
    content_digest: str

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {**dataclasses.asdict(self), "path": str(self.path), "resolutions": list(self.resolutions)}


def exported(
    out: Path, written: Path, layout: str, reader: PyramidReader, levels: Sequence[int], *, labelled: bool
) -> Exported:
    """Count what lies at `written`, which is or will be `out`."""
    files = [path for path in written.rglob("*") if path.is_file()] if written.is_dir() else [written]
    return Exported(
        path=out,
        layout=layout,
        num_images=reader.manifest.num_images,
        resolutions=tuple(resolution_of(level) for level in levels),
        num_classes=reader.manifest.num_classes if labelled else None,
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        content_digest=reader.manifest.content_digest,
    )


def chosen_level(reader: PyramidReader, resolution: int | None) -> int:
    """Level of a side given by ``--resolution``; the finest one if none is given. An InputError if it is not there."""
    if resolution is None:
        return reader.manifest.top_level
    level = level_of(resolution, "--resolution")
    reader.level(level)
    return level


def verified_rows(
    reader: PyramidReader,
    level: int,
    function: Callable[[NDArray[np.uint8]], Result],
    *,
    jobs: int,
    meter: Meter,
    rows: Sequence[int] | None = None,
) -> Iterator[Result]:
    """Yield ``function(pixels)`` of rows of a level, in their order, computed by threads; every row is verified.

    Parameters
    ----------
    reader : PyramidReader
    level : int
    function : callable
        Takes pixels, uint8 of shape (3, r, r), C-contiguous.
    jobs : int
        Number of threads.
    meter : Meter
        Told of every row.
    rows : sequence of int, optional
        All if not given.

    Raises
    ------
    InputError
        If a row, or the table of digests, is not what was written.
    """
    pixels, digests = reader.level(level), reader.row_digests(level)
    where = f"{reader.path}: {name_of(level)}"
    if level_digest(digests) != reader.manifest.level_digests[name_of(level)]:
        raise InputError(f"{where}: the digests of its rows do not match the manifest; it is damaged, build it again")
    wanted = np.arange(len(pixels)) if rows is None else np.asarray(rows, np.int64)

    def run(part: NDArray[np.int64]) -> list[Result]:
        results = []
        for row, image in zip(part.tolist(), pixels.gather(part), strict=True):
            if row_digest(image) != digests[row].tobytes():
                raise InputError(
                    f"{where}, row {row} ({reader.sources()[row]}): the pixels do not match their digest; "
                    "it is damaged, build it again"
                )
            results.append(function(image))
        return results

    batch = max(1, min(_MOST_ROWS, _BATCH_BYTES // (3 * resolution_of(level) ** 2)))
    tasks = (wanted[first : first + batch] for first in range(0, len(wanted), batch))
    with contextlib.closing(in_order(run, tasks, jobs, threading.Event())) as batches:
        for results in batches:
            yield from results
            meter.add(len(results), len(results) * 3 * resolution_of(level) ** 2)


def png(pixels: NDArray[np.uint8], compression: int = 1) -> bytes:
    """PNG file of one image, uint8 of shape (3, r, r); compression from 0, none, to 9, much slower than 1."""
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.save(file, format="PNG", compress_level=compression)
    return file.getvalue()


def dataset_json(reader: PyramidReader, names: Sequence[str]) -> dict[str, Any]:
    """What the tools of the StyleGAN family write into ``dataset.json``: the class number of every file, or null.

    The names of the classes stand beside, under ``label_names``, where those tools do not look.

    Parameters
    ----------
    reader : PyramidReader
    names : sequence of str
        Paths of the files, in the order of the rows.
    """
    labels = reader.labels()
    if labels is None:
        return {"labels": None}
    content: dict[str, Any] = {"labels": [list(pair) for pair in zip(names, labels.tolist(), strict=True)]}
    if reader.manifest.label_names is not None:
        content["label_names"] = list(reader.manifest.label_names)
    return content


def check_new_folder(out: Path) -> None:
    """Refuse, before any work is done, a folder that cannot be made."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists already; choose another name or remove it")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: no permission to write into {out.parent}")


def check_space(out: Path, needed: int) -> None:
    """Refuse an export that would fill the disk."""
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise InputError(
            f"cannot write {out}: its files need {needed / 1e6:.1f} MB, but {out.parent} has {free / 1e6:.1f} MB free; "
            "free space or choose another disk"
        )
