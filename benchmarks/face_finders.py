"""Measure how well and how quickly the face detectors place landmarks, on photographs whose landmarks are known.

    python benchmarks/face_finders.py PHOTOS [LANDMARKS] [--turns 0,15,30]

PHOTOS is a folder of photographs; LANDMARKS any landmark file or folder that `toolkit align` takes, by default PHOTOS
itself. Every photograph is shown upright and turned both ways by each angle, its landmarks with it. Per detector:

found      faces that were found, of all that are known; a find counts whose middle lies within the known face
error      mean distance of the five points from where they are known to be, in percent of the distance of the eyes
shift      of the square's centre, in percent of its side
turn       of the square, in degrees
scale      of the square, in percent
ms         of one core for a photograph

Figures are means over the faces that were found, turn and scale of absolute values.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import mean

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import growgan  # isort: skip  # noqa: F401
import click
import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.console import table
from datasets.decode import decode
from datasets.errors import InputError
from toolkit.celebahq.faces import FaceFinder, NoLandmarks, detectors, open_finder
from toolkit.celebahq.geometry import oriented_square
from toolkit.sources import open_source

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


def turned(pixels: Pixels, points: Points, degrees: float) -> tuple[Pixels, Points]:
    """Turn a photograph about its middle, on a sheet that holds all of it; points of shape (..., 2) go along."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    across, down = np.abs(matrix[:, :2]) @ [width, height]
    size = int(np.ceil(across)), int(np.ceil(down))
    matrix[:, 2] += (np.array(size) - [width, height]) / 2
    return cv2.warpAffine(pixels, matrix, size), points @ matrix[:, :2].T + matrix[:, 2]


def errors(found: Points, known: Points) -> tuple[float, float, float, float]:
    """Error, shift, turn and scale of one face."""
    distance = np.hypot(*(known[1] - known[0]))
    one, other = oriented_square(found, "found", "ffhq"), oriented_square(known, "known", "ffhq")
    ratio = complex(*one.x) / complex(*other.x)
    return (
        100 * float(np.hypot(*(found - known).T).mean() / distance),
        100 * float(np.hypot(*(one.centre - other.centre)) / other.side),
        float(abs(np.degrees(np.angle(ratio)))),
        100 * abs(abs(ratio) - 1),
    )


def measure(
    finder: FaceFinder, scenes: list[tuple[Pixels, Points]]
) -> tuple[list[tuple[float, ...]], int, list[float]]:
    """Errors of the faces that were found, number of all faces, milliseconds for each photograph."""
    results: list[tuple[float, ...]] = []
    milliseconds = []
    for pixels, faces in scenes:
        start = time.process_time()
        found = [face.points for face in finder.find("", lambda pixels=pixels: pixels)]
        milliseconds.append(1000 * (time.process_time() - start))
        for known in faces:
            near = [
                points for points in found if np.ptp(known, axis=0).max() > np.abs((points - known).mean(axis=0)).max()
            ]
            if near:
                results.append(min(errors(points, known) for points in near))
    return results, sum(len(faces) for _, faces in scenes), milliseconds


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("landmarks", type=click.Path(path_type=Path), required=False)
@click.option("--turns", default="0,15,30", show_default=True, help="Angles in degrees.")
def main(photos: Path, landmarks: Path | None, turns: str) -> None:
    cv2.setNumThreads(1)
    truth = open_finder(landmarks or photos)
    source = open_source(photos)
    known = []
    for item in (source[index] for index in range(len(source))):
        try:
            faces = truth.find(item.name, lambda: np.zeros((1, 1, 3), np.uint8))
        except NoLandmarks:
            continue
        known.append((decode(item.read(), item.where), np.stack([face.points for face in faces])))
    rows = []
    for name in detectors.names():
        try:
            finder = open_finder(name)
        except InputError as error:
            click.echo(f"{name} left out: {error}", err=True)
            continue
        for angle in map(float, turns.split(",")):
            scenes = [turned(*one, way) for one in known for way in sorted({angle, -angle})]
            results, number, milliseconds = measure(finder, scenes)
            figures = [f"{mean(column):.2f}" for column in zip(*results, strict=True)] or ["-"] * 4
            rows.append([name, f"{angle:g}", f"{len(results)}/{number}", *figures, f"{mean(milliseconds):.0f}"])
    click.echo(table(rows, ["detector", "turned", "found", "error", "shift", "turn", "scale", "ms"]))


if __name__ == "__main__":
    main()
