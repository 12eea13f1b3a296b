"""What films show: walks through the latent space of a generator, and how the samples of a run developed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from datasets.errors import InputError
from metrics.report.run_directory import Run, check_run_directory, read_run
from training.frames import Frame, enlarged
from training.grid import tile
from training.latent_paths import MOST_SMOOTHING, LatentPath, SmoothPath, SphericalPath
from training.options import Cells, Layout, arrange
from training.sampler import Sampler

_USUAL_STATIONS = 6
_USUAL_SMOOTHING = 1.0  # s, as in the 2018 TensorFlow release


def walk(
    sampler: Sampler,
    seed: int,
    kind: str,
    *,
    layout: Layout,
    numbers: list[int] | None = None,
    stations: int | None = None,
    smoothing: float | None = None,
    seconds: float = 10.0,
    labels: list[int] | None = None,
    class_rows: bool = False,
) -> tuple[LatentPath, Cells]:
    """Choose a way through the latent space, and the cells of the film.

    Parameters
    ----------
    sampler : Sampler
        That will draw the film.
    seed : int
        Of the latents.
    kind : str
        ``smooth`` or ``spherical``, see `training.latent_paths`.
    layout : Layout
        Of the cells.
    numbers : list of int, optional
        Images to begin with, one for each cell (for each column with `class_rows`); for spherical ways the images of
        all stations, station by station. The first ones by default.
    stations : int, optional
        Of a spherical way; by default as many as `numbers` gives, or 6.
    smoothing : float, optional
        Of a smooth way, in seconds; by default 1, or less if the film is short.
    seconds : float
        Length of the film.
    labels, class_rows
        See `training.options.arrange`.

    Raises
    ------
    InputError
        If the options do not fit each other or the generator.
    """
    walks = layout.columns * (1 if class_rows else layout.rows or 1)
    spherical = kind == "spherical"
    if (stations if not spherical else smoothing) is not None:
        option, other = ("--smoothing", "smooth") if spherical else ("--stations", "spherical")
        raise InputError(f"{option} goes with --path {other}; leave it out, or choose that path")
    given = numbers or list(range(walks * ((stations or _USUAL_STATIONS) if spherical else 1)))
    if len(given) % walks or (len(given) > walks and not spherical):
        needed = f"{walks} for each station" if spherical else f"{walks}"
        raise InputError(f"--numbers names {len(given)} images; --grid needs {needed}")
    passed = np.array(given).reshape(-1, walks)
    if stations is not None and stations != len(passed):
        raise InputError(
            f"--numbers names images of {len(passed)} stations, not of --stations {stations}; leave it out"
        )
    cells = arrange(
        sampler,
        numbers=passed[0].tolist(),
        num=walks,
        layout=layout,
        labels=labels,
        class_rows=class_rows,
    )
    if spherical:
        rows = len(cells.numbers) // walks
        return SphericalPath(seed, np.tile(passed, (1, rows)), sampler.latent_size), cells
    most = seconds * MOST_SMOOTHING
    if smoothing is not None and smoothing > most:
        raise InputError(
            f"--smoothing {smoothing:g} s is too much for a film of {seconds:g} s, in which hardly anything would "
            f"move; use at most {most:.2g}, or a longer film"
        )
    share = min(smoothing or _USUAL_SMOOTHING, most) / seconds
    return SmoothPath(seed, cells.numbers, sampler.latent_size, share), cells


def interpolation(
    sampler: Sampler, path: LatentPath, cells: Cells, seed: int, count: int, zoom: int | None = None
) -> Iterator[Frame]:
    """Frames of a walk, at the times 0, 1/count, ..., so that the first would follow the last.

    Parameters
    ----------
    sampler : Sampler
        Draws the images; truncation applies to the latents on the way.
    path : LatentPath
        One latent for each cell.
    cells : Cells
        Their classes, and the layout. Classes that are not given are those drawn for the numbers of the cells.
    seed : int
        Of the classes that are drawn.
    count : int
        Number of frames.
    zoom : int, optional
        See `training.frames.enlarged`.
    """
    classes = sampler.classes(seed, cells.numbers) if cells.classes is None else cells.classes
    portion = max(1, sampler.block // len(cells.numbers))
    for start in range(0, count, portion):
        times = np.arange(start, min(start + portion, count)) / count
        latents = path.at(times)
        images = sampler.draw(latents.flatten(0, 1), None if classes is None else np.tile(classes, len(times)))
        for frame in images.reshape(len(times), -1, *images.shape[1:]):
            yield enlarged(tile(frame, cells.columns), zoom)


def timelapse(path: Path, zoom: int | None = None) -> tuple[int, Iterator[Frame]]:
    """Frames of a run's development: one for each of its grids of samples, in the order of images shown.

    Parameters
    ----------
    path : Path
        The run directory.
    zoom : int, optional
        See `training.frames.enlarged`.

    Returns
    -------
    tuple of (int, iterator of Frame)
        Number of frames, and the frames: the grid, and below it the images shown and the resolution at that moment.

    Raises
    ------
    InputError
        If there is no run, or it has no grids yet.
    """
    run = read_run(check_run_directory(path))
    if not run.snapshots:
        raise InputError(
            f"{path / 'samples'} holds no fakes-*.png, the grids of samples that training writes at every snapshot; "
            "let the run get to its first one"
        )
    return len(run.snapshots), _timelapse(run, run.snapshots, zoom)


def _timelapse(run: Run, snapshots: Sequence[tuple[int, Path]], zoom: int | None) -> Iterator[Frame]:
    height, width, _ = _read(snapshots[-1][1]).shape
    for images, file in snapshots:
        canvas = np.zeros((height, width, 3), np.uint8)
        grid = _read(file)[:height, :width]  # a resumed run may have changed its layout
        canvas[: len(grid), : grid.shape[1]] = grid
        stage = run.stage(images)
        side = "" if stage is None else f"{1 << stage[0]}x{1 << stage[0]}"
        yield with_caption(enlarged(canvas, zoom), f"{images:,} images shown", side)


def with_caption(frame: Frame, left: str, right: str = "") -> Frame:
    """Frame with a line of text below."""
    height, width, _ = frame.shape
    size = max(12, min(48, width // 24))
    picture = Image.new("RGB", (width, height + 2 * size))
    picture.paste(Image.fromarray(frame))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    middle = height + size
    draw.text((size // 2, middle), left, fill="white", font=font, anchor="lm")
    draw.text((width - size // 2, middle), right, fill="white", font=font, anchor="rm")
    return np.asarray(picture)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())}); remove it") from None
