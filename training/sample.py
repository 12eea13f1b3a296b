"""The sampling command, ``python training/sample.py RUN OUT``, and the image-set plug-in of ``metrics``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets import atomic, console
from datasets.errors import InputError
from metrics import cache
from training.frames import check_new_folder, enlarged
from training.grid import save_png, tile
from training.moment import checkpoint_at
from training.neighbours import PIXELS, Neighbours, find_neighbours, open_reals, picture
from training.options import (
    Cells,
    Layout,
    LayoutType,
    LimitList,
    NumberList,
    arrange,
    check_creatable,
    generator_options,
)
from training.sampler import GeneratorImageSet, Sampler

_EXCLUDED = {  # an option, and those that would say nothing beside it
    "--truncation-rows": ("--truncation", "--class-rows", "--grid", "--neighbours"),
    "--neighbours": ("--grid", "--gap"),
    "--numbers": ("--num",),
    "--class-rows": ("--num",),
}
_HINTS = {
    "--truncation-rows": "--num or --numbers say how many columns there are",
    "--neighbours": "every row is a sample and its --nearest",
    "--class-rows": "--numbers or --grid say how many columns there are",
}
_OF_NEIGHBOURS = ("--nearest", "--by", "--weights", "--compare-at")
_OF_A_PICTURE = ("--neighbours", "--truncation-rows", "--grid", "--gap", "--zoom")
# Of pictures, films, archives and data: a folder called so would be a slip.
_OTHER_ENDINGS = (
    ".jpg .jpeg .jpe .jfif .apng .webp .bmp .gif .tif .tiff .avif .heic .ppm .pdf .svg .mp4 .mov .avi .mkv .webm "
    ".npy .npz .pt .pth .pt2 .onnx .pkl .safetensors .zip .tar .gz .tgz .h5 .hdf5 .lmdb .json .yaml .csv .txt .html"
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--num", type=click.IntRange(min=1), help="Number of images.  [default: 64; 8 with --neighbours]")
@click.option("--numbers", type=NumberList(), metavar="LIST", help="Only these images of the seed, such as 3,17,85-90.")
@click.option("--grid", "layout", type=LayoutType(), help="Layout of a picture: 8x4 (columns x rows), or 8 (columns).")
@click.option("--class-rows", is_flag=True, help="Every row shows one class, every column one latent.")
@generator_options
@click.option(
    "--truncation-rows",
    "limits",
    type=LimitList(),
    metavar="LIST",
    help="Every row shows one limit of truncation, such as none,1,0.3, every column one latent.",
)
@click.option(
    "--neighbours",
    "data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Show each sample beside the nearest images of DATA, a pyramid or another set of real images.",
)
@click.option("--nearest", type=click.IntRange(1, 100), help="How many of them.  [default: 6]")
@click.option("--by", help="Compare pixels, or features of a network of metrics.  [default: pixels]")
@click.option("--weights", metavar="FILE", help="Weights of that network.  [default: the published ones]")
@click.option("--compare-at", type=click.IntRange(min=4), metavar="R", help="Compare pixels at RxR, such as 16.")
@click.option("--gap", type=click.IntRange(0, 64), help="White pixels between a picture's cells.  [default: 0]")
@click.option("--zoom", type=click.IntRange(1, 64), help="Enlarge a picture's pixels.  [default: 1]")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is a picture.")
def cli(
    run: Path,
    out: Path,
    *,
    num: int | None,
    numbers: list[int] | None,
    layout: Layout | None,
    class_rows: bool,
    at: int | None,
    resolution: int | None,
    seed: int,
    truncation: float | None,
    labels: list[int] | None,
    limits: list[float | None] | None,
    data: Path | None,
    nearest: int | None,
    by: str | None,
    weights: str | None,
    compare_at: int | None,
    gap: int | None,
    zoom: int | None,
    overwrite: bool,
) -> None:
    """Draw images of a run's averaged generator: a new folder of PNG files, or one picture if OUT ends in .png.

    RUN is a run directory (its newest whole checkpoint is taken) or one checkpoint.

    \b
    Examples:
      python training/sample.py runs/demo samples --num 1000 --seed 1
      python training/sample.py runs/demo/checkpoints/checkpoint-000060000.safetensors samples
      python training/sample.py runs/demo grid.png --grid 8x4 --truncation 0.7
      python training/sample.py runs/demo chosen.png --numbers 3,17,85-90 --resolution 16
      python training/sample.py runs/digits classes.png --class-rows --grid 10 --gap 2
      python training/sample.py runs/demo truncated.png --truncation-rows none,1,0.3 --num 10
      python training/sample.py runs/demo copies.png --neighbours galaxies.h5 --compare-at 16
    """  # noqa: D301  # click wants its \b as the character
    is_picture = out.suffix.lower() == ".png"
    values = {
        "--truncation-rows": limits,
        "--truncation": truncation,
        "--class-rows": class_rows or None,
        "--neighbours": data,
        "--nearest": nearest,
        "--by": by,
        "--weights": weights,
        "--compare-at": compare_at,
        "--num": num,
        "--numbers": numbers,
        "--grid": layout,
        "--gap": gap,
        "--zoom": zoom,
    }
    asked = [option for option, value in values.items() if value is not None]
    check_options(asked, layout, out)
    if is_picture:
        atomic.check_writable(out, overwrite=overwrite)
    else:
        check_new_folder(out)
    check_creatable(out)
    sampler, checkpoint = Sampler.from_path(checkpoint_at(run, at, resolution), truncation=truncation)
    cells = arrange(
        sampler,
        numbers=numbers,
        num=num or (8 if data is not None or limits else 64),
        layout=layout,
        labels=labels,
        class_rows=class_rows,
    )
    if data is not None:
        reals = open_reals(data, sampler.resolution)
        samples = sampler.images(seed, cells.numbers, cells.classes)
        with console.progress(reals.num_images, "comparing") as bar:
            found = find_neighbours(
                samples,
                reals,
                nearest or 6,
                by=by or PIXELS,
                resolution=compare_at,
                weights=[weights] if weights else [],
                cache_folder=cache.default_folder(),
                progress=bar,
            )
        write_picture(out, enlarged(picture(samples, reals, found.samples), zoom or 1))
        console.say(describe(found, cells))
    elif is_picture:
        write_picture(out, enlarged(grid_of(sampler, seed, cells, limits, gap or 0), zoom or 1))
    else:
        write_samples(sampler, out, cells, seed)
    size = f"{sampler.resolution}x{sampler.resolution}"
    console.say(f"{len(cells.numbers) * len(limits or [0])} images of {size} from {checkpoint} in {out}")


def check_options(asked: Sequence[str], layout: Layout | None, out: Path) -> None:
    """Refuse options that would say nothing beside the others.

    Parameters
    ----------
    asked : sequence of str
        Options that were given.
    layout : Layout, optional
        What ``--grid`` says.
    out : Path
        A picture if it ends in .png; a folder if it has no ending, or one that is no format's.

    Raises
    ------
    InputError
        For the first of them.
    """
    for option, others in _EXCLUDED.items():
        if option in asked and (wrong := [other for other in others if other in asked]):
            hint = _HINTS.get(option, "leave one of them out")
            raise InputError(f"{option} does not go with {wrong[0]}; {hint}")
    if layout is not None and layout.rows is not None and "--num" in asked:
        raise InputError("--num does not go with both sides of --grid, which say how many; leave one of them out")
    if "--neighbours" not in asked and (wrong := [option for option in asked if option in _OF_NEIGHBOURS]):
        raise InputError(f"{wrong[0]} goes with --neighbours DATA; add that, or leave it out")
    if out.suffix.lower() == ".png":
        return
    if out.suffix.lower() in _OTHER_ENDINGS.split():
        raise InputError(f"{out}: end in .png for one picture, or name a folder (without {out.suffix}) for PNG files")
    of_a_picture = [one for one in _OF_A_PICTURE if one in asked and (one != "--grid" or "--class-rows" not in asked)]
    if of_a_picture:
        verb = "is for" if of_a_picture[0] in ("--gap", "--zoom") else "makes"
        raise InputError(f"{of_a_picture[0]} {verb} one picture; let {out} end in .png")


def write_picture(out: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture (H, W, 3); an error of the system is one line."""
    with atomic.system_errors(out):
        save_png(out, picture)


