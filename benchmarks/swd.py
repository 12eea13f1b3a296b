"""Time SWD beside a plain statement of the same rule and beside the arithmetic that cannot be avoided.

    python benchmarks/swd.py [--num-images 256] [--resolution 128] [--rounds 3] [--skip-plain]

Three programs run in alternation, each on the same images, patches and directions:

ours    metrics.scores.swd, without the floor of real against real
plain   the rule written down in numpy and scipy as one reads it: columns sorted, float32 but for the statistics
bound   only the matrix products, sorts and reductions of the rule, on memory that is ready: what `ours` could approach
        (ours measures its error bar besides, which takes a sixteenth more of them)

Figures are medians over the rounds; the ratios are medians of the ratios within each round, since machines are shared.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

from datasets.console import table
from metrics.laplacian import band_resolutions
from metrics.patches import Draws
from metrics.scores import Plan, swd
from metrics.workers import num_workers, one_thread_a_product, parallel_map

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32) / 256
DIRECTIONS = 4 * 128
ROWS = 8192  # patches of a product: of 2048 to 262144, the fastest here on two busy cores
Images = NDArray[np.uint8]
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "user": lambda: os.times().user,
    "system": lambda: os.times().system,  # memory touched for the first time; on virtual machines that can be much
}


def ours(real: Images, fake: Images, draws: Draws) -> list[float]:
    count, side = len(real), real.shape[-1]
    score = swd.Score(Plan(count, {"real": count, "fake": count}), side, seed=0, memory=4, draws=draws)
    score._known.floor = {}  # only the distance asked for
    for first in range(0, count, 128):
        score.update("real", real[first : first + 128], first)
        score.update("fake", fake[first : first + 128], first)
    return list(score.compute()["levels"].values())


def plain(real: Images, fake: Images, draws: Draws) -> list[float]:
    sides = band_resolutions(real.shape[-1])
    sets = {
        "real": plain_descriptors(real, "real", sides, draws),
        "fake": plain_descriptors(fake, "fake", sides, draws),
    }
    values = []
    for band, side in enumerate(sides):
        distances = []
        for repeat in range(4):
            directions = draws.directions(side, repeat, 128, 147).T
            a, b = (np.sort(sets[which][band] @ directions, axis=0) for which in ("real", "fake"))
            distances.append(np.abs(a - b).mean())
        values.append(1000 * float(np.mean(distances)))
    return values


def plain_descriptors(images: Images, which: str, sides: list[int], draws: Draws) -> list[NDArray[np.float32]]:
    gaussian = images.astype(np.float32)
    bands = []
    for side in sides:
        if side == sides[-1]:
            band = gaussian
        else:
            coarser = convolve(gaussian, BINOMIAL[None, None], mode="mirror")[:, :, ::2, ::2]
            spread = np.zeros_like(gaussian)
            spread[:, :, ::2, ::2] = coarser
            band, gaussian = gaussian - convolve(spread, 4 * BINOMIAL[None, None], mode="mirror"), coarser
        corners = draws.positions(which, side, 0, len(images), 128, 7)  # type: ignore[arg-type]
        image, channel, row, column = np.ogrid[0 : len(images) * 128, 0:3, 0:7, 0:7]
        rows, columns = (corners[..., k].reshape(-1, 1, 1, 1) for k in range(2))
        patches = band[image // 128, channel, rows + row, columns + column]
        # float64, unlike the original program: its float32 deviation is low by 2e-4 at 262144 patches.
        patches -= patches.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
        patches /= patches.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
        bands.append(patches.reshape(len(patches), -1))
    return bands


class Bound:
    """The same number of floating point operations, sorted elements and reduced pairs, on memory that is ready."""

    def __init__(self, num_images: int, resolution: int) -> None:
        self.bands = len(band_resolutions(resolution))
        generator = np.random.default_rng(0)
        self.patches = generator.standard_normal((num_images * 128, 147), np.float32)
        self.directions = generator.standard_normal((DIRECTIONS, 147), np.float32)
        self.rooms = np.zeros((2, DIRECTIONS, len(self.patches)), np.float32)

    def __call__(self) -> None:
        """Once for every band and side."""
        for _ in range(self.bands):
            for room in self.rooms:
                self.multiply(room)
                parallel_map(np.ndarray.sort, room)
            parallel_map(lambda k: cv2.norm(self.rooms[0, k], self.rooms[1, k], cv2.NORM_L1), range(DIRECTIONS))

    def multiply(self, room: NDArray[np.float32]) -> None:
        """All directions, some patches at a time."""

        def some(start: int) -> None:
            rows = slice(start, start + ROWS)
            np.matmul(self.directions, self.patches[rows].T, out=room[:, rows])

        with one_thread_a_product():
            parallel_map(some, range(0, len(self.patches), ROWS))


@click.command(help=__doc__)
@click.option("--num-images", default=256, show_default=True)
@click.option("--resolution", default=128, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--skip-plain", is_flag=True, help="Plain numpy takes minutes from 2000 images on.")
def main(num_images: int, resolution: int, rounds: int, skip_plain: bool) -> None:
    generator = np.random.default_rng(0)
    shape = (num_images, 3, resolution, resolution)
    real, fake = generator.integers(0, 256, shape).astype(np.uint8), generator.integers(0, 200, shape).astype(np.uint8)
    draws = Draws(0)
    programs: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(real, fake, draws),
        "bound": Bound(num_images, resolution),
    }
    if not skip_plain:
        programs["plain"] = lambda: plain(real, fake, draws)
        difference = np.abs(np.divide(ours(real, fake, draws), plain(real, fake, draws)) - 1).max()
        print(f"largest relative difference of a level between ours and plain: {difference:.1e}")
    clocks: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in programs} for clock in CLOCKS}
    for _ in range(rounds):
        for name, program in programs.items():
            start = {clock: read() for clock, read in CLOCKS.items()}
            program()
            for clock, read in CLOCKS.items():
                clocks[clock][name].append(read() - start[clock])
    rows = []
    for name in programs:
        ratios = [
            f"{median(own / other for own, other in zip(clocks[clock]['ours'], clocks[clock][name], strict=True)):.2f}"
            for clock in ("wall", "user")
        ]
        rows.append((name, *(f"{median(clocks[clock][name]):.2f}" for clock in CLOCKS), *ratios))
    print(f"{num_images} against {num_images} images of {resolution}x{resolution}, {rounds} rounds")
    print(f"{num_workers()} threads, load average at the end {os.getloadavg()[0]:.1f}")
    print(table(rows, ("program", "wall s", "user s", "system s", "ours/it wall", "ours/it user")))


if __name__ == "__main__":
    main()
