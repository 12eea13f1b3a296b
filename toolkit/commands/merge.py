"""Command ``merge``: several data sets as one."""

from __future__ import annotations

from pathlib import Path

import click

from datasets import console
from datasets.formats import writer_module
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    facts_table,
    interruptible,
    jobs_option,
    json_option,
    no_labels_option,
    overwrite_option,
    storage_options,
    usage_errors,
)
from toolkit.derived import merging
from toolkit.engine.output import Output
from toolkit.engine.workers import num_cores


@click.command("merge")
@click.argument("out", type=PATH)
@click.argument("pyramids", type=PATH, nargs=-1, required=True)
@click.option(
    "--resolution",
    type=int,
    callback=check_resolution,
    metavar="N",
    help="Side of the finest level; needed if it is not the same in all.",
)
@storage_options
@no_labels_option
@jobs_option
@overwrite_option
@json_option
def command(
    out: Path,
    pyramids: tuple[Path, ...],
    resolution: int | None,
    encoding: str | None,
    shards: int,
    no_labels: bool,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
) -> None:
    """Write the rows of all PYRAMIDS, one after the other, into the new pyramid OUT.

    If they have different classes, OUT has all of them, matched by their names. Its manifest holds the manifests of its
    parts. An interrupted command goes on where it was.

    \b
    Examples:
      toolkit merge all.h5 cats.h5 dogs.h5
      toolkit merge all.lmdb old.h5 new.h5 newer.lmdb --encoding webp
      toolkit merge small.h5 faces-1024.h5 faces-256.h5 --resolution 256
    """  # noqa: D301
    with usage_errors():
        writer_module(out)
    check_json(json_to)
    output = Output(path=out, shards=shards, encoding=encoding, overwrite=overwrite)
    with interruptible(keeps=True):
        done = merging.merge(
            pyramids,
            output,
            resolution=resolution,
            labels=not no_labels,
            jobs=jobs or num_cores(),
            progress=console.progress,
        )
    console.say(facts_table(done.facts().items()))
    if json_to:
        console.write_json(json_to, done.to_json())
