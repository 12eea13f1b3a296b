"""Command ``compare``: whether two data sets are the same."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from toolkit import comparison
from toolkit.command_line import PATH, check_json, jobs_option, json_option
from toolkit.engine.workers import num_cores

_MOST_LINES = 2  # for names, labels and each level; --json has more


@click.command("compare")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--digests", is_flag=True, help="Compare the stored digests of the rows only; reads no pixel.")
@click.option("--pixels-only", is_flag=True, help="Do not compare names and labels.")
@jobs_option
@json_option
def command(a: Path, b: Path, digests: bool, pixels_only: bool, jobs: int | None, json_to: str | None) -> None:
    """Read the pyramids A and B, of any format, and compare shapes, labels, names and the pixels of every level.

    Exit code 0 if they are equal, 1 if they are not; then it is said where the first differences are, and how many.

    \b
    Examples:
      toolkit compare photos.h5 photos.lmdb
      toolkit compare mine.h5 yours.h5 --digests
    """  # noqa: D301
    check_json(json_to)
    found = comparison.compare(
        a, b, digests_only=digests, pixels_only=pixels_only, jobs=jobs or num_cores(), progress=console.progress
    )
    if json_to:
        console.write_json(json_to, found.to_json())
    for difference in found.differences:
        for line in difference.first[:_MOST_LINES]:
            console.say(f"  {difference.what}: {line}")
        if difference.count > _MOST_LINES:
            console.say(f"  {difference.what}: ... and {difference.count - _MOST_LINES} more rows")
    comparison.check_equal(found)
    how = f"{found.bytes / 1e6:.1f} MB read" if found.read_pixels else "by their digests; no pixel was read"
    console.say(f"{a} and {b} are equal: {found.num_images} rows of {len(found.resolutions)} levels ({how})")
