"""Command ``extract``: some images of a data set as PNG files."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from datasets.formats import open_pyramid
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    interruptible,
    jobs_option,
    json_option,
    usage_errors,
)
from toolkit.derived import extraction
from toolkit.engine.workers import num_cores


@click.command("extract")
@click.argument("pyramid", type=PATH)
@click.argument("out_dir", type=PATH)
@click.option("--rows", metavar="LIST", help="Rows, such as 0,5,10-20 (both ends included).")
@click.option("--num", type=click.IntRange(1), metavar="N", help="So many rows at random, instead.")
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True, help="Chooses them.")
@click.option(
    "--resolution", type=int, callback=check_resolution, metavar="N", help="Side of the level; default the finest."
)
@jobs_option
@json_option
def command(
    pyramid: Path,
    out_dir: Path,
    rows: str | None,
    num: int | None,
    seed: int,
    resolution: int | None,
    jobs: int | None,
    json_to: str | None,
) -> None:
    """Write chosen rows of PYRAMID as PNG files into the new folder OUT_DIR.

    A file is named by its row; index.json beside says of which image of the source each was made.

    \b
    Examples:
      toolkit extract photos.h5 some --rows 0,5,10-20
      toolkit extract photos.h5 some --num 100 --seed 1 --resolution 64
    """  # noqa: D301
    if (rows is None) == (num is None):
        raise click.UsageError("pass --rows or --num, one of the two")
    if rows is not None:
        with usage_errors():
            extraction.parse_ranges(rows)
    check_json(json_to)
    size = open_pyramid(pyramid).manifest.num_images
    chosen = extraction.parse_rows(rows, size) if rows is not None else extraction.random_rows(num or 0, seed, size)
    with interruptible(keeps=False):
        done = extraction.extract(
            pyramid, out_dir, chosen, resolution=resolution, jobs=jobs or num_cores(), progress=console.progress
        )
    side = done.resolution
    console.say(f"{out_dir}: {len(done.images)} images of {side}x{side}, and {extraction.INDEX_NAME}")
    if json_to:
        console.write_json(json_to, done.to_json())
