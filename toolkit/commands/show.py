"""Command ``show``: a picture of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from toolkit import contact_sheet
from toolkit.command_line import PATH, overwrite_option


@click.command("show")
@click.argument("file", type=PATH)
@click.argument("out", type=PATH)
@click.option("--num", type=click.IntRange(1, 200), default=8, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True, help="Chooses them.")
@overwrite_option
def command(file: Path, out: Path, num: int, seed: int, overwrite: bool) -> None:
    """Draw a contact sheet of FILE into OUT.png: some images, every level side by side, with their names and labels.

    \b
    Examples:
      toolkit show photos.h5 photos.png
      toolkit show photos.lmdb more.png --num 20 --seed 1
    """  # noqa: D301
    rows = contact_sheet.show(file, out, num=num, seed=seed, overwrite=overwrite)
    console.say(f"{out}: {len(rows)} images of {file}")
