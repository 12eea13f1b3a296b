"""The exporting command, ``python training/export.py RUN OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click

from datasets import console
from datasets.levels import resolution_of
from training.exporting import FORMATS, Format, export


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Repeatable; all of them if not given."
)
@click.option("--resolution", type=click.IntRange(min=4), metavar="R", help="Level; the one reached if not given.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Fixed number of images; any if not given.")
@click.option("--bits", type=click.Choice(["32", "8"]), default="32", show_default=True, help="Of a graph's images.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def cli(
    run: Path,
    out: Path,
    formats: tuple[Format, ...],
    resolution: int | None,
    batch: int | None,
    *,
    bits: str,
    overwrite: bool,
) -> None:
    """Write a run's averaged generator as OUT.safetensors, OUT.onnx and OUT.pt2 (torch.export), with OUT.json.

    RUN is a run directory (its newest whole checkpoint is taken) or one checkpoint, imported ones included. Every file
    is read back and must draw what the generator draws, or none is written. OUT.json says what goes in and comes out.
    ONNX needs the packages of growgan[export].

    \b
    Examples:
      python training/export.py runs/demo demo
      python training/export.py runs/demo small --resolution 32 --format onnx --batch 1
      python training/export.py runs/demo images --format onnx --bits 8
      python training/export.py celebahq.safetensors celebahq-1024 --format safetensors --format pt2
    """  # noqa: D301  # click wants its \b as the character
    done = export(
        run,
        out,
        formats=formats or FORMATS,
        resolution=resolution,
        batch=batch,
        bits=int(bits),
        overwrite=overwrite,
    )
    side = resolution_of(done.level)
    rows = [
        [str(file), f"{file.stat().st_size:,}", _shown(done.differences.get(kind))] for kind, file in done.files.items()
    ]
    console.say(console.table(rows, ["file", "bytes", "largest difference"]))
    fading = "" if done.alpha == 1.0 else f", fading in (alpha {done.alpha:.3f})"
    scale = "[-1, 1]" if bits == "32" else "[-1, 1], or of graphs [0, 255]"
    console.say(f"generator of {side}x{side}{fading}; differences are to its own images, whose range is {scale}")


def _shown(difference: float | None) -> str:
    return "" if difference is None else f"{difference:.2g}"


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