def grid_of(
    sampler: Sampler, seed: int, cells: Cells, limits: list[float | None] | None = None, gap: int = 0
) -> NDArray[np.uint8]:
    """Picture (height, width, 3) of cells; with `limits` of truncation, all cells in one row for each of them."""
    if limits is None:
        return tile(sampler.images(seed, cells.numbers, cells.classes), cells.columns, gap)
    rows = [sampler.with_truncation(limit).images(seed, cells.numbers, cells.classes) for limit in limits]
    return tile(np.concatenate(rows), len(cells.numbers), gap)


def write_samples(sampler: Sampler, out: Path, cells: Cells, seed: int) -> None:
    """Write PNG files, named by number and class, into a folder that appears only when it is complete.

    Raises
    ------
    InputError
        If `out` exists and is not an empty folder, or cannot be written; if an image is asked for twice.
    """
    drawn = cells.numbers if cells.classes is None else np.stack([cells.numbers, cells.classes], axis=1)
    different, counts = np.unique(drawn, axis=0, return_counts=True)
    if len(different) < len(drawn):
        number = np.ravel(different[counts.argmax()])[0]
        raise InputError(f"image {number} is asked for {counts.max()} times, and a folder holds it once; name it once")
    with atomic.new_folder(out) as folder, console.progress(len(cells.numbers), "sampling") as bar:
        for start in range(0, len(cells.numbers), sampler.block):
            part = slice(start, start + sampler.block)
            classes = None if cells.classes is None else cells.classes[part]
            for k, pixels in enumerate(sampler.images(seed, cells.numbers[part], classes)):
                name = f"{cells.numbers[start + k]:06d}" + ("" if classes is None else f"-class{classes[k]}")
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{name}.png")
                bar.update(1)


