"""The ``metrics`` command: parses, calls, prints."""

from __future__ import annotations

import growgan  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import dataclasses
from pathlib import Path
from typing import Any

import click

from datasets import console
from datasets.atomic import check_writable
from metrics import scores

_PATH = click.Path(path_type=Path)
_OF_SETS = ("num_images", "seed", "resolution", "truncation", "skip_bad")  # options that decide the images


class _Commands(click.Group):
    """One command per file in metrics/scores, one for all, and a few others; each imports its modules when asked."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*scores.names(), "all", *super().list_commands(context)])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "all":
            return _all_command()
        found = scores.name_of(name)
        return super().get_command(context, name) if found is None else _metric_command(found)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(growgan.__version__, prog_name="metrics")
def cli() -> None:  # the escape below is click's mark for text that keeps its lines
    """Score images of a generator: how far they are from real ones, and how varied.

    Image sets are folders and archives of images, pyramids (toolkit make-pyramid), NumPy files, run directories and
    checkpoints; for metrics on features also files of features or statistics.

    \b
    Examples:
      metrics swd photos.h5 runs/demo
      metrics ms-ssim runs/demo --reference photos.h5 --json -
      metrics fid photos/ samples.zip --weights pt_inception-2015-12-05-6726825d.pth
      metrics all photos.h5 runs/demo --extractor efficientnet-lite0
      metrics compare before.json after.json
      metrics report runs/demo
      metrics modes runs/mnist-rgb --weights digits.safetensors
    """  # noqa: D301


@cli.command()
@click.argument("run", type=_PATH)
@click.option("--out", type=_PATH, help="HTML file to write; RUN/report.html if not given.")
@click.option(
    "--evaluation",
    "evaluations",
    type=_PATH,
    multiple=True,
    metavar="FILE",
    help="Show these results of --json too; RUN/evaluation*.json are shown by themselves.",
)
def report(run: Path, out: Path | None, evaluations: tuple[Path, ...]) -> None:
    """Write the report of a training run: one HTML file, pictures included.

    \b
    Examples:
      metrics report runs/demo
      metrics report runs/demo --out demo.html
      metrics all photos.h5 runs/demo --json runs/demo/evaluation.json && metrics report runs/demo
    """  # noqa: D301
    from metrics.report import write_report

    console.say(f"the report is {write_report(run, out, evaluations)}")


@cli.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option("--json", metavar="FILE|-", help="Write the comparison here too; - is stdout.")
def compare_command(first: Path, second: Path, json: str | None) -> None:
    """Say whether two results that --json wrote may be compared, and whether they differ by more than chance.

    \b
    Examples:
      metrics compare before.json after.json
    """  # noqa: D301
    from metrics.comparison import compare, match, read_results

    _check_json(json)
    found = [compare(*pair) for pair in match(read_results(first), read_results(second), first, second)]
    for one in found:
        console.say(f"{one.metric}: {one.values[0]:.6g} and {one.values[1]:.6g}, {one.verdict}")
        for text in (*one.obstacles, *one.notes):
            console.say(f"  {text}")
    if json is not None:
        console.write_json(json, [one.to_json() for one in found])


def _run_metrics(
    names: list[str],
    real: Path | None,
    fake: Path,
    *,
    json: str | None,
    plot: Path | None,
    all_that_apply: bool,
    **given: Any,
) -> None:
    """Measure, print and write the results."""
    from metrics import canvas, plots, sharing
    from metrics.measuring import measure
    from metrics.result import lines

    _check_json(json)
    if plot is not None:
        canvas.check_target(plot)
    sharing.start()
    try:
        found = measure(names, real, fake, progress=console.progress, all_that_apply=all_that_apply, **given)
        if sharing.rank() != 0:
            return
        for one in found.results:
            console.say(lines(one, scores.title_of(one["metric"])) + ("\n" if all_that_apply else ""))
        for name, reason in found.skipped.items():
            console.say(f"{name} was left out: {reason}")
        for note in found.notes:
            console.say(note)
        if plot is not None:
            plots.write(plot, found.results, found.picture)
        if json is not None:
            console.write_json(json, found.results if all_that_apply else found.results[0])
    finally:
        sharing.stop()


@cli.command("train-digits")
@click.argument("digits", type=_PATH)
@click.argument("out", metavar="OUT.safetensors", type=_PATH)
@click.option("--test", type=_PATH, metavar="PYRAMID", help="Find the error on these, not on a sixth of DIGITS.")
@click.option("--epochs", type=click.IntRange(min=1), default=5, show_default=True, help="Passes over the images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights, order and shifts.")
@click.option("--device", default="cpu", show_default=True, help="Where it is trained, such as cuda.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def train_digits(digits: Path, out: Path, **given: Any) -> None:
    """Train the network that counts modes (metrics modes) on DIGITS, a pyramid of MNIST, and print how often it errs.

    \b
    Examples:
      toolkit make-pyramid MNIST/ mnist.h5
      metrics train-digits mnist.h5 digits.safetensors
      metrics modes runs/mnist-rgb --weights digits.safetensors
    """  # noqa: D301
    from metrics.digit_training import train_file

    record = train_file(digits, out, progress=console.progress, **given)
    error, count = record["held_out_error"], record["held_out_images"]
    deviation = (error * (1 - error) / count) ** 0.5
    console.say(f"it misreads {100 * error:.2f}% (+- {100 * deviation:.2f}%) of {count} images that it was not shown")
    console.say(f"the weights are in {out}")


def _metric_command(name: str) -> click.Command:
    """Command of one metric, from what its class says of itself."""
    score = scores.load(name)
    sets: list[click.Parameter]
    if score.two_sets:
        sets = [click.Argument(["real"], type=_PATH), click.Argument(["fake"], type=_PATH)]
        examples = ("photos.h5 runs/demo", "photos/ samples/ --num-images 2000 --json result.json")
    else:
        reference = "Another set, as a rule the real images, to print the same number of beside it."
        sets = [
            click.Argument(["fake"], metavar="SET", type=_PATH),
            click.Option(["--reference", "real"], type=_PATH, help=reference),
        ]
        examples = ("runs/demo --reference photos.h5", "samples/ --num-images 2000 --json -")
    own = [_own_option(option, option.name) for option in score.options]
    network = _network_options(score.extractor) if score.needs != "pixels" else _cache_options()
    if score.own_network_only:  # which leaves nothing to choose
        network = [option for option in network if option.name not in ("extractor", "resize")]

    def run(real: Path | None, fake: Path, **given: Any) -> None:
        options = {option.name: given.pop(option.name) for option in own if option.name}
        _run_metrics([name], real, fake, options={name: options}, all_that_apply=False, **given)

    text = [score.summary, "\b\nExamples:\n" + "\n".join(f"  metrics {name} {example}" for example in examples)]
    return click.Command(
        name,
        params=[*sets, *_common_options(), *network, *own],
        callback=run,
        help="\n\n".join(text),
        short_help=score.title,
    )


def _own_option(option: scores.Option, name: str, of: str = "") -> click.Option:
    """Option of one metric; its help begins with whose it is where a command has those of several."""
    return click.Option(
        [f"--{name}"], default=option.default, show_default=True, help=of + option.help, type=_type_of(option)
    )


def _type_of(option: scores.Option) -> click.ParamType[Any] | None:
    """What click has to check of an option's value; None leaves it to the type of the default."""
    if option.choices:
        return click.Choice(option.choices)
    if option.at_least is not None and isinstance(option.default, int):
        return click.IntRange(min=int(option.at_least))
    return None


