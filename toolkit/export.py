"""Export a pyramid for other programs: TFRecord files of every level, or PNG files of one. Every row is verified."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from datasets.formats import PyramidReader, open_pyramid
from datasets.levels import level_of, levels_up_to, name_of, resolution_of
from datasets.manifest import level_digest, row_digest
from toolkit.export_tfrecord import frame
from toolkit.plan import Bar, Progress
from toolkit.workers import in_order

_BATCH_BYTES = 1 << 22  # pixels that a thread holds at a time
_MOST_ROWS = 256  # of a batch, so that the progress bar moves
_PER_FOLDER = 1000


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
        The folder.
    num_images : int
        Images of every resolution, in the order of the pyramid's rows.
    resolutions : tuple of int
        Sides in pixels, coarsest first.
    files : int
        Number of files.
    bytes : int
        Their size.
    content_digest : str
        Of the pyramid.
    """

    path: Path
    num_images: int
    resolutions: tuple[int, ...]
    files: int
    bytes: int
    content_digest: str

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {**dataclasses.asdict(self), "path": str(self.path), "resolutions": list(self.resolutions)}


def export_tfrecord(path: Path, out: Path, *, jobs: int, progress: Progress) -> Exported:
    """Write a folder of TFRecord files in the layout of the 2017 TensorFlow tools: ``OUT/OUT-rNN.tfrecords``.

    NN is the level, log2(resolution), in two digits. The files have no labels.

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        Folder to make; it appears when it is whole.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If the pyramid is damaged, or `out` exists or cannot be written.
    """
    _check_new(out)
    reader = open_pyramid(path)
    levels = levels_up_to(reader.manifest.top_level)
    size = reader.manifest.num_images
    _check_space(out, size * sum(len(frame(np.zeros_like(reader.level(level)[0]))) for level in levels))
    with _new_folder(out) as folder, progress(size * len(levels), "writing records") as bar:
        for level in levels:
            with (folder / f"{out.name}-r{level:02d}.tfrecords").open("wb") as file:
                for records in _for_all_rows(reader, level, lambda _, pixels: frame(pixels), jobs, bar):
                    file.writelines(records)
        return _exported(out, folder, reader, levels)


def export_folder(path: Path, out: Path, *, resolution: int | None, jobs: int, progress: Progress) -> Exported:
    """Write the images of one level as PNG files named by their rows, ``OUT/000000.png`` and so on.

    If there are more than 1000, a thousand lie in each sub-folder: ``OUT/012/012345.png``. In both cases the paths,
    sorted, are in the order of the rows.

    Parameters
    ----------
    path, out, jobs, progress
        As for `export_tfrecord`.
    resolution : int or None
        Side of the level in pixels; None: the finest.

    Raises
    ------
    InputError
        If the pyramid is damaged or has no such level, or `out` exists or cannot be written.
    """
    _check_new(out)
    reader = open_pyramid(path)
    level = reader.manifest.top_level if resolution is None else level_of(resolution, "--resolution")
    reader.level(level)
    size = reader.manifest.num_images
    digits = max(6, len(str(size - 1)))
    with _new_folder(out) as folder, progress(size, "writing images") as bar:
        parts = range(0, size, _PER_FOLDER) if size > _PER_FOLDER else ()
        for first in parts:
            (folder / f"{first // _PER_FOLDER:0{digits - 3}d}").mkdir()

        def save(row: int, pixels: NDArray[np.uint8]) -> None:
            place = folder / f"{row // _PER_FOLDER:0{digits - 3}d}" if parts else folder
            image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            image.save(place / f"{row:0{digits}d}.png", format="PNG")

        for _ in _for_all_rows(reader, level, save, jobs, bar):
            pass
        return _exported(out, folder, reader, [level])


def _for_all_rows(
    reader: PyramidReader, level: int, function: Callable[[int, NDArray[np.uint8]], Any], jobs: int, bar: Bar
) -> Iterator[list[Any]]:
    """Yield ``function(row, pixels)`` of all rows of a level, in their order, by batches; verify every row."""
    pixels, digests, names = reader.level(level), reader.row_digests(level), reader.sources()
    where = f"{reader.path}: {name_of(level)}"
    if level_digest(digests) != reader.manifest.level_digests[name_of(level)]:
        raise InputError(f"{where}: the digests of its rows do not match the manifest; it is damaged, build it again")

    def run(rows: range) -> list[Any]:
        results = []
        for row in rows:
            image = np.array(pixels[row])  # a copy: what is verified is what is written
            if row_digest(image) != digests[row].tobytes():
                raise InputError(
                    f"{where}, row {row} ({names[row]}): the pixels do not match their digest; "
                    "it is damaged, build it again"
                )
            results.append(function(row, image))
        return results

    batch = max(1, min(_MOST_ROWS, _BATCH_BYTES // pixels[0].nbytes))
    tasks = (range(first, min(first + batch, len(pixels))) for first in range(0, len(pixels), batch))
    with contextlib.closing(in_order(run, tasks, jobs, threading.Event())) as batches:
        for results in batches:
            yield results
            bar.update(len(results))


def _check_new(out: Path) -> None:
    """Refuse, before any work is done, a folder that cannot be made."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists already; choose another name or remove it")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: no permission to write into {out.parent}")


def _check_space(out: Path, needed: int) -> None:
    """Refuse an export that would fill the disk."""
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise InputError(
            f"cannot write {out}: its files need {needed / 1e6:.1f} MB, but {out.parent} has {free / 1e6:.1f} MB free; "
            "free space or choose another disk"
        )


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out`; it becomes `out` when the block ends without an exception.

    The hidden name is always the same, so that what a killed process left behind is removed by the next one; a lock,
    which goes with the process, keeps two from writing at once.
    """
    temporary = out.with_name(f".{out.name}.partial")
    descriptor = -1
    try:
        temporary.mkdir(exist_ok=True)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(
                os.fstat(descriptor), temporary.stat()
            )  # not published or removed since it was opened
        except BlockingIOError:
            ours = False
        if not ours:
            raise InputError(f"another process is writing {out}; wait for it or choose another name")
        try:
            _empty(temporary)
            yield temporary
            os.sync()  # one call for many files; the rename must not reach the disk before them
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _empty(folder: Path) -> None:
    """Remove what a folder holds."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _exported(out: Path, folder: Path, reader: PyramidReader, levels: range | list[int]) -> Exported:
    """Count what was written into `folder`, which will be `out`."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Exported(
        path=out,
        num_images=reader.manifest.num_images,
        resolutions=tuple(resolution_of(level) for level in levels),
        files=len(sizes),
        bytes=sum(sizes),
        content_digest=reader.manifest.content_digest,
    )
