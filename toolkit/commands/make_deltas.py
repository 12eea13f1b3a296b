"""Command ``make-deltas``: publish images derived from CelebA without its photographs."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from toolkit.celebahq.geometry import RESOLUTION
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    facts_table,
    interruptible,
    json_option,
)
from toolkit.engine.workers import num_cores


@click.command("make-deltas")
@click.argument("celeba", type=PATH)
@click.argument("images", type=PATH)
@click.argument("out_dir", type=PATH)
@click.option(
    "--table",
    type=PATH,
    metavar="FILE",
    help="CSV: the photograph (column file) of every image (column row, from 0, or image, its name), such as the "
    "OUT.mapping.csv of build-celebahq; every image once. Default: 000001.png is made from 000001.jpg.",
)
@click.option("--landmarks", type=PATH, metavar="FILE", help="Landmarks, if not list_landmarks_celeba.txt in CELEBA.")
@click.option(
    "--delta-side",
    type=int,
    default=RESOLUTION,
    show_default=True,
    callback=check_resolution,
    metavar="N",
    help="Side of IMAGES in pixels. With another than the default, build-celebahq needs the same option.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Threads; default one per core. Changes no pixel: the bytes differ each time, as deltas are salted.",
)
@json_option
def command(
    celeba: Path,
    images: Path,
    out_dir: Path,
    table: Path | None,
    landmarks: Path | None,
    delta_side: int,
    jobs: int | None,
    json_to: str | None,
) -> None:
    """Make the folder OUT_DIR of deltas from IMAGES that were derived from the photographs in CELEBA.

    The inverse of build-celebahq --deltas. IMAGES, a folder, an archive or a data set, are 1024x1024 and of the same
    geometry as CelebA-HQ, but otherwise whatever you made of them. OUT_DIR holds image_list.txt and deltas00000.zip
    and so on, a thousand deltas each, and can be published: only who has the photographs can open them.

    Deltas are salted, so two runs differ in every byte and yet open to the same images. A run that is stopped goes on
    where it was when the same command is run again.

    \b
    Examples:
      toolkit make-deltas CelebA/ restored/ restored-deltas
      toolkit make-deltas CelebA/ celeba-hq.h5 again --table celeba-hq.h5.mapping.csv
      toolkit build-celebahq CelebA/ restored.h5 --deltas restored-deltas
    """  # noqa: D301
    from toolkit.celebahq.bases import Bases  # only now: help needs none of it
    from toolkit.celebahq.locking import make_deltas, pairs_by_name, pairs_in_table
    from toolkit.sources import open_source

    check_json(json_to)
    derived = open_source(images, labels=False)
    pairs = pairs_by_name(derived) if table is None else pairs_in_table(table, derived)
    with interruptible(keeps=True):
        locked = make_deltas(
            Bases(celeba, landmarks, delta_side),
            derived,
            pairs,
            out_dir,
            jobs=jobs or num_cores(),
            progress=console.progress,
            say=console.say,
        )
    facts = {
        "deltas": f"{locked.deltas:,} in {locked.zips} zip archives ({locked.bytes / 1e6:.1f} MB)",
        "folder": locked.path,
    }
    console.say(facts_table(facts.items()))
    if json_to:
        console.write_json(json_to, locked.to_json())
