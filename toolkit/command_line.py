"""What the commands of ``toolkit`` share: options, parameter types, and how facts are printed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from datasets import console
from datasets.atomic import check_writable
from datasets.errors import InputError
from datasets.levels import level_of

PATH = click.Path(path_type=Path, readable=False)  # what cannot be read is reported where it is read


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Call what is at fault wrong usage: of arguments that are wrong whatever the data are."""
    try:
        yield
    except InputError as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from None


def check_resolution(_context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """Refuse a side that no pyramid can have: a callback of ``--resolution`` and its like."""
    if value is not None:
        with usage_errors():
            level_of(value, option.opts[0])
    return value


json_option = click.option("--json", "json_to", metavar="FILE|-", help="Write the result as JSON; - is stdout.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
jobs_option = click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Threads; default one per core. Changes no byte."
)
no_labels_option = click.option("--no-labels", is_flag=True, help="Leave the labels out.")
_shards_option = click.option(
    "--shards", type=click.IntRange(1), default=1, metavar="N", help="Make a folder of N files instead of one."
)
_encoding_option = click.option(
    "--encoding", type=click.Choice(["raw", "png", "webp"]), help="How LMDB stores pixels; all are lossless."
)


def storage_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how a pyramid is stored."""
    return _shards_option(_encoding_option(command))


@contextlib.contextmanager
def interruptible(*, keeps: bool) -> Iterator[None]:
    """Say, if the work is interrupted, what the same command will do."""
    try:
        yield
    except KeyboardInterrupt:
        how = "run the same command again to go on" if keeps else "nothing of it was left; run the same command again"
        console.say(f"stopped before the end; {how}")
        raise


def check_json(json_to: str | None) -> None:
    """Find out before the work that the JSON cannot be written."""
    if json_to and json_to != "-":
        check_writable(json_to, overwrite=True)


def facts_table(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one pair a line."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:{width}}  {value}" for name, value in pairs)
