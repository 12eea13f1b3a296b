"""Command ``verify``: checks every byte of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from datasets.errors import InputError
from toolkit import verification
from toolkit.command_line import PATH, check_json, jobs_option, json_option
from toolkit.engine.workers import num_cores

_MOST_FAULTS = 20


@click.command("verify")
@click.argument("file", type=PATH)
@click.option("--rebuild-levels", is_flag=True, help="Also make every level again from the finest, and compare.")
@jobs_option
@json_option
def command(file: Path, rebuild_levels: bool, jobs: int | None, json_to: str | None) -> None:
    """Read every byte of FILE again and compare it with the digests inside; exit code 1 if anything differs.

    FILE is a pyramid of any format, or a folder of shards. Digests tell that it is as it was written;
    --rebuild-levels tells that each level is the box filter of the finest one.

    \b
    Examples:
      toolkit verify photos.h5
      toolkit verify photos.lmdb --rebuild-levels
    """  # noqa: D301
    check_json(json_to)
    found = verification.verify(
        file, rebuild_levels=rebuild_levels, jobs=jobs or num_cores(), progress=console.progress
    )
    if json_to:
        console.write_json(json_to, found.to_json())
    if found.faults:
        for fault in found.faults[:_MOST_FAULTS]:
            console.say(f"  {fault}")
        if len(found.faults) > _MOST_FAULTS:
            console.say(f"  ... and {len(found.faults) - _MOST_FAULTS} more")
        count = "1 fault" if len(found.faults) == 1 else f"{len(found.faults)} faults"
        raise InputError(f"{file} is damaged: {count}, the first: {found.faults[0]}; build it again")
    rows = f"{found.num_images} rows of every level ({found.bytes / 1e6:.1f} MB, {found.mb_per_sec:.0f} MB/s)"
    rebuilt = ", and each is the box filter of the finest" if rebuild_levels else ""
    console.say(
        f"{file}: {rows} are as they were written{rebuilt}; ledger {found.ledger}; content {found.content_digest}"
    )
