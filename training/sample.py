"""The sampling command, ``python training/sample.py RUN OUT``, and the image-set plug-in of ``metrics``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click
import numpy as np
from PIL import Image

from datasets import console
from datasets.errors import InputError
from training.sampler import GeneratorImageSet, Sampler


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--num", default=64, show_default=True, type=click.IntRange(min=1), help="Number of images.")
@click.option("--seed", default=0, show_default=True, help="Image k of a seed is always the same image.")
def cli(run: Path, out: Path, num: int, seed: int) -> None:
    """Write images of a run's averaged generator as PNG files into the new folder OUT.

    RUN is a run directory (its newest whole checkpoint is taken) or one checkpoint.

    \b
    Examples:
      python training/sample.py runs/demo samples --num 1000 --seed 1
      python training/sample.py runs/demo/checkpoints/checkpoint-000060000.safetensors samples
    """  # noqa: D301  # click wants its \b as the character
    sampler, checkpoint = Sampler.from_path(run)
    write_samples(sampler, out, num, seed)
    console.say(f"{num} images of {sampler.resolution}x{sampler.resolution} from {checkpoint} in {out}")


def write_samples(sampler: Sampler, out: Path, num: int, seed: int) -> None:
    """Write `num` PNG files into a folder that appears under its name only when it is complete.

    Raises
    ------
    InputError
        If `out` exists and is not an empty folder, or cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists already; name a new or empty folder for the samples")
    if not out.absolute().parent.is_dir():
        raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; create it first")
    temporary = out.absolute().with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed call
    try:
        temporary.mkdir()
        with console.progress(num, "sampling") as bar:
            for start in range(0, num, sampler.block):
                rows = np.arange(start, min(start + sampler.block, num))
                for k, pixels in zip(rows, sampler.images(seed, rows), strict=True):
                    Image.fromarray(pixels.transpose(1, 2, 0)).save(temporary / f"{k:06d}.png")
                    bar.update(1)
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_image_set(path: Path, *, num_images: int | None, seed: int) -> GeneratorImageSet | None:  # noqa: ARG001
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
    sampler, checkpoint = Sampler.from_path(path)
    return GeneratorImageSet(sampler, str(checkpoint), seed)


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
