"""Command ``split``: one data set as several."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from datasets import console
from datasets.formats import writer_module
from toolkit.command_line import PATH, check_json, facts_table, interruptible, jobs_option, json_option, usage_errors
from toolkit.derived import splitting
from toolkit.engine.output import Output
from toolkit.engine.workers import num_cores


class _Numbers(click.ParamType[tuple[Fraction, ...]]):
    """Numbers above 0, with commas between them; as exact as they are written."""

    name = "numbers"

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Fraction, ...]:
        what = "whole numbers such as 900,100" if self._whole else "numbers such as 0.9,0.1"
        try:
            numbers = tuple(Fraction(piece.strip()) for piece in str(value).split(","))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not {what}", param, ctx)
        if min(numbers) <= 0 or (self._whole and any(number.denominator > 1 for number in numbers)):
            self.fail(f"{value!r} is not {what}, all above 0", param, ctx)
        return numbers


@click.command("split")
@click.argument("pyramid", type=PATH)
@click.argument("outs", type=PATH, nargs=-1, required=True)
@click.option("--fractions", type=_Numbers(whole=False), metavar="F,F,...", help="Share of each OUT, such as 0.9,0.1.")
@click.option("--counts", type=_Numbers(whole=True), metavar="N,N,...", help="Rows of each OUT, instead.")
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True, help="Chooses the rows.")
@click.option("--by-label", is_flag=True, help="Every class in the same proportions.")
@click.option("--encoding", type=click.Choice(["raw", "png", "webp"]), help="How LMDB stores pixels; all are lossless.")
@jobs_option
@json_option
def command(
    pyramid: Path,
    outs: tuple[Path, ...],
    fractions: tuple[Fraction, ...] | None,
    counts: tuple[Fraction, ...] | None,
    seed: int,
    by_label: bool,
    encoding: str | None,
    jobs: int | None,
    json_to: str | None,
) -> None:
    """Deal the rows of PYRAMID to the new pyramids OUTS, at random but by --seed alone.

    Rows keep their order. Rows that the shares leave over go nowhere. Tiles of one photograph may come into different
    parts. An interrupted command goes on where it was.

    \b
    Examples:
      toolkit split photos.h5 train.h5 test.h5 --fractions 0.9,0.1
      toolkit split photos.h5 train.h5 val.h5 test.h5 --counts 27000,1500,1500 --by-label --seed 7
    """  # noqa: D301
    if (fractions is None) == (counts is None):
        raise click.UsageError("pass --fractions or --counts, one of the two")
    given = len(fractions or counts or ())
    if given != len(outs):
        raise click.UsageError(f"{given} shares for {len(outs)} outputs; give every output one")
    with usage_errors():
        shares = splitting.Shares(fractions or (), tuple(int(count) for count in counts or ()))
        for out in outs:
            writer_module(out)
    check_json(json_to)
    with interruptible(keeps=True):
        parts = splitting.split(
            pyramid,
            [Output(path=out, encoding=encoding) for out in outs],
            shares,
            seed=seed,
            by_label=by_label,
            jobs=jobs or num_cores(),
            progress=console.progress,
        )
    for part in parts:
        console.say(facts_table(part.facts().items()))
    if json_to:
        console.write_json(json_to, [part.to_json() for part in parts])
