"""``toolkit build-celebahq``: CelebA-HQ again, from its deltas, or a set of its quality from any photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from datasets import console
from datasets.formats import writer_module
from toolkit import estimate as estimation
from toolkit.build import build
from toolkit.celebahq import mapping
from toolkit.celebahq.command_line import (
    Best,
    Request,
    choice_options,
    face_options,
    options_of,
    order_option,
    photos_in,
    split_option,
    stage_options,
)
from toolkit.celebahq.geometry import RESOLUTION
from toolkit.celebahq.released import Released
from toolkit.celebahq.subset import Subset, chosen_numbers_of, spread
from toolkit.command_line import (
    PATH,
    check_json,
    check_resolution,
    facts_table,
    interruptible,
    jobs_option,
    json_option,
    overwrite_option,
    storage_options,
    usage_errors,
)
from toolkit.engine.output import Output
from toolkit.engine.workers import num_cores
from toolkit.options import Options
from toolkit.sources import Source

_WITHOUT_DELTAS = (  # options of what the deltas have decided already
    "geometry", "faces", "min_face", "border", "artifact_model", "superres_model", "no_superres",
    "no_padding", "supersampling", "direct", "best", "order",
)  # fmt: skip
_SAMPLE = 12  # photographs that a dry run tries


@click.command("build-celebahq")
@click.argument("celeba", type=PATH)
@click.argument("out", type=PATH)
@click.option("--deltas", type=PATH, metavar="DIR", help="Folder of deltas*.zip and image_list.txt: rebuild CelebA-HQ.")
@click.option("--strict", is_flag=True, help="With --deltas: refuse an image that is not the released one to the bit.")
@click.option(
    "--delta-side",
    type=int,
    default=RESOLUTION,
    show_default=True,
    callback=check_resolution,
    metavar="N",
    help="Side in pixels of the images that the deltas are for; those of toolkit make-deltas may have another.",
)
@split_option
@face_options
@stage_options
@click.option(
    "--best",
    type=Best(),
    default="30000",
    show_default=True,
    metavar="N|all",
    help="Keep the N portraits of the best quality; all: do not judge them.",
)
@order_option
@choice_options
@click.option(
    "--shuffle",
    type=click.IntRange(0, (1 << 64) - 1),
    metavar="SEED",
    help="Shuffle the rows instead of --order.",
)
@storage_options
@click.option("--dry-run", is_flag=True, help="Only check what is there, and estimate disk, time and memory.")
@jobs_option
@overwrite_option
@json_option
def command(
    celeba: Path,
    out: Path,
    deltas: Path | None,
    strict: bool,
    delta_side: int,
    split: Any,
    best: int,
    subset: str | None,
    order: str,
    shuffle: int | None,
    skip_bad: bool,
    max_skipped: int | None,
    shards: int,
    encoding: str | None,
    dry_run: bool,
    jobs: int | None,
    overwrite: bool,
    json_to: str | None,
    **request: Any,
) -> None:
    """Make the data set OUT (.h5 or .lmdb) of portraits in the quality of CelebA-HQ from the photographs in CELEBA.

    With --deltas it is CelebA-HQ itself. CELEBA holds the photographs in the wild (img_celeba/000001.jpg and so on) and
    list_landmarks_celeba.txt; all files are checked before the first image is made. Rows whose pixels have the MD5 of
    the released image are exact. The others, of which a modern decoder changes a grey level here and there, are near,
    and the ledger holds the evidence; --strict refuses them.

    Without --deltas CELEBA is any source of photographs, of CelebA or your own. Every face goes through the stages of
    the paper's appendix C, gets a score for its quality, and the best are kept.

    What became of each image stands in the ledger OUT.ledger.jsonl, and which row is which photograph in
    OUT.mapping.csv. A build that is stopped goes on where it was when the same command is run again.

    \b
    Examples:
      toolkit build-celebahq CelebA/ celeba-hq.h5 --deltas deltas/
      toolkit build-celebahq CelebA/ celeba-hq-256.h5 --deltas deltas/ --resolution 256 --split train
      toolkit build-celebahq CelebA/ test.h5 --deltas deltas/ --subset 0-9,500 --strict
      toolkit build-celebahq CelebA/ ours.lmdb --encoding png --best 30000 --order score
      toolkit build-celebahq photos/ portraits.h5 --landmarks yunet --min-face 400 --best all --dry-run
    """  # noqa: D301
    with usage_errors():
        writer_module(out)
    check_json(json_to)
    wanted = Request(**request)
    place = Output(path=out, shards=shards, encoding=encoding, overwrite=overwrite)
    choice: dict[str, Any] = {"skip_bad": skip_bad, "max_skipped": max_skipped, "shuffle": shuffle}
    if deltas is not None:
        _refuse_given(_WITHOUT_DELTAS, "--deltas has decided it already; leave it out")
        resolution = wanted.resolution if _is_given("resolution") else delta_side
        options = options_of(resolution, 0, "source", **choice)
        landmarks = None if wanted.landmarks is None else Path(wanted.landmarks)
        whole = Released(celeba, deltas, landmarks=landmarks, strict=strict, side=delta_side, resolution=resolution)
        source = _checked(whole, chosen_numbers_of(whole, split, subset), options, jobs or num_cores())
    else:
        _refuse_given(("strict", "delta_side"), "it needs --deltas")
        options = options_of(wanted.resolution, best, order, **choice)
        photos = photos_in(celeba)
        source = Subset(photos, chosen_numbers_of(photos, split, subset))
    if dry_run:
        _estimate(source, wanted, celeba, place, options, jobs, json_to, portraits=deltas is None)
        return
    if deltas is None:
        source = wanted.portraits(source, celeba)
    with interruptible(keeps=True):
        summary = build(
            source,
            place,
            options,
            jobs=jobs or num_cores(),
            progress=console.progress,
            say=console.say,
            tables={mapping.path_of(out): mapping.write},
        )
    matches = mapping.count_matches(mapping.path_of(out))
    facts = [("mapping", mapping.path_of(out)), *((name, f"{number:,} rows") for name, number in matches.items())]
    console.say(facts_table([*summary.table(), *facts]))
    if json_to:
        about = {"mapping": str(mapping.path_of(out)), "matches": matches}
        console.write_json(json_to, {**summary.to_json(), **about})


def _checked(whole: Released, numbers: Sequence[int], options: Options, jobs: int) -> Source:
    """What is wanted of CelebA-HQ, after everything was checked."""
    from toolkit.celebahq import checks  # only now: without deltas it is not needed

    report = checks.check(whole, numbers, jobs=jobs, progress=console.progress)
    console.say(report.table())
    report.require_good(skip_bad=options.skip_bad, max_skipped=options.max_skipped)
    return Subset(whole, numbers)


def _refuse_given(names: tuple[str, ...], why: str) -> None:
    """Refuse options that were given though they would change nothing."""
    for parameter in click.get_current_context().command.params:
        if parameter.name in names and _is_given(parameter.name):
            raise click.UsageError(f"{parameter.opts[0]}: {why}")


def _is_given(name: str) -> bool:
    """Whether the user has said what an option is to be."""
    return click.get_current_context().get_parameter_source(name) not in (ParameterSource.DEFAULT, None)


def _estimate(
    source: Source,
    wanted: Request,
    celeba: Path,
    output: Output,
    options: Options,
    jobs: int | None,
    json_to: str | None,
    *,
    portraits: bool,
) -> None:
    sample, share = spread(source, _SAMPLE)
    if portraits:
        sample = wanted.portraits(sample, celeba)
    estimate = estimation.estimate(
        sample, output, options, jobs=jobs or num_cores(), progress=console.progress, share=share
    )
    console.say(facts_table(estimate.table()))
    if json_to:
        console.write_json(json_to, estimate.to_json())
    estimate.check_fits(output)
