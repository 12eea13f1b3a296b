"""The training command: ``python training/run.py --preset NAME --data PYRAMID --out RUN``."""

from __future__ import annotations

import itertools
import os
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
from training.conditioning import Labels
from training.config import load_preset, preset_names
from training.growth import Schedule
from training.loop import train
from training.plan import make_plan
from training.preflight import LevelTrial, check_memory, try_levels
from training.ranks import joined
from training.resuming import top_level
from training.settings import to_yaml, with_settings

PRESETS = preset_names()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--preset", required=True, metavar="NAME", help=f"Where the options start from: {', '.join(PRESETS)}.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Pyramid made by toolkit make-pyramid.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; made if missing, gone on with if there.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change an option, e.g. growth.batch=8.")
@click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; the first GPU if there is one.")
@click.option("--dry-run", is_flag=True, help="Try every level, print the plan, then all options as YAML, and stop.")
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
      torchrun --nproc-per-node 4 training/run.py --preset celebahq_4gpu --data celeba-hq.h5 --out runs/faces
    """  # noqa: D301  # click wants its \b as the character
    config = with_settings(load_preset(preset), settings)
    reader = open_pyramid(data)
    schedule = Schedule(config.growth, top_level(config, reader))
    if dry_run:
        labels = Labels.of(config.conditioning, reader)
        plans = make_plan(config, schedule, labels)
        place = _device(device)
        with console.progress(len(plans), "trying every level") as bar:
            trials = try_levels(config, schedule, plans, labels, place, tell=lambda: bar.update(1))
        console.say(plan_table(trials))
        check_memory(trials, place)
        click.echo(to_yaml(config), nl=False)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'; only --dry-run goes without.")
    command = shlex.join(["python", *_displayed(sys.argv)])
    place = _device(device)
    with joined(place, config.guards.hung_after) as ranks:
        complete = train(config, reader, out, place, preset=preset, command=command, ranks=ranks)
        speaks = ranks.first
    if not complete:
        sys.exit(130)
    if not speaks:
        return
    console.say(f"done: {out}")
    console.say(
        f"  the report:  {out / 'report.html'}" if config.snapshots.report else f"  a report:    metrics report {out}"
    )
    console.say(f"  new samples: python training/sample.py {out} samples --num 64")


def plan_table(trials: list[LevelTrial]) -> str:
    """The plan of a run, with what trying its levels has shown, as a table for people."""
    plans = [trial.plan for trial in trials]
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
            f"{plan.segment.batch * plan.discriminator_steps / trial.seconds_per_step:.3g}",
            f"{trial.memory / 2**30:.1f}",
            duration(trial.seconds),
        )
        for plan, trial in zip(plans, trials, strict=True)
    ]
    header = (
        *("level", "from kimg", "faded in", "until", "batch", "rate", "G params", "D params", "GFLOP/img"),
        *("img/s", "GiB", "time"),
    )
    seconds = sum(trial.seconds for trial in trials)
    return (
        f"{console.table(rows, header)}\n{total / 1e15:.3g} PFLOP in all (both networks, penalty and updates): about "
        f"{duration(seconds)} on this machine, without snapshots"
    )


def duration(seconds: float) -> str:
    """Length of time in its two largest units: 3 d 4 h, 5 h 10 min, 3 min 20 s."""
    whole = round(seconds)
    for (name, size), (below, small) in itertools.pairwise((("d", 86400), ("h", 3600), ("min", 60), ("s", 1))):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small} {below}"
    return f"{seconds:.1f} s"


def _displayed(arguments: list[str]) -> list[str]:
    """Arguments with the script's path as one would type it in the clone."""
    return [f"training/{Path(arguments[0]).name}", *arguments[1:]]


def _device(name: str | None) -> torch.device:
    """Device to train on; one that is not there is refused."""
    if name is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        number = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun: one GPU for each of its processes
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if name == "cuda" and torch.cuda.is_available():
        return _device(None)
    if name.startswith("cuda:") and ranks > 1:
        raise InputError(f"--device {name} would put all {ranks} ranks on one GPU; leave --device out")
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
