"""The ``toolkit`` command: parses, calls, prints."""

from __future__ import annotations

import growgan  # guards against foreign packages of our names, so it comes first

# isort: split
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from PIL import ImageColor

from datasets import console
from datasets.atomic import check_writable
from datasets.decode import MAX_PIXELS
from datasets.errors import InputError
from toolkit import contact_sheet, inspection, sources, verification
from toolkit.build import Summary, build
from toolkit.export import Exported, export_folder, export_tfrecord
from toolkit.plan import Options
from toolkit.transforms import FILTERS, Crop
from toolkit.workers import num_cores

_PATH = click.Path(path_type=Path, readable=False)  # what cannot be read is reported where it is read
_MOST_FAULTS = 20

_json_option = click.option("--json", "json_to", metavar="FILE|-", help="Write the result as JSON; - is stdout.")
_overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(growgan.__version__, prog_name="toolkit")
def cli() -> None:
    """Make, check and show data sets for progressive growing: pyramids of every level from 4x4 up.

    \b
    Examples:
      toolkit make-pyramid photos/ photos.h5 --resolution 128
      toolkit make-pyramid galaxies.jpg galaxies.h5 --tile 32 --stride 8
      toolkit inspect photos.h5
      toolkit show photos.h5 photos.png
      toolkit verify photos.h5
      toolkit export photos.h5 photos-png --format folder
    """  # noqa: D301


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


@cli.command("make-pyramid", epilog=_epilog())
@click.argument("source", type=_PATH)
@click.argument("out", type=_PATH)
@click.option(
    "--resolution",
    type=int,
    metavar="N",
    help="Side of the finest level: a power of two from 4 to 2048. Needed unless all crops already have such a side.",
)
@click.option(
    "--crop",
    type=click.Choice(["centre", "none"]),
    help="centre (default): the largest square in the middle. none: images must be square.",
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
    help="Behind transparent images: a name or #rrggbb.",
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
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads; default one per core. Changes no byte.")
@_overwrite_option
@_json_option
def make_pyramid(
    source: Path,
    out: Path,
    crop: str | None,
    tile: int | None,
    stride: int | None,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
    **options: Any,
) -> None:
    """Make the data set OUT (.h5) from the images of SOURCE.

    Images are turned upright, brought to sRGB, cropped square, resized, and stored with every level down to 4x4, each
    the box filter of the full resolution. Bad images (damaged, too small, not square with --crop none) end the build
    unless --skip-bad is given. What became of each image stands in the ledger OUT.ledger.jsonl. Equal sources and
    options give equal bytes.

    \b
    Examples:
      toolkit make-pyramid photos/ photos.h5 --resolution 128
      toolkit make-pyramid photos/ photos.h5 --resolution 256 --shuffle 0 --skip-bad
      toolkit make-pyramid galaxies.jpg galaxies.h5 --tile 32 --stride 8
    """  # noqa: D301
    if tile is not None and crop is not None:
        raise click.UsageError("--tile and --crop exclude each other: tiles are cut from the whole image")
    if tile is None and stride is not None:
        raise click.UsageError("--stride needs --tile")
    crops = Crop(crop or "centre") if tile is None else Crop("tile", tile, stride or tile)
    _check_json(json_to)
    chosen = Options(crop=crops, **options)
    try:
        summary = build(source, out, chosen, jobs=jobs or num_cores(), overwrite=overwrite, progress=console.progress)
    except KeyboardInterrupt:
        console.say("stopped before the end, and nothing of it was left; run the same command again")
        raise
    _print_summary(summary)
    if json_to:
        console.write_json(json_to, summary.to_json())


@cli.command("inspect")
@click.argument("file", type=_PATH)
@_json_option
def inspect(file: Path, json_to: str | None) -> None:
    """Say what FILE is: counts, levels, digests, options, and where it came from.

    \b
    Examples:
      toolkit inspect photos.h5
      toolkit inspect photos.h5 --json - | jq .content_digest
    """  # noqa: D301
    _check_json(json_to)
    found = inspection.inspect(file)
    _print_inspection(found)
    if json_to:
        console.write_json(json_to, found.to_json())


@cli.command("verify")
@click.argument("file", type=_PATH)
@_json_option
def verify(file: Path, json_to: str | None) -> None:
    """Read every byte of FILE again and compare it with the digests inside; exit code 1 if anything differs.

    \b
    Examples:
      toolkit verify photos.h5
    """  # noqa: D301
    _check_json(json_to)
    found = verification.verify(file, console.progress)
    if json_to:
        console.write_json(json_to, found.to_json())
    if found.faults:
        for fault in found.faults[:_MOST_FAULTS]:
            console.say(f"  {fault}")
        if len(found.faults) > _MOST_FAULTS:
            console.say(f"  ... and {len(found.faults) - _MOST_FAULTS} more")
        count = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        raise InputError(f"{file} is damaged: {count}, the first: {found.faults[0]}; build it again")
    rows = f"{found.num_images} rows of every level ({found.bytes / 1e6:.1f} MB)"
    console.say(f"{file}: {rows} are as they were written; ledger {found.ledger}; content {found.content_digest}")


@cli.command("show")
@click.argument("file", type=_PATH)
@click.argument("out", type=_PATH)
@click.option("--num", type=click.IntRange(1, 200), default=8, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True, help="Chooses them.")
@_overwrite_option
def show(file: Path, out: Path, num: int, seed: int, overwrite: bool) -> None:
    """Draw a contact sheet of FILE into OUT.png: some images, every level side by side at equal size.

    \b
    Examples:
      toolkit show photos.h5 photos.png
      toolkit show photos.h5 more.png --num 20 --seed 1
    """  # noqa: D301
    rows = contact_sheet.show(file, out, num=num, seed=seed, overwrite=overwrite)
    console.say(f"{out}: {len(rows)} images of {file}")


@cli.command("export")
@click.argument("pyramid", type=_PATH)
@click.argument("out", type=_PATH)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["tfrecord", "folder"]),
    help="Needed. tfrecord: every level, as the 2017 TensorFlow tools read it. folder: one level as PNG files.",
)
@click.option("--resolution", type=int, metavar="N", help="Side of the level, for --format folder; default the finest.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads; default one per core. Changes no byte.")
@_json_option
def export(
    pyramid: Path, out: Path, layout: str | None, resolution: int | None, jobs: int | None, json_to: str | None
) -> None:
    """Write the images of PYRAMID into the new folder OUT, for programs that cannot read pyramids.

    tfrecord makes OUT/OUT-r02.tfrecords and so on, one file for each level; the number is log2 of the side. folder
    makes OUT/000000.png and so on, named by the number of the row, in sub-folders of 1000 if there are more. The images
    are in the order of the pyramid, and each is compared with its digest. OUT appears when it is whole.

    \b
    Examples:
      toolkit export photos.h5 photos-tf --format tfrecord
      toolkit export photos.h5 photos-png --format folder
      toolkit export photos.h5 small --format folder --resolution 32
    """  # noqa: D301
    if layout is None:
        raise click.UsageError("--format is needed: tfrecord or folder")
    if layout == "tfrecord" and resolution is not None:
        raise click.UsageError("--resolution is for --format folder: TFRecord files hold every level")
    _check_json(json_to)
    threads = jobs or num_cores()
    try:
        if layout == "tfrecord":
            done = export_tfrecord(pyramid, out, jobs=threads, progress=console.progress)
        else:
            done = export_folder(pyramid, out, resolution=resolution, jobs=threads, progress=console.progress)
    except KeyboardInterrupt:
        console.say("stopped before the end, and nothing of it was left; run the same command again")
        raise
    _print_exported(done)
    if json_to:
        console.write_json(json_to, done.to_json())


