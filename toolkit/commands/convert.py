"""Command ``convert``: a data set in another format, or in the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import click

from datasets import console
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    facts_table,
    interruptible,
    jobs_option,
    json_option,
    no_labels_option,
    overwrite_option,
    storage_options,
    usage_errors,
)
from toolkit.derived.conversion import LAYOUTS, PYRAMIDS, convert_pyramid, export, layout_of
from toolkit.engine.output import Output
from toolkit.engine.progress import Progress
from toolkit.engine.workers import num_cores
from toolkit.exports.rows import Exported


class _Wanted(TypedDict):
    """What all conversions are told."""

    resolution: int | None
    labels: bool
    jobs: int
    progress: Progress


@click.command("convert")
@click.argument("pyramid", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--to",
    type=click.Choice([*PYRAMIDS, *LAYOUTS]),
    help="What OUT becomes; not needed if it ends in .h5, .lmdb or .zip (a stylegan-zip).",
)
@click.option(
    "--resolution",
    type=int,
    callback=check_resolution,
    metavar="N",
    help="Side of the finest level to write, or of the only one (stylegan-zip, folder); default the finest there is.",
)
@storage_options
@no_labels_option
@jobs_option
@overwrite_option
@json_option
def command(
    pyramid: Path,
    out: Path,
    to: str | None,
    resolution: int | None,
    encoding: str | None,
    shards: int,
    no_labels: bool,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
) -> None:
    """Write PYRAMID as OUT in another format. Every row is compared with its digest on the way.

    \b
    hdf5, lmdb     a pyramid with the same content digest; an interrupted command goes on where it was
    stylegan-zip   one level as PNG files in a zip, with dataset.json, as StyleGAN2-ADA and StyleGAN3 read it
    tfrecord       a folder of OUT-r02.tfrecords and so on, and OUT-rxx.labels, as the TensorFlow tools of 2017 read it
    folder         one level as PNG files, 000000.png and so on, in folders of 1000 if there are more; dataset.json
    hdf5-2017      an HDF5 file as the Theano tools of 2017 read it, down to 1x1, and OUT-labels.npy

    \b
    Examples:
      toolkit convert photos.h5 photos.lmdb --encoding webp
      toolkit convert photos.lmdb photos.h5 --shards 8
      toolkit convert photos.h5 small.h5 --resolution 64
      toolkit convert photos.h5 photos.zip --resolution 256
      toolkit convert photos.h5 photos-tf --to tfrecord
      toolkit convert photos.h5 old.h5 --to hdf5-2017
    """  # noqa: D301
    with usage_errors():
        layout = layout_of(out, to)
    check_json(json_to)
    if layout not in PYRAMIDS and (encoding is not None or shards > 1 or overwrite):
        raise click.UsageError(f"--encoding, --shards and --overwrite are for pyramids, not for {layout}")
    wanted = _Wanted(resolution=resolution, labels=not no_labels, jobs=jobs or num_cores(), progress=console.progress)
    if layout in PYRAMIDS:
        output = Output(path=out, shards=shards, encoding=encoding, overwrite=overwrite)
        with interruptible(keeps=True):
            done = convert_pyramid(pyramid, output, **wanted)
        console.say(facts_table(done.facts().items()))
        result = done.to_json()
    else:
        with interruptible(keeps=False):
            written = export(pyramid, out, layout, **wanted)
        _print_exported(written)
        result = written.to_json()
    if json_to:
        console.write_json(json_to, result)


def _print_exported(done: Exported) -> None:
    sides = ", ".join(f"{side}x{side}" for side in done.resolutions)
    files = "1 file" if done.files == 1 else f"{done.files} files"
    facts = {
        "written": f"{done.path} ({done.layout}: {files}, {done.bytes / 1e6:.1f} MB)",
        "images": f"{done.num_images} of {sides}",
        "labels": "none" if done.num_classes is None else f"{done.num_classes} classes",
        "content digest": f"{done.content_digest} (of the pyramid)",
    }
    console.say(facts_table(facts.items()))
