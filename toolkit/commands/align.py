"""``toolkit align``: aligned portraits as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datasets import console
from toolkit.celebahq.aligning import align
from toolkit.celebahq.command_line import (
    Best,
    Request,
    choice_options,
    face_options,
    options_of,
    photos_in,
    stage_options,
)
from toolkit.celebahq.subset import Subset, chosen_numbers_of
from toolkit.command_line import (
    PATH,
    check_json,
    facts_table,
    interruptible,
    jobs_option,
    json_option,
    overwrite_option,
)
from toolkit.engine.workers import num_cores


@click.command("align")
@click.argument("photos", type=PATH)
@click.argument("out", type=PATH)
@face_options
@stage_options
@click.option("--best", type=Best(), default="all", metavar="N|all", help="Keep the N portraits of the best quality.")
@choice_options
@jobs_option
@overwrite_option
@json_option
def command(
    photos: Path,
    out: Path,
    best: int,
    subset: str | None,
    skip_bad: bool,
    max_skipped: int | None,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
    **request: Any,
) -> None:
    """Cut aligned portraits from PHOTOS, and write them into the folder OUT as PNG files.

    PHOTOS is a folder of photographs, an archive, or any other source of images that make-pyramid reads. Every face is
    turned upright, cut out like those of CelebA-HQ (or FFHQ), and continued beyond the border of its photograph where
    need be. Photographs without a face, and faces that the options do not want, are left out; what became of each
    stands in the ledger OUT.ledger.jsonl. Equal photographs and options give equal files.

    A run that is stopped, by an error or a kill, goes on where it was when the same command is run again.

    \b
    Examples:
      toolkit align photos/ portraits/ --landmarks yunet
      toolkit align photos/ portraits/ --landmarks yunet --faces all --min-face 256 --border skip
      toolkit align photos/ portraits/ --landmarks dlib68 --geometry ffhq --resolution 512
      toolkit align photos.zip portraits/ --landmarks landmarks.csv --best 1000
    """  # noqa: D301
    check_json(json_to)
    wanted = Request(**request)
    options = options_of(wanted.resolution, best, "source", skip_bad=skip_bad, max_skipped=max_skipped)
    source = photos_in(photos)
    source = wanted.portraits(Subset(source, chosen_numbers_of(source, None, subset)), photos)
    with interruptible(keeps=True):
        done = align(
            source,
            out,
            options,
            jobs=jobs or num_cores(),
            progress=console.progress,
            overwrite=overwrite,
            say=console.say,
        )
    console.say(facts_table(done.table()))
    if json_to:
        console.write_json(json_to, done.to_json())
