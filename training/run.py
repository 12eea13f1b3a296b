"""The training command: ``python training/run.py --preset NAME --data PYRAMID --out RUN``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click
import torch

from datasets import console
from datasets.errors import InputError
from datasets.formats import open_pyramid
from training import presets
from training.config import load_preset, plugin_names
from training.growth import Schedule
from training.loop import train
from training.plan import LevelPlan, make_plan
from training.resuming import top_level
from training.settings import to_yaml, with_settings

PRESETS = plugin_names(presets)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--preset", required=True, metavar="NAME", help=f"Where the options start from: {', '.join(PRESETS)}.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Pyramid made by toolkit make-pyramid.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; made if missing, gone on with if there.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change an option, e.g. growth.batch=8.")
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; the first GPU if there is one.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and all options as YAML, and stop.")
def cli(
    preset: str, data: Path, out: Path | None, settings: tuple[str, ...], device: str | None, *, dry_run: bool
) -> None:
    """Grow a GAN on a pyramid of photographs.

    Interrupt it at any time, even with kill -9: the same command goes on from the last checkpoint, to the same bytes.

    \b
    Examples:
      python training/run.py --preset tiny --data photos.h5 --out runs/first
      python training/run.py --preset tiny --data photos.h5 --out runs/wide --set network.fmap_max=128 --set seed=7
      python training/run.py --preset celebahq --data celeba-hq.h5 --dry-run
    """  # noqa: D301  # click wants its \b as the character
    config = with_settings(load_preset(preset), settings)
    reader = open_pyramid(data)
    schedule = Schedule(config.growth, top_level(config, reader))
    if dry_run:
        console.say(plan_table(make_plan(config, schedule)))
        click.echo(to_yaml(config), nl=False)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'; only --dry-run goes without.")
    command = shlex.join(["python", *_displayed(sys.argv)])
    try:
        complete = train(config, reader, out, _device(device), preset=preset, command=command)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise InputError(f"out of memory ({str(error).splitlines()[0]}); lower growth.batch or network.*") from None
        raise
    if not complete:
        sys.exit(130)
    console.say(f"done: {out}")
    console.say(f"  a report:    metrics report {out}")
    console.say(f"  new samples: python training/sample.py {out} samples --num 64")


def plan_table(plans: list[LevelPlan]) -> str:
    """The plan of a run as a table for people."""
    total = sum(plan.flop for plan in plans)
    rows = [
        (
            f"{1 << plan.segment.level}x{1 << plan.segment.level}",
            f"{plan.segment.start / 1000:g}",
            f"{plan.segment.fade_end / 1000:g}",
            f"{plan.segment.end / 1000:g}",
            plan.segment.batch,
            f"{plan.segment.learning_rate:g}",
            f"{plan.generator_parameters:,}",
            f"{plan.discriminator_parameters:,}",
            f"{plan.flop_per_image / 1e9:.2f}",
            f"{plan.flop / total:.0%}",
        )
        for plan in plans
    ]
    header = ("level", "from kimg", "faded in", "until", "batch", "rate", "G params", "D params", "GFLOP/img", "of all")
    return f"{console.table(rows, header)}\n{total / 1e15:.3g} PFLOP in all (both networks, penalty and updates)"


def _displayed(arguments: list[str]) -> list[str]:
    """Arguments with the script's path as one would type it in the clone."""
    return [f"training/{Path(arguments[0]).name}", *arguments[1:]]


def _device(name: str | None) -> torch.device:
    """Device to train on; one that is not there is refused."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # an element to read: the meta device has none
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used ({reason}); choose cpu or a GPU that is there") from None
    return device


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
