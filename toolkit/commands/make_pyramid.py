"""Command ``make-pyramid``: a data set from images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from PIL import ImageColor

from datasets import console
from datasets.decode import MAX_PIXELS
from datasets.formats import writer_module
from toolkit import estimate as estimation
from toolkit import selection, sources
from toolkit.build import build
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    facts_table,
    jobs_option,
    json_option,
    overwrite_option,
    usage_errors,
)
from toolkit.engine.cluster import PREFIX
from toolkit.engine.output import Output
from toolkit.engine.workers import num_cores
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.transforms import FILTERS, Crop

_DEFAULT_NEAR_DUPLICATES = str(selection.NEAR_DUPLICATES)


def _epilog() -> str:
    known = "\n".join(f"  {name:8} {sources.describe(name)}" for name in sources.names())
    return f"\b\nSources, recognised by what they hold:\n{known}"


class _Colour(click.ParamType[tuple[int, ...]]):
    """A colour as (red, green, blue) in 0..255."""

    name = "colour"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return ImageColor.getrgb(value)[:3]
        except ValueError:
            self.fail(f"{value!r} is no colour; use a name such as white, or #rrggbb", param, ctx)


@click.command("make-pyramid", epilog=_epilog())
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--as", "kind", metavar="KIND", help="Take SOURCE for this kind of source, whatever it looks like.")
@click.option("--no-labels", "labels", flag_value=False, default=True, help="Leave the labels of SOURCE out.")
@click.option(
    "--resolution",
    type=int,
    callback=check_resolution,
    metavar="N",
    help="Side of the finest level: a power of two from 4 to 2048. Needed unless all crops already have such a side.",
)
@click.option(
    "--crop",
    type=click.Choice(["centre", "centre-wide", "none"]),
    help="centre (default, unless SOURCE has a crop of its own): the largest square in the middle. centre-wide: the "
    "whole width, between bars if need be. none: images must be square.",
)
@click.option(
    "--box", nargs=3, type=click.IntRange(0), metavar="LEFT TOP SIDE", help="Cut this square from every image."
)
@click.option("--tile", type=click.IntRange(1), metavar="SIZE", help="Cut images into tiles SIZE pixels wide instead.")
@click.option("--stride", type=click.IntRange(1), metavar="N", help="Pixels from one tile to the next; default SIZE.")
@click.option(
    "--filter", "resample", type=click.Choice(FILTERS), default="lanczos", show_default=True, help="Resizing filter."
)
@click.option("--allow-upscale", is_flag=True, help="Enlarge images that are too small; otherwise they are bad.")
@click.option(
    "--background",
    type=_Colour(),
    default="white",
    show_default=True,
    metavar="COLOUR",
    help="Behind transparent images, and of the bars of centre-wide: a name or #rrggbb.",
)
@click.option(
    "--shuffle", type=click.IntRange(0, (1 << 64) - 1), metavar="SEED", help="Shuffle the rows; otherwise source order."
)
@click.option("--max-images", type=click.IntRange(1), metavar="N", help="Use only the first N images of the source.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="An image of more is bad."
)
@click.option(
    "--skip-bad", is_flag=True, help="Leave bad images out, and say so; otherwise the first one ends the build."
)
@click.option(
    "--max-skipped", type=click.IntRange(0), metavar="N", help="Skip at most N bad images; implies --skip-bad."
)
@click.option("--min-size", type=click.IntRange(1), metavar="PIXELS", help="Leave out images with a shorter side.")
@click.option(
    "--min-sharpness", type=float, metavar="S", help="Leave out blurred images; 1.0 is the edge of what looks sharp."
)
@click.option(
    "--near-duplicates",
    type=click.IntRange(0, selection.MAX_NEAR_DUPLICATES),
    is_flag=False,
    flag_value=_DEFAULT_NEAR_DUPLICATES,
    metavar="[BITS]",
    help=f"Keep only the first of images that are alike: at most BITS ({_DEFAULT_NEAR_DUPLICATES}) of 256 differ.",
)
@click.option(
    "--shards", type=click.IntRange(1), default=1, metavar="N", help="Make a folder of N files instead of one."
)
@click.option("--encoding", type=click.Choice(["raw", "png", "webp"]), help="How LMDB stores pixels; all are lossless.")
@click.option(
    "--scheduler", metavar="dask://HOST:PORT", help="Compute on the workers of a Dask cluster that sees the same files."
)
@click.option("--dry-run", is_flag=True, help="Only estimate disk, time and memory, from a sample of SOURCE.")
@jobs_option
@overwrite_option
@json_option
def command(
    source: Path,
    out: Path,
    crop: str | None,
    box: tuple[int, int, int] | None,
    tile: int | None,
    stride: int | None,
    shards: int,
    encoding: str | None,
    scheduler: str | None,
    dry_run: bool,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
    min_size: int | None,
    min_sharpness: float | None,
    near_duplicates: int | None,
    skip_bad: bool,
    max_skipped: int | None,
    **options: Any,
) -> None:
    """Make the data set OUT (.h5 or .lmdb) from the images of SOURCE.

    Images are turned upright, brought to sRGB, cropped square, resized, and stored with every level down to 4x4, each
    the box filter of the full resolution. Bad images (damaged, too small, not square with --crop none) end the build
    unless --skip-bad is given. What became of each image stands in the ledger OUT.ledger.jsonl. Equal sources and
    options give equal bytes.

    A build that is stopped, by an error or a kill, goes on where it was when the same command is run again.

    \b
    Examples:
      toolkit make-pyramid photos/ photos.h5 --resolution 128
      toolkit make-pyramid photos/ photos.h5 --resolution 128 --dry-run
      toolkit make-pyramid photos.zip photos.lmdb --resolution 256 --encoding png --shuffle 0 --skip-bad
      toolkit make-pyramid galaxies.jpg galaxies.h5 --tile 32 --stride 8
      toolkit make-pyramid photos/ photos.h5 --resolution 1024 --min-size 1024 --near-duplicates
      toolkit make-pyramid photos/ photos.h5 --resolution 1024 --shards 16 --scheduler dask://10.0.0.1:8786
    """  # noqa: D301
    chosen = Options(
        crop=_crop(crop, box, tile, stride),
        criteria=Criteria(min_size=min_size, min_sharpness=min_sharpness, near_duplicates=near_duplicates),
        skip_bad=skip_bad or max_skipped is not None,
        max_skipped=max_skipped,
        **options,
    )
    if scheduler is not None and jobs is not None:
        raise click.UsageError("--jobs is for threads of this machine; with --scheduler the cluster has its own number")
    if scheduler is not None and not re.fullmatch(rf"{PREFIX}[^/]+:\d+", scheduler):
        raise click.UsageError(f"--scheduler {scheduler} is no address of a Dask scheduler; write {PREFIX}HOST:PORT")
    with usage_errors():
        writer_module(out)
    check_json(json_to)
    output = Output(path=out, shards=shards, encoding=encoding, overwrite=overwrite)
    if dry_run:
        estimate = estimation.estimate(source, output, chosen, jobs=jobs or num_cores(), progress=console.progress)
        console.say(facts_table(estimate.table()))
        if json_to:
            console.write_json(json_to, estimate.to_json())
        estimate.check_fits(output)
        return
    try:
        summary = build(
            source,
            output,
            chosen,
            jobs=jobs or num_cores(),
            scheduler=scheduler,
            progress=console.progress,
            say=console.say,
        )
    except KeyboardInterrupt:
        console.say("stopped before the end; run the same command again to go on")
        raise
    console.say(facts_table(summary.table()))
    if json_to:
        console.write_json(json_to, summary.to_json())


def _crop(crop: str | None, box: tuple[int, int, int] | None, tile: int | None, stride: int | None) -> Crop | None:
    """The one crop that was asked for, if any."""
    if sum(choice is not None for choice in (crop, box, tile)) > 1:
        raise click.UsageError("--crop, --box and --tile exclude each other")
    if tile is None and stride is not None:
        raise click.UsageError("--stride needs --tile")
    if tile is not None:
        return Crop("tile", tile=tile, stride=stride or tile)
    if box is not None:
        left, top, side = box
        if side < 1:
            raise click.UsageError("--box LEFT TOP SIDE: SIDE must be at least 1")
        return Crop("box", left=left, top=top, side=side)
    return None if crop is None else Crop(crop)
