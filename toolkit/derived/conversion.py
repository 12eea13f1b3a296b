"""Convert a pyramid: into another format, encoding or number of shards, or into the files of other tools."""

from __future__ import annotations

from pathlib import Path

from datasets import formats
from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import resolution_of
from toolkit.derived.assembly import Assembled, Description, Part, assemble, check_output
from toolkit.derived.lineage import converted, labels_of, ledger_file
from toolkit.engine.output import Output
from toolkit.engine.progress import Progress
from toolkit.exports.folder import export_folder
from toolkit.exports.hdf5_2017 import export_hdf5_2017
from toolkit.exports.rows import Exported, chosen_level
from toolkit.exports.stylegan_zip import export_stylegan_zip
from toolkit.exports.tfrecord import export_tfrecord

PYRAMIDS = ("hdf5", "lmdb")
LAYOUTS = ("stylegan-zip", "tfrecord", "folder", "hdf5-2017")
_LAYOUT_OF_SUFFIX = {".zip": "stylegan-zip"}


def layout_of(out: Path, to: str | None) -> str:
    """Name of what `out` becomes: `to`, or what its suffix asks for.

    Raises
    ------
    InputError
        If neither says it, or they contradict each other.
    """
    suffixes = formats.suffixes()
    by_suffix = {**suffixes, **_LAYOUT_OF_SUFFIX}
    named = by_suffix.get(out.suffix.lower())
    if to is None and named is None:
        allowed = ", ".join(by_suffix)
        raise InputError(f"{out}: its suffix does not say what to make; use one of {allowed}, or pass --to")
    if to in PYRAMIDS and named != to:
        suffix = next(suffix for suffix, name in suffixes.items() if name == to)
        raise InputError(f"{out}: the name of a pyramid of the format {to} ends in {suffix}")
    if to == "stylegan-zip" and named != to:
        raise InputError(f"{out}: the name of a stylegan-zip ends in .zip")
    return to or str(named)


def convert_pyramid(
    path: Path, output: Output, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Assembled:
    """Copy all rows of a pyramid into a new one, which keeps names, labels, options, provenance and ledger.

    Parameters
    ----------
    path : Path
    output : Output
    resolution : int or None
        Side of the finest level to copy; None: all levels, and then the content digest stays the same.
    labels : bool
        Copy the labels, if there are any.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If the pyramid is damaged or has no such level, or the output cannot be written.
    """
    reader = open_pyramid(path)
    check_output(output, [reader])
    top = chosen_level(reader, resolution)
    part = Part.whole(reader)
    numbers, names = labels_of([part], keep=labels)
    description = Description(
        labels=numbers,
        label_names=names,
        options=reader.manifest.options,
        provenance=converted(reader, layout_of(output.path, None), resolution_of(top)),
        ledger=ledger_file(reader),
    )
    return assemble([part], output, description, top=top, jobs=jobs, progress=progress)


def export(
    path: Path, out: Path, layout: str, *, resolution: int | None, labels: bool, jobs: int, progress: Progress
) -> Exported:
    """Write a pyramid as the files of other tools, one of `LAYOUTS`; see the functions of these names.

    Raises
    ------
    InputError
        If the pyramid is damaged or has no such level, or `out` exists or cannot be written.
    """
    write = {
        "stylegan-zip": export_stylegan_zip,
        "tfrecord": export_tfrecord,
        "folder": export_folder,
        "hdf5-2017": export_hdf5_2017,
    }[layout]
    return write(path, out, resolution=resolution, labels=labels, jobs=jobs, progress=progress)
