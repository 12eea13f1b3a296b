"""The film command: ``python training/video.py interpolation|timelapse RUN OUT.mp4``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: import the packages of this clone, not modules beside this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import growgan  # noqa: F401  # first: guards against foreign packages called `datasets` or `metrics`

# isort: split
import click

from datasets import console
from datasets.errors import InputError
from training.films import interpolation, timelapse, walk
from training.frames import Frame, check_target, write_film
from training.moment import checkpoint_at
from training.options import Layout, LayoutType, NumberList, check_creatable, generator_options
from training.sampler import Sampler

_FASTEST = 240.0  # frames a second; beyond that no screen follows
_USUAL_SECONDS = 10.0  # of a walk
_USUAL_GRIDS = 10.0  # a second, of a time-lapse


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Make films of a run: walks through the latent space of its generator, and how its samples developed.

    OUT is an .mp4 file (needs growgan[video]), a .gif, a .png (all frames side by side), or without a suffix a
    folder of PNG files.

    \b
    Examples:
      python training/video.py interpolation runs/demo walk.mp4 --grid 4x2 --seconds 30
      python training/video.py timelapse runs/demo growing.mp4
    """  # noqa: D301  # click wants its \b as the character


def _file_options(function: Any) -> Any:
    for option in (
        click.option("--overwrite", is_flag=True, help="Replace OUT if it is a file."),
        click.option(
            "--zoom",
            type=click.IntRange(1, 64),
            help="Repeat every pixel so many times.  [default: to at least 320 pixels of width]",
        ),
        click.argument("out", type=click.Path(path_type=Path)),
        click.argument("run", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


@cli.command("interpolation")
@_file_options
@click.option("--grid", "layout", type=LayoutType(), default="1x1", show_default=True, help="Walks side by side.")
@click.option("--class-rows", is_flag=True, help="Every row shows one class, every column one walk.")
@click.option(
    "--path",
    "kind",
    type=click.Choice(["smooth", "spherical"]),
    default="smooth",
    show_default=True,
    help="A random closed curve, or great circles from latent to latent and back to the first.",
)
@click.option("--numbers", type=NumberList(), metavar="LIST", help="Images to begin with or, if spherical, to pass.")
@click.option("--stations", type=click.IntRange(2), help="Latents to pass, if spherical.  [default: 6]")
@click.option("--smoothing", type=click.FloatRange(0, min_open=True), help="Of smooth paths, in s.  [default: 1]")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length.  [default: 10]")
@click.option("--frames", type=click.IntRange(1), help="Length in frames, instead of seconds.")
@click.option("--fps", default=30.0, show_default=True, type=click.FloatRange(0.1, _FASTEST), help="Frames a second.")
@generator_options
def interpolation_command(
    run: Path,
    out: Path,
    *,
    zoom: int | None,
    overwrite: bool,
    layout: Layout,
    class_rows: bool,
    kind: str,
    numbers: list[int] | None,
    stations: int | None,
    smoothing: float | None,
    seconds: float | None,
    frames: int | None,
    fps: float,
    at: int | None,
    resolution: int | None,
    seed: int,
    truncation: float | None,
    labels: list[int] | None,
) -> None:
    """Walk through the latent space of a run (or a checkpoint). The film ends where it begins, so it can be looped.

    The first frame shows the images of these numbers as training/sample.py draws them.

    \b
    Examples:
      python training/video.py interpolation runs/demo walk.mp4 --grid 4x2 --seconds 30
      python training/video.py interpolation runs/demo walk.gif --path spherical --numbers 3,17,85 --fps 15
      python training/video.py interpolation runs/demo strip.png --path spherical --grid 1x4 --stations 2 --frames 12
      python training/video.py interpolation runs/digits classes.mp4 --class-rows --grid 6
    """  # noqa: D301
    if seconds is not None and frames is not None:
        raise InputError("--seconds and --frames both say how long the film is; leave one of them out")
    _check_target(out, overwrite=overwrite)
    sampler, checkpoint = Sampler.from_path(checkpoint_at(run, at, resolution), truncation=truncation)
    count = frames or max(1, round((seconds or _USUAL_SECONDS) * fps))
    path, cells = walk(
        sampler,
        seed,
        kind,
        layout=layout,
        numbers=numbers,
        stations=stations,
        smoothing=smoothing,
        seconds=count / fps,
        labels=labels,
        class_rows=class_rows,
    )
    _write(out, interpolation(sampler, path, cells, seed, count, zoom), count, fps)
    console.say(f"{count} frames, {count / fps:g} s, from {checkpoint} in {out}")


@cli.command("timelapse")
@_file_options
@click.option("--fps", type=click.FloatRange(0.1, _FASTEST), help="Grids a second.  [default: 10]")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length, instead of --fps.")
def timelapse_command(
    run: Path, out: Path, *, zoom: int | None, overwrite: bool, fps: float | None, seconds: float | None
) -> None:
    """Show how the samples of a run developed: its grids of samples, one a frame, with the images shown below.

    \b
    Examples:
      python training/video.py timelapse runs/demo growing.mp4
      python training/video.py timelapse runs/demo growing.gif --seconds 8
    """  # noqa: D301
    if seconds is not None and fps is not None:
        raise InputError("--seconds and --fps both say how long the film is; leave one of them out")
    _check_target(out, overwrite=overwrite)
    count, frames = timelapse(run, zoom)
    rate = (fps or _USUAL_GRIDS) if seconds is None else count / seconds
    if rate > _FASTEST:
        raise InputError(f"--seconds {seconds:g} is too short for {count} grids; use at least {count / _FASTEST:.2g}")
    _write(out, frames, count, rate)
    console.say(f"{count} grids, {count / rate:g} s, from {run / 'samples'} in {out}")


def _check_target(out: Path, *, overwrite: bool) -> None:
    check_target(out, overwrite=overwrite)
    check_creatable(out)


def _write(out: Path, frames: Iterator[Frame], count: int, fps: float) -> None:
    with console.progress(count, "filming", unit="frame") as bar:

        def counted() -> Iterator[Frame]:
            for frame in frames:
                yield frame
                bar.update(1)

        try:
            write_film(out, counted(), fps)
        except InputError as error:
            if "the encoder ended" not in str(error):
                raise
            raise InputError(f"{error}; free space or choose another disk, or write a .gif or a folder") from None


def main() -> None:
    """Entry point."""
    console.run(cli)


if __name__ == "__main__":
    main()
