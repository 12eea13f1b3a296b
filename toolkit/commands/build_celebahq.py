"""``toolkit build-celebahq``: CelebA-HQ again, from its deltas, or a set of its quality from any photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from datasets import console
from datasets.errors import InputError
from datasets.formats import writer_module
from toolkit import estimate as estimation
from toolkit.build import build
from toolkit.celebahq import checks, mapping
from toolkit.celebahq.command_line import (
    LANDMARKS,
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
from toolkit.engine.journal import path_of as journal_of
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
    or "near?" where nothing shows that the delta was made for this place of the photograph; the ledger holds the
    evidence, and --strict refuses them.

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
    _check_output(place, celeba, encoding, dry_run=dry_run)
    checked: dict[str, Any] = {}
    source: Source
    choice: dict[str, Any] = {"skip_bad": skip_bad, "max_skipped": max_skipped, "shuffle": shuffle}
    if deltas is not None:
        _refuse_given(_WITHOUT_DELTAS, "--deltas has decided it already; leave it out")
        resolution = wanted.resolution if _is_given("resolution") else delta_side
        options = options_of(resolution, 0, "source", **choice)
        whole = Released(
            celeba,
            deltas,
            landmarks=_landmarks_file(wanted.landmarks),
            strict=strict,
            side=delta_side,
            resolution=resolution,
        )
        numbers = chosen_numbers_of(whole, split, subset)
        report = checks.check(whole, numbers, jobs=jobs or num_cores(), progress=console.progress)
        console.say(report.table())
        checked = {"checks": report.to_json()}
        try:
            report.require_good(skip_bad=options.skip_bad, max_skipped=options.max_skipped)
        except InputError as error:
            if json_to:
                console.write_json(json_to, {**checked, "error": str(error)})
            raise
        source = Subset(whole, numbers)
    else:
        _refuse_given(("strict", "delta_side"), "it needs --deltas")
        options = options_of(wanted.resolution, best, order, **choice)
        photos = photos_in(celeba)
        source = Subset(photos, chosen_numbers_of(photos, split, subset))
    if dry_run:
        _estimate(source, wanted, celeba, place, options, jobs, json_to, checked, portraits=deltas is None)
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
    far_off = mapping.far_off(mapping.path_of(out))
    facts = [("mapping", mapping.path_of(out)), *((name, f"{number:,} rows") for name, number in matches.items())]
    if far_off:
        some = ", ".join(far_off[:3]) + (", ..." if len(far_off) > 3 else "")
        facts.append((f"off by over {mapping.LARGE}", f"{len(far_off):,} rows, worth a look: {some}"))
    console.say(facts_table([*summary.table(), *facts]))
    if json_to:
        about = {"mapping": str(mapping.path_of(out)), "matches": matches, "far_off": far_off}
        console.write_json(json_to, {**summary.to_json(), **about, **checked})


def _check_output(output: Output, celeba: Path, encoding: str | None, *, dry_run: bool) -> None:
    """Refuse, before anything is looked at, a data set that cannot be written."""
    allowed = writer_module(output.path).ENCODINGS
    if encoding is not None and encoding not in allowed:
        raise click.UsageError(
            f"--encoding {encoding}: {output.path.suffix.lower()} files store pixels as {', '.join(allowed)} alone; "
            "leave it out, or name an OUT.lmdb"
        )
    output.check_read(celeba)
    output.check_place(may_exist=dry_run or journal_of(output.path).exists())


def _landmarks_file(given: str | None) -> Path | None:
    """File of landmarks, for which a detector will not do."""
    from toolkit.celebahq.faces import detectors  # only now: help needs none of it

    if given is not None and given.partition(":")[0] in detectors.names() and not Path(given).exists():
        raise click.UsageError(
            f"--landmarks {given}: the deltas are made for the landmarks of CelebA, and a detector places others; name "
            f"its {LANDMARKS}, or leave --landmarks out if that lies in CELEBA"
        )
    return None if given is None else Path(given)


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
    checked: dict[str, Any],
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
        console.write_json(json_to, {**estimate.to_json(), **checked})
    estimate.check_fits(output)
