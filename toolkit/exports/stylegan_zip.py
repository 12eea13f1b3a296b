"""Export one level of a pyramid as a zip in the layout that the StyleGAN2-ADA and StyleGAN3 tools train from.

The zip holds ``00000/img00000000.png``, named by the row in eight digits, the folder by the first five of them, and
``dataset.json`` with the class of every file. Nothing is compressed, neither by the zip nor inside the PNG files: those
tools read an image for every step of training, and so reading takes the least time.
"""

from __future__ import annotations

import functools
import json
import os
import zipfile
from pathlib import Path

from datasets.atomic import check_writable, claim, publish, system_errors
from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import resolution_of
from toolkit.engine.meter import Meter
from toolkit.engine.progress import Progress
from toolkit.exports.rows import Exported, check_space, chosen_level, dataset_json, exported, png, verified_rows

_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows; equal pyramids give equal bytes
_MAX_IMAGES = 10**8  # names have eight digits
_ENTRY_BYTES = 300  # of the zip and of the PNG around the pixels, about


def export_stylegan_zip(
    path: Path, out: Path, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Exported:
    """Write the images of one level into a zip.

    Parameters
    ----------
    path : Path
        A finished pyramid of any format.
    out : Path
        File to make; it appears when it is whole.
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
        If the pyramid is damaged or has no such level, or `out` cannot be written.
    """
    check_writable(out)
    reader = open_pyramid(path)
    level = chosen_level(reader, resolution)
    labelled = labels and reader.manifest.labels_digest is not None
    size = reader.manifest.num_images
    if size > _MAX_IMAGES:
        raise InputError(f"{path} has {size} images, more than the {_MAX_IMAGES} that this layout has names for")
    check_space(out, size * (3 * resolution_of(level) ** 2 + _ENTRY_BYTES))
    names = [f"{row // 1000:05d}/img{row:08d}.png" for row in range(size)]
    with system_errors(out):
        temporary, descriptor = claim(out)
        try:
            with os.fdopen(os.dup(descriptor), "w+b") as file, zipfile.ZipFile(file, "w") as archive:
                with progress(size, "writing images") as bar:
                    uncompressed = functools.partial(png, compression=0)
                    pictures = verified_rows(reader, level, uncompressed, jobs=jobs, meter=Meter(bar))
                    for name, picture in zip(names, pictures, strict=True):
                        _add(archive, name, picture)
                content = dataset_json(reader, names) if labelled else {"labels": None}
                _add(archive, "dataset.json", json.dumps(content).encode("ascii"))
            publish(temporary, out)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    return exported(out, out, "stylegan-zip", reader, [level], labelled=labelled)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
