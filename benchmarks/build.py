"""Time `toolkit make-pyramid` beside the work that cannot be avoided and beside the way data sets are made elsewhere.

    python benchmarks/build.py [--num-images 400] [--rounds 3] [--folder DIR]

Photographs of 1024x1024 (JPEG, quality 95, about 700 KB) become data sets, by programs that run in alternation:

hdf5   `toolkit make-pyramid`, the whole command: from the start of the interpreter to the published, fsynced file with
lmdb   every level, digests, names and a ledger
floor  a bare loop with a thread per core: read a file, decode it with libjpeg-turbo, box filter, write every level
       once into a preallocated file; nothing is checked, named, digested or brought to the disk
zip    the way of StyleGAN3's converter, written from its description: one process; Pillow decodes, and encodes as PNG
       of compression level 0 into a stored zip; the full resolution alone. Timed on a quarter of the images.

All of it is done on every core this process may use and then on one. Figures are medians over the rounds after a first
one that is not counted; ratios are medians of the ratios within each round, since machines are shared.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import growgan  # isort: skip  # noqa: F401
import click
import cv2
import numpy as np
import simplejpeg
from PIL import Image
from skimage import data

from datasets.console import table
from datasets.levels import level_of, levels_up_to, pyramid, resolution_of

SIDE = 1024
LEVELS = levels_up_to(level_of(SIDE))
Program = Callable[[list[Path], Path], int]  # photographs, where to write -> number of images done


def make_photographs(folder: Path, number: int) -> list[Path]:
    """Enlarged pieces of scikit-image's photographs with the noise of a camera, so that they compress like those."""
    generator = np.random.default_rng(0)
    scenes = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.hubble_deep_field(), data.retina()]
    for index in range(number):
        scene = scenes[index % len(scenes)]
        side = int(generator.integers(min(scene.shape[:2]) // 2, min(scene.shape[:2])))
        top, left = (int(generator.integers(0, length - side + 1)) for length in scene.shape[:2])
        piece = cv2.resize(scene[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        noisy = piece[:, :: 1 - 2 * (index % 2)] + generator.normal(0, 9, (SIDE, SIDE, 1)).astype(np.float32)
        picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        picture.save(folder / f"{index:05d}.jpg", quality=95)
    return sorted(folder.iterdir())


def floor(photographs: list[Path], folder: Path) -> int:
    sizes = {level: 3 * resolution_of(level) ** 2 for level in LEVELS}
    starts = {level: len(photographs) * sum(sizes[k] for k in LEVELS if k < level) for level in LEVELS}
    descriptor = os.open(folder / "floor.bin", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, len(photographs) * sum(sizes.values()))

    def convert(row: int) -> None:
        pixels = simplejpeg.decode_jpeg(photographs[row].read_bytes())
        for level, values in pyramid(np.stack(cv2.split(pixels))).items():
            os.pwrite(descriptor, values.data, starts[level] + row * sizes[level])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        done = sum(1 for _ in pool.map(convert, range(len(photographs))))
    os.close(descriptor)
    return done


def command(name: str) -> Program:
    def make(photographs: list[Path], folder: Path) -> int:
        arguments = ["make-pyramid", str(photographs[0].parent), str(folder / name), "--crop", "none"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(
            [sys.executable, "-m", "toolkit.cli", *arguments],
            cwd=Path(__file__).resolve().parents[1],
            env=environment,
            check=True,
            capture_output=True,
        )
        return len(photographs)

    return make


def stored_zip(photographs: list[Path], folder: Path) -> int:
    quarter = photographs[: len(photographs) // 4]
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_STORED) as archive:
        for row, path in enumerate(quarter):
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG", compress_level=0, optimize=False)
            archive.writestr(f"{row // 1000:05d}/img{row:08d}.png", png.getvalue())
    return len(quarter)


PROGRAMS: dict[str, Program] = {
    "hdf5": command("set.h5"),
    "lmdb": command("set.lmdb"),
    "floor": floor,
    "zip": stored_zip,
}


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def timed(program: Program, photographs: list[Path], folder: Path) -> tuple[float, float]:
    """Images per second of wall time, and of processor time."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.sync()  # nobody writes for the program before
        wall, cpu = time.perf_counter(), cpu_seconds()
        number = program(photographs, Path(place))
        return number / (time.perf_counter() - wall), number / (cpu_seconds() - cpu)


def compare(photographs: list[Path], folder: Path, rounds: int) -> str:
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for counted in [False] + [True] * rounds:
        for name, program in PROGRAMS.items():
            speed = timed(program, photographs, folder)
            if counted:
                speeds[name].append(speed)

    def ratios(name: str, other: str) -> list[str]:
        pairs = list(zip(speeds[name], speeds[other], strict=True))
        return [f"{median(own[clock] / others[clock] for own, others in pairs):.2f}" for clock in (0, 1)]

    rows = []
    for name, measured in speeds.items():
        lowest, middle, highest = (f(wall for wall, _ in measured) for f in (min, median, max))
        figures = [f"{middle:.1f}", f"{lowest:.1f}-{highest:.1f}", f"{median(cpu for _, cpu in measured):.1f}"]
        rows.append((name, *figures, *ratios(name, "floor"), *ratios(name, "zip")))
    header = ("program", "img/s", "range", "img/cpu s", "/floor", "/floor cpu", "/zip", "/zip cpu")
    return table(rows, header)


@click.command(help=__doc__)
@click.option("--num-images", default=400, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Where to write.")
def main(num_images: int, rounds: int, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        originals = Path(work) / "photographs"
        originals.mkdir()
        photographs = make_photographs(originals, num_images)
        size = sum(path.stat().st_size for path in photographs) / num_images
        print(f"{num_images} JPEGs of {SIDE}x{SIDE}, {size / 1e3:.0f} KB each, {rounds} rounds")
        alone = Path(work) / "one"
        alone.mkdir()
        one = [(alone / "0.jpg").absolute()]
        one[0].write_bytes(photographs[0].read_bytes())
        starts = [1 / timed(PROGRAMS["hdf5"], one, Path(work))[0] for _ in range(rounds + 1)]
        print(f"of which toolkit make-pyramid needs {median(starts):.2f} s for the first, starting included")
        cores = sorted(os.sched_getaffinity(0))
        for used in dict.fromkeys((len(cores), 1)):
            os.sched_setaffinity(0, cores[:used])  # children inherit it
            result = compare(photographs, Path(work), rounds)
            print(
                f"\n{used} core{'s' * (used > 1)}, load average at the end {os.getloadavg()[0]:.1f}\n{result}",
                flush=True,
            )


if __name__ == "__main__":
    main()
