"""The importing command, ``python training/import_checkpoint.py FILE OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click

from datasets import console
from datasets.atomic import check_writable
from datasets.errors import InputError
from datasets.levels import resolution_of
from training import checkpoint
from training.importing import import_generator


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--trained", is_flag=True, help="Take the generator itself, not its moving average.")
@click.option("--resolution", type=click.IntRange(min=4), metavar="R", help="Level to draw, if the file does not say.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def cli(file: Path, out: Path, resolution: int | None, *, trained: bool, overwrite: bool) -> None:
    """Read the generator in FILE, of another program, into the checkpoint OUT.safetensors.

    FILE is a pickle of the TensorFlow release of 2018 (network-*.pkl), or a checkpoint of pytorch_GAN_zoo's PGAN (*.pt)
    or of pro_gan_pytorch (*.bin, GAN_GEN*.pth). Nothing in it is run, and TensorFlow is not needed. OUT can then be
    named wherever a checkpoint can: to sample, to measure, to export.

    \b
    Examples:
      python training/import_checkpoint.py network-final.pkl celebahq.safetensors
      python training/import_checkpoint.py depth_6_epoch_40.bin faces.safetensors --resolution 64
      python training/sample.py celebahq.safetensors samples --num 100
      metrics swd celebahq.safetensors reals.h5
    """  # noqa: D301  # click wants its \b as the character
    if out.suffix != ".safetensors":
        raise InputError(f"{out} must end in .safetensors, by which the other commands know a checkpoint")
    check_writable(out, overwrite=overwrite)
    saved, found = import_generator(file, average=not trained, resolution=resolution)
    checkpoint.save(out, saved)
    for note in found.notes:
        console.say(f"note: {note}")
    side, numbers = resolution_of(found.level), sum(tensor.numel() for tensor in found.tensors.values())
    fading = f", fading in ({found.alpha:.3f})" if found.alpha < 1 else ""
    classes = f", {found.num_classes} classes" if found.num_classes else ""
    console.say(f"generator of {found.layout}: {side}x{side}{fading}{classes}, {numbers:,} parameters, in {out}")


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
