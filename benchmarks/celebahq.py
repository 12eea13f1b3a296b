"""Time the portraits of `toolkit build-celebahq` beside a plain Pillow statement of the recipe.

    python benchmarks/celebahq.py [--num-images 8] [--rounds 3]

Photographs of one face (scikit-image's astronaut, larger and smaller, turned and shifted, with the noise of a camera)
become portraits of 1024x1024, by programs that run in alternation:

ours     `toolkit.celebahq.recipe.render`: the arithmetic of 2017, strip by strip
pillow   the recipe as it was written, in the Pillow, NumPy and SciPy that are installed, whole images at a time:
         Lanczos, mirrored padding where it is needed, QUAD to 4096x4096, Lanczos to 1024x1024
floor    a bare loop over the 4096x4096 positions that copies the nearest pixel and averages 4x4 of them: no filter of
         the recipe, only its traffic

Each on every core this process may use, a thread per core, and then on one; once for faces in the middle of the
photograph and once for faces near its border, which need padding. Figures are medians over the rounds after a first one
that is not counted; ratios are medians of the ratios within each round, since machines are shared. Differences say how
far Pillow of today is from Pillow of 2017.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import growgan  # isort: skip  # noqa: F401
import click
import cv2
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from datasets.console import table
from toolkit.celebahq import kernels
from toolkit.celebahq.geometry import RESOLUTION, OrientedSquare, Preparation, oriented_square, prepare
from toolkit.celebahq.recipe import render

FACE = np.array([[205, 110], [243, 108], [226, 125], [211, 148], [241, 146]], np.float64)  # in scikit-image's astronaut
MARGIN = 300  # pixels added around the astronaut, so that the face lies in the middle of the photograph
LARGE = 4 * RESOLUTION

Pixels = NDArray[np.uint8]
Photograph = tuple[Pixels, OrientedSquare]
Program = Callable[[Pixels, OrientedSquare], Pixels]


def make_photographs(number: int, near_border: bool) -> list[Photograph]:
    """Faces of 80 to 500 pixels between the eyes and the chin, as those of CelebA have."""
    generator = np.random.default_rng(0)
    astronaut = cv2.copyMakeBorder(data.astronaut(), *[MARGIN] * 4, cv2.BORDER_REFLECT)
    photographs = []
    for _ in range(number):
        scale, turn = generator.uniform(1, 6), generator.uniform(-15, 15)
        middle = FACE.mean(axis=0) + MARGIN
        matrix = cv2.getRotationMatrix2D(tuple(middle), turn, scale)
        matrix[:, 2] += (60 if near_border else 150) * scale - middle
        side = round(300 * scale)
        image = cv2.warpAffine(astronaut, matrix, (side, side), flags=cv2.INTER_CUBIC)
        noisy = image + generator.normal(0, 5, (side, side, 1))
        landmarks = (FACE + MARGIN) @ matrix[:, :2].T + matrix[:, 2]
        photographs.append((np.clip(noisy, 0, 255).astype(np.uint8), oriented_square(landmarks, "astronaut")))
    return photographs


def ours(photo: Pixels, square: OrientedSquare) -> Pixels:
    return render(photo, square, "astronaut").pixels


def pillow(photo: Pixels, square: OrientedSquare) -> Pixels:
    image, plan = Image.fromarray(photo), prepare(square, photo.shape[1], photo.shape[0], "astronaut")
    if plan.shrink > 1:
        image = image.resize(plan.size, Image.Resampling.LANCZOS)
    image = image.crop(plan.box)
    if plan.superres > 1:
        width, height = image.size
        image = image.resize((width * plan.superres, height * plan.superres), Image.Resampling.LANCZOS)
    image, quad = padded(image, plan)
    corners = tuple((quad + 0.5).flatten().tolist())
    image = image.transform((LARGE, LARGE), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return np.asarray(image.resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS))


def padded(image: Image.Image, plan: Preparation) -> tuple[Image.Image, NDArray[np.float64]]:
    quad = plan.quad.astype(np.float64)
    before = np.maximum(plan.border - np.floor(quad.min(axis=0)).astype(int), 0)
    after = np.maximum(np.ceil(quad.max(axis=0)).astype(int) - image.size + plan.border, 0)
    if max(*before, *after) <= plan.border - 4:
        return image, quad
    left, above, right, below = np.maximum([*before, *after], round(RESOLUTION * 0.3 / plan.zoom)).tolist()
    values = np.pad(np.float32(image), ((above, below), (left, right), (0, 0)), "reflect")
    height, width, _ = values.shape
    y, x, _ = np.ogrid[:height, :width, :1]
    start, end = np.minimum(x / left, y / above), np.minimum((width - 1 - x) / right, (height - 1 - y) / below)
    mask = np.float32(1 - np.minimum(start, end))
    deviation = RESOLUTION * 0.02 / plan.zoom
    blurred = scipy.ndimage.gaussian_filter(values, [deviation, deviation, 0])
    values += (blurred - values) * np.clip(mask * 3 + 1, 0, 1)
    values += (np.median(values, axis=(0, 1)) - values) * np.clip(mask, 0, 1)
    return Image.fromarray(np.uint8(np.clip(np.round(values), 0, 255))), quad + np.array([left, above])


def floor(photo: Pixels, square: OrientedSquare) -> Pixels:
    corners = square.quad[[0, 3, 1]].astype(np.float32)
    to = np.array([[0, 0], [LARGE, 0], [0, LARGE]], np.float32)
    matrix = cv2.getAffineTransform(corners, to)
    large = cv2.warpAffine(photo, matrix, (LARGE, LARGE), flags=cv2.INTER_NEAREST)
    return cv2.resize(large, (RESOLUTION, RESOLUTION), interpolation=cv2.INTER_AREA)


PROGRAMS: dict[str, Program] = {"ours": ours, "pillow": pillow, "floor": floor}


def timed(program: Program, photographs: list[Photograph]) -> tuple[float, float]:
    """Images per second of wall time, and of processor time."""

    def cpu_seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    wall, cpu = time.perf_counter(), cpu_seconds()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        number = sum(1 for _ in pool.map(lambda photograph: program(*photograph), photographs))
    return number / (time.perf_counter() - wall), number / (cpu_seconds() - cpu)


def compare(photographs: list[Photograph], rounds: int) -> str:
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for counted in [False] + [True] * rounds:
        for name, program in PROGRAMS.items():
            speed = timed(program, photographs)
            if counted:
                speeds[name].append(speed)

    def ratios(name: str, other: str) -> list[str]:
        pairs = list(zip(speeds[name], speeds[other], strict=True))
        return [f"{median(own[clock] / others[clock] for own, others in pairs):.2f}" for clock in (0, 1)]

    rows = []
    for name, measured in speeds.items():
        lowest, middle, highest = (f(wall for wall, _ in measured) for f in (min, median, max))
        figures = [f"{middle:.2f}", f"{lowest:.2f}-{highest:.2f}", f"{median(cpu for _, cpu in measured):.2f}"]
        rows.append((name, *figures, *ratios(name, "pillow"), *ratios(name, "floor")))
    header = ("program", "img/s", "range", "img/cpu s", "/pillow", "/pillow cpu", "/floor", "/floor cpu")
    return table(rows, header)


@click.command(help=__doc__)
@click.option("--num-images", default=8, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(num_images: int, rounds: int) -> None:
    cv2.setNumThreads(1)  # a thread per image instead
    print(f"compiling the loops, or loading them compiled, took {kernels.compiled().seconds:.1f} s")
    for name, near_border in (("in the middle", False), ("near the border, padded", True)):
        photographs = make_photographs(num_images, near_border)
        done = [render(photo, square, "astronaut") for photo, square in photographs]
        num_padded = sum("pad" in result.applied for result in done)
        differences = np.abs(done[0].pixels.astype(int) - pillow(*photographs[0]))
        print(
            f"\n{num_images} faces {name} ({num_padded} padded), {rounds} rounds; in the first, Pillow of today "
            f"differs in {(differences > 0).mean():.2%} of the values, by at most {differences.max()}"
        )
        cores = sorted(os.sched_getaffinity(0))
        for used in dict.fromkeys((len(cores), 1)):
            os.sched_setaffinity(0, cores[:used])
            result = compare(photographs, rounds)
            print(
                f"\n{used} core{'s' * (used > 1)}, load average at the end {os.getloadavg()[0]:.1f}\n{result}",
                flush=True,
            )
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    main()