def describe(found: Neighbours, cells: Cells) -> str:
    """Table of samples and their nearest reals, and how far these are from each other."""
    rows = [
        [number, *(f"{row} ({distance:.3g})" for row, distance in zip(near, far, strict=True))]
        for number, near, far in zip(
            cells.numbers, found.samples.rows[:, :3], found.samples.distances[:, :3], strict=True
        )
    ]
    samples, reals = (float(np.median(one.distances[:, 0])) for one in (found.samples, found.reals))
    table = console.table(rows, ["sample", "nearest real (distance)"])
    return (
        f"{table}\n{found.by}: a sample's nearest real is at {samples:.3g}, a real's nearest other real at {reals:.3g} "
        "(medians)"
    )


def open_image_set(
    path: Path,
    *,
    num_images: int | None,  # noqa: ARG001
    seed: int,
    truncation: float | None = None,
) -> GeneratorImageSet | None:
    """Plug-in of ``metrics.image_sets``: a run directory or a checkpoint as an image set, None for anything else.

    Raises
    ------
    InputError
        If it is a run or a checkpoint that cannot be read.
    """
    is_run = (path / "config.yaml").is_file() and (path / "checkpoints").is_dir()
    is_checkpoint = path.is_file() and path.suffix == ".safetensors"
    if not (is_run or is_checkpoint):
        return None
    sampler, checkpoint = Sampler.from_path(path, truncation=truncation)
    return GeneratorImageSet(sampler, str(checkpoint), seed)


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
