"""Command ``append``: more rows for a data set."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from toolkit import sources
from toolkit.command_line import (
    PATH,
    check_json,
    facts_table,
    interruptible,
    jobs_option,
    json_option,
    no_labels_option,
)
from toolkit.derived import appending
from toolkit.engine.workers import num_cores


@click.command("append")
@click.argument("pyramid", type=PATH)
@click.argument("more", type=PATH)
@click.option("--as", "kind", type=click.Choice(sources.names()), metavar="SOURCE", help="Take MORE for such a source.")
@click.option(
    "--skip-bad", is_flag=True, help="Leave bad images of MORE out; otherwise the first one ends the command."
)
@no_labels_option
@jobs_option
@json_option
def command(
    pyramid: Path,
    more: Path,
    kind: str | None,
    skip_bad: bool,
    no_labels: bool,
    jobs: int | None,
    json_to: str | None,
) -> None:
    """Add the rows of MORE behind those of PYRAMID.

    MORE is another pyramid, or any source of images, which are made into rows with the options that the manifest of
    PYRAMID records. PYRAMID is replaced when all is done, and is until then as it was. That takes space for a second
    one.

    \b
    Examples:
      toolkit append photos.h5 more.lmdb
      toolkit append photos.h5 new-photos/ --skip-bad
    """  # noqa: D301
    check_json(json_to)
    with interruptible(keeps=True):
        done = appending.append(
            pyramid,
            more,
            labels=not no_labels,
            kind=kind,
            skip_bad=skip_bad,
            jobs=jobs or num_cores(),
            progress=console.progress,
            say=console.say,
        )
    console.say(facts_table(done.facts().items()))
    if json_to:
        console.write_json(json_to, done.to_json())
