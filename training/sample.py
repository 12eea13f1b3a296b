"""The sampling command, ``python training/sample.py RUN OUT``, and the image-set plug-in of ``metrics``."""

from __future__ import annotations

import sys
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
from training.options import Cells, Layout, LayoutType, LimitList, NumberList, arrange, generator_options
from training.sampler import GeneratorImageSet, Sampler


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
@click.option("--nearest", default=6, show_default=True, type=click.IntRange(1, 100), help="How many of them.")
@click.option("--by", default=PIXELS, show_default=True, help="Compare pixels, or features of a network of metrics.")
@click.option("--compare-at", type=click.IntRange(min=4), metavar="R", help="Compare pixels at RxR, such as 16.")
@click.option("--gap", default=0, show_default=True, type=click.IntRange(0, 64), help="White pixels between cells.")
@click.option("--zoom", default=1, show_default=True, type=click.IntRange(1, 64), help="Enlarge a picture's pixels.")
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
    nearest: int,
    by: str,
    compare_at: int | None,
    gap: int,
    zoom: int,
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
    asked = {"--neighbours": data, "--truncation-rows": limits, "--grid": None if class_rows else layout}
    if limits and (class_rows or any(one is not None for one in (data, truncation, layout))):
        raise InputError(
            "--truncation-rows goes with none of --truncation, --class-rows, --grid and --neighbours; --num or "
            "--numbers say how many columns there are"
        )
    if is_picture:
        atomic.check_writable(out, overwrite=overwrite)
    elif needs := [option for option, value in asked.items() if value is not None]:
        raise InputError(f"{needs[0]} makes one picture; let {out} end in .png")
    else:
        check_new_folder(out)
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
                nearest,
                by=by,
                resolution=compare_at,
                cache_folder=cache.default_folder(),
                progress=bar,
            )
        save_png(out, enlarged(picture(samples, reals, found.samples), zoom))
        console.say(describe(found, cells))
    elif is_picture:
        save_png(out, enlarged(grid_of(sampler, seed, cells, limits, gap), zoom))
    else:
        write_samples(sampler, out, cells, seed)
    size = f"{sampler.resolution}x{sampler.resolution}"
    console.say(f"{len(cells.numbers) * len(limits or [0])} images of {size} from {checkpoint} in {out}")


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
        If `out` exists and is not an empty folder, or cannot be written.
    """
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