def _common_options(
    num_images: str = "Images of each set; the protocol's number if not given.",
) -> tuple[click.Option, ...]:
    return (
        click.Option(["--num-images"], type=click.IntRange(min=1), help=num_images),
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
            ["--truncation"],
            type=click.FloatRange(min=0, min_open=True),
            metavar="PSI",
            help="Runs and checkpoints: draw latents from a normal distribution cut off at PSI deviations.",
        ),
        click.Option(["--skip-bad"], is_flag=True, help="Leave out image files that cannot be decoded, and say which."),
        click.Option(
            ["--batch-size"], type=click.IntRange(min=1), help="Images read at a time; does not change the value."
        ),
        click.Option(["--json"], metavar="FILE|-", help="Write the result here too; - is stdout."),
        click.Option(["--plot"], type=_PATH, metavar="FILE", help="Draw the result into this .svg or .png file."),
    )


def _network_options(extractor: str | None) -> list[click.Option]:
    """Options of metrics on features; `extractor` is the network of the metric's protocol."""
    own = f"{extractor}, as in the protocol," if extractor else "each metric's own"
    return [
        click.Option(["--extractor"], metavar="NETWORK", help=f"Network of the features; {own} if not given."),
        click.Option(
            ["--weights"],
            multiple=True,
            metavar="[NETWORK=]FILE",
            help="File of its weights; the published one if not given. Name the network where there are several.",
        ),
        click.Option(["--resize"], type=click.Choice(["tf1", "torch", "clean"]), help="How images reach its size."),
        click.Option(
            ["--dtype"],
            type=click.Choice(["float32", "bfloat16"]),
            default="float32",
            show_default=True,
            help="Of its convolutions; bfloat16 is faster and no longer the standard value.",
        ),
        click.Option(["--device"], default="cpu", show_default=True, help="Where it runs, such as cuda."),
        *_cache_options(),
        click.Option(
            ["--trust-torchscript"], is_flag=True, help="Run a TorchScript file of weights that is not a published one."
        ),
    ]


