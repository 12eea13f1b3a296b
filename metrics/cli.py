"""The ``metrics`` command: parses, calls, prints."""

from __future__ import annotations

import growgan  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import functools
from pathlib import Path
from typing import Any

import click

from datasets import console
from datasets.atomic import check_writable
from metrics import scores
from metrics.evaluate import evaluate
from metrics.images import open_image_set
from metrics.result import lines


class _Commands(click.Group):
    """One command per file in metrics/scores, and `report`; a module is imported when its command is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*scores.names(), *super().list_commands(context)])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _metric_command(name) if name in scores.names() else super().get_command(context, name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(growgan.__version__, prog_name="metrics")
def cli() -> None:  # the escape below is click's mark for text that keeps its lines
    """Score images of a generator: how far they are from real ones, and how varied.

    Image sets are folders of images, pyramids (toolkit make-pyramid), run directories and checkpoints.

    \b
    Examples:
      metrics swd photos.h5 runs/demo
      metrics ms-ssim runs/demo --reference photos.h5 --json -
      metrics report runs/demo
    """  # noqa: D301


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="HTML file to write; RUN/report.html if not given.")
def report(run: Path, out: Path | None) -> None:
    """Write the report of a training run: one HTML file, pictures included.

    \b
    Examples:
      metrics report runs/demo
      metrics report runs/demo --out demo.html
    """  # noqa: D301
    from metrics.report import write_report

    console.say(f"the report is {write_report(run, out)}")


def _metric_command(name: str) -> click.Command:
    """Command of one metric, from what its class says of itself."""
    score, path = scores.load(name), click.Path(path_type=Path)
    sets: list[click.Parameter]
    if score.two_sets:
        sets = [click.Argument(["real"], type=path), click.Argument(["fake"], type=path)]
        examples = ("photos.h5 runs/demo", "photos/ samples/ --num-images 2000 --json result.json")
    else:
        reference = "Another set, as a rule the real images, to print the same number of beside it."
        sets = [
            click.Argument(["fake"], metavar="SET", type=path),
            click.Option(["--reference", "real"], type=path, help=reference),
        ]
        examples = ("runs/demo --reference photos.h5", "samples/ --num-images 2000 --json -")
    own = [
        click.Option([f"--{option.name}"], default=option.default, show_default=True, help=option.help)
        for option in score.options
    ]

    def measure(
        real: Path | None,
        fake: Path,
        num_images: int | None,
        seed: int,
        resolution: int | None,
        batch_size: int | None,
        json: str | None,
        **options: Any,
    ) -> None:
        if json not in (None, "-"):
            check_writable(json, overwrite=True)
        open_set = functools.partial(open_image_set, num_images=num_images, seed=seed, resolution=resolution)
        (found,) = evaluate(
            [name],
            None if real is None else open_set(real),
            open_set(fake),
            num_images=num_images,
            seed=seed,
            batch_size=batch_size,
            options={name: options},
            progress=console.progress,
        )
        console.say(lines(found, score.title))
        if json is not None:
            console.write_json(json, found)

    text = [score.summary, "\b\nExamples:\n" + "\n".join(f"  metrics {name} {example}" for example in examples)]
    return click.Command(
        name, params=[*sets, *_common_options(), *own], callback=measure, help="\n\n".join(text), short_help=score.title
    )


def _common_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--num-images"], type=click.IntRange(min=1), help="Images of each set; the protocol's number if not given."
        ),
        click.Option(
            ["--seed"],
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Of the choice of images and of the metric.",
        ),
        click.Option(
            ["--resolution"], type=click.IntRange(min=1), help="Side in pixels to measure at: a level of a pyramid."
        ),
        click.Option(
            ["--batch-size"], type=click.IntRange(min=1), help="Images read at a time; does not change the value."
        ),
        click.Option(["--json"], metavar="FILE|-", help="Write the result here too; - is stdout."),
    ]


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