def main() -> None:
    """Run the command line."""
    console.run(cli)


def _check_json(json_to: str | None) -> None:
    """Find out before the work that the JSON cannot be written."""
    if json_to and json_to != "-":
        check_writable(json_to, overwrite=True)


def _facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one pair a line."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:{width}}  {value}" for name, value in pairs)


def _print_summary(summary: Summary) -> None:
    manifest = summary.manifest
    side = manifest.resolution
    applied = ", ".join(f"{name} {number}" for name, number in summary.applied.items())
    facts = {
        "data set": f"{summary.path} ({summary.bytes / 1e6:.1f} MB)",
        "ledger": summary.ledger,
        "images": f"{summary.images} used, {summary.skipped} skipped",
        "rows": f"{manifest.num_images} of {side}x{side}, and every level down to 4x4",
        "applied": applied or "nothing",
        "speed": f"{summary.rows_per_sec:.1f} rows/s, {summary.seconds:.1f} s in all",
        "content digest": manifest.content_digest,
    }
    console.say(_facts(facts.items()))


def _print_exported(done: Exported) -> None:
    sides = ", ".join(f"{side}x{side}" for side in done.resolutions)
    facts = {
        "folder": f"{done.path} ({done.files} files, {done.bytes / 1e6:.1f} MB)",
        "images": f"{done.num_images} of {sides}",
        "content digest": done.content_digest,
    }
    console.say(_facts(facts.items()))


def _print_inspection(found: inspection.Inspection) -> None:
    manifest = found.manifest
    side = manifest.resolution
    options = (f"{name} {value}" for name, value in manifest.options.items() if value not in (None, False))
    provenance = dict(manifest.provenance)
    libraries = provenance.pop("libraries", {})
    facts = {
        "file": f"{found.path} ({found.format}, {found.bytes / 1e6:.1f} MB)",
        "rows": f"{manifest.num_images} of {side}x{side}, {manifest.dtype} RGB",
        "content digest": manifest.content_digest,
        "options": ", ".join(options),
        **{name.replace("_", " "): value for name, value in provenance.items()},
        "libraries": ", ".join(f"{name} {version}" for name, version in libraries.items()),
    }
    console.say(_facts(facts.items()))
    levels = [(level["name"], f"{level['bytes'] / 1e6:.1f}", f" {level['sha256']}") for level in found.levels()]
    console.say("\n" + console.table(levels, header=("level", "MB", " sha256")))
    for path, reason in found.skipped or []:
        console.say(f"skipped: {reason}" if path in reason else f"skipped: {path}: {reason}")


if __name__ == "__main__":
    main()