def _cache_options() -> list[click.Option]:
    return [
        click.Option(
            ["--cache"],
            type=_PATH,
            metavar="FOLDER",
            help="Where features, and what is derived from the reals, are kept; the user's cache folder.",
        ),
        click.Option(["--no-cache"], is_flag=True, help="Keep nothing and use nothing that was kept."),
    ]


def _check_json(json: str | None) -> None:
    """Find out before the work that the JSON cannot be written."""
    if json not in (None, "-"):
        check_writable(json, overwrite=True)


def _all_command() -> click.Command:
    """Command of all metrics, with the options of each."""
    shared = [*_common_options(), *_network_options(None)]
    declared = scores.options_of_all([text.removeprefix("--") for option in shared for text in option.opts])
    own = {name: _own_option(option, name, f"{metric}: ") for name, (metric, option) in declared.items()}

    def run(real: Path, fake: Path, **given: Any) -> None:
        options: dict[str, dict[str, Any]] = {}
        for name, (metric, option) in declared.items():
            value = given.pop(own[name].name or name)
            dataclasses.replace(option, name=name).check(value)  # a mistake, no reason to leave the metric out
            options.setdefault(metric, {})[option.name.replace("-", "_")] = value
        _run_metrics(scores.names(), real, fake, options=options, all_that_apply=True, **given)

    return click.Command(
        "all",
        params=[
            click.Argument(["real"], type=_PATH),
            click.Argument(["fake"], type=_PATH),
            *shared,
            *own.values(),
        ],
        callback=run,
        help=(
            "Every metric that applies to the two sets, in one pass over the images; what cannot be measured is named "
            "with the reason. Options of single metrics begin with the metric's name where several have one so called."
            "\n\n\b\nExamples:\n  metrics all photos.h5 runs/demo\n"
            "  metrics all photos/ samples/ --extractor efficientnet-lite0 --json all.json\n"
            "  metrics all photos/ samples/ --memory 1 --subsets 50 --prd-repeats 20"
        ),
        short_help="Every metric that applies, in one pass",
    )


def _statistics(image_set: Path, out: Path, **given: Any) -> None:
    from metrics.measuring import make_statistics

    given["extractor"] = given["extractor"] or "inception"
    notes = make_statistics(image_set, out, progress=console.progress, **given)
    for note in (*notes, f"the statistics are in {out}"):
        console.say(note)


cli.add_command(
    click.Command(
        "statistics",
        params=[
            click.Argument(["image_set"], metavar="SET", type=_PATH),
            click.Argument(["out"], metavar="OUT.npz", type=_PATH),
            *(option for option in _common_options("Images of the set; all if not given.") if option.name in _OF_SETS),
            *_network_options("inception"),
            click.Option(
                ["--features", "with_features"], is_flag=True, help="The features too, for metrics other than FID."
            ),
            click.Option(["--overwrite"], is_flag=True, help="Replace the file if it exists."),
        ],
        callback=_statistics,
        help=(
            "Write mean and covariance of the features of SET, which then serve in its place.\n\n"
            "\b\nExamples:\n  metrics statistics photos.h5 photos.npz\n"
            "  metrics statistics photos.h5 photos.npz --features --extractor efficientnet-lite0"
        ),
        short_help="Mean and covariance of the features of a set, as a file",
    )
)


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
