"""Time the reading of random images from every format beside gathering them from an array in memory.

    python benchmarks/loading.py [--resolution 1024 --resolution 128 ...] [--mode new --mode 2 ...] [--rounds 5]

Every program gathers batches of 64 images (16 at 1024x1024) of the same size at random rows:

memory      numpy.take from an array in memory: the floor
small pages the same from an array for which the system may not use pages of 2 MiB, as it does for large arrays of numpy
            and seldom for files: so many random copies wait for the processor's tables of pages, not for memory
memcpy      as many bytes in one piece, in memory
others      ``gather`` of a pyramid; its files are in the page cache
library     the lmdb library: a transaction for each batch, a copy of each value

In one process each batch goes to new memory, as in ``array[rows]`` (new), or to the same array (same), and processor
time is counted: others may use the machine. With workers, a torch DataLoader's processes gather batches and send them,
and wall time is counted. Programs run in alternation and begin each round with new workers; figures are medians over
the rounds, ratios medians of the ratios within a round. The pixels are crops of photographs of scikit-image, put
together where they are too small. A second table has sizes, and the speed of writing and reading, of every store.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mmap
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import lmdb
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from datasets import formats
from datasets.console import table
from datasets.formats import Pixels
from datasets.levels import level_of, name_of, pyramid

Rows = NDArray[np.int64]
Fill = Callable[[Rows, NDArray[np.uint8]], object]
STORES = {
    "HDF5": ("h5", None, 1),
    "HDF5, 4 shards": ("h5", None, 4),
    "LMDB raw": ("lmdb", "raw", 1),
    "LMDB raw, 4 shards": ("lmdb", "raw", 4),
    "LMDB PNG": ("lmdb", "png", 1),
    "LMDB WebP": ("lmdb", "webp", 1),
}
SIDES = (4, 8, 16, 32, 64, 128, 256, 1024)
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")


def photographs(count: int, resolution: int) -> Iterator[NDArray[np.uint8]]:
    """Batches of images, (16, 3, r, r): crops of photographs, larger ones put together from several."""
    generator = np.random.default_rng(0)
    pictures = [np.asarray(getattr(skimage.data, name)())[..., :3] for name in PHOTOGRAPHS]
    side = min(resolution, 256)
    for _ in range(0, count, 16):
        canvas = np.empty((16, 3, resolution, resolution), np.uint8)
        for image in canvas:
            for top in range(0, resolution, side):
                for left in range(0, resolution, side):
                    picture = pictures[generator.integers(len(pictures))]
                    y, x = (int(generator.integers(size - side + 1)) for size in picture.shape[:2])
                    crop = np.rot90(picture[y : y + side, x : x + side], generator.integers(4))
                    image[:, top : top + side, left : left + side] = crop.transpose(2, 0, 1)
        yield canvas


def write_stores(folder: Path, count: int, resolution: int) -> list[tuple[str, ...]]:
    """Write the same images in every store; rows of the table of sizes and speeds."""
    images = np.concatenate(list(photographs(count, resolution)))
    levels = [pyramid(images[start : start + 16]) for start in range(0, count, 16)]
    lines, raw = [], 0
    for name, (suffix, encoding, shards) in STORES.items():
        path = folder / f"{name}-{resolution}.{suffix}"
        started = time.process_time()
        with formats.create(path, count, resolution, encoding=encoding, shards=shards) as writer:
            for k, part in enumerate(levels):
                writer.write(range(16 * k, 16 * k + 16), writer.pack(part))
            writer.finish([str(row) for row in range(count)])
        seconds = time.process_time() - started
        size = sum(file.stat().st_size for file in formats.open_pyramid(path).files())
        raw = raw or size
        started = time.process_time()
        pixels = formats.open_pyramid(path).level(level_of(resolution))
        for row in range(count):
            pixels.gather([row])
        rate = count / (time.process_time() - started)
        lines.append((name, f"{size / 1e6:.0f}", f"{size / raw:.2f}", f"{count / seconds:.0f}", f"{rate:.0f}"))
    return lines


class Batches(Dataset[torch.Tensor]):
    """Batches for a DataLoader: each is filled by a worker."""

    def __init__(self, fill: Fill, rows: NDArray[np.int64], shape: tuple[int, ...]) -> None:
        self.fill, self.rows, self.shape = fill, rows, shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        out = torch.empty((self.rows.shape[1], *self.shape), dtype=torch.uint8)
        self.fill(self.rows[index], out.numpy())
        return out


def in_small_pages(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copy of an array, in memory for which the system may not use large pages."""
    memory = mmap.mmap(-1, array.nbytes)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    copy = np.frombuffer(memory, np.uint8).reshape(array.shape)
    copy[:] = array
    return copy


def library(path: Path, level: int) -> Fill:
    """Read with the lmdb library, as others would."""
    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
    name = name_of(level)

    def fill(rows: Rows, out: NDArray[np.uint8]) -> None:
        with environment.begin(buffers=True) as transaction:
            for image, row in zip(out, rows.tolist(), strict=True):
                image.reshape(-1)[:] = np.frombuffer(transaction.get(f"{name}/{row:08d}".encode()), np.uint8)

    return fill


def images_per_second(fill: Fill, rows: NDArray[np.int64], shape: tuple[int, ...], mode: str) -> float:
    """Speed over all batches of rows. The start of workers is not counted, nor the first batch of each."""
    if mode in ("new", "same"):
        out = np.empty((rows.shape[1], *shape), np.uint8)
        started = time.process_time()
        for batch in rows:
            fill(batch, out if mode == "same" else np.empty_like(out))
        return rows.size / (time.process_time() - started)
    workers = int(mode)
    loader = DataLoader(Batches(fill, rows, shape), batch_size=None, num_workers=workers, prefetch_factor=2)
    batches = iter(loader)
    for _ in range(workers):
        next(batches)
    started = time.perf_counter()
    left = sum(1 for _ in batches)
    return left * rows.shape[1] / (time.perf_counter() - started)


def compare(folder: Path, resolution: int, top: int, mode: str, rounds: int, seconds: float) -> list[tuple[str, ...]]:
    """Rows of the table of one level and way of reading."""
    level = level_of(resolution)
    paths = {name: folder / f"{name}-{top}.{suffix}" for name, (suffix, _, _) in STORES.items()}
    pixels: dict[str, Pixels] = {name: formats.open_pyramid(path).level(level) for name, path in paths.items()}
    array = np.array(pixels["HDF5"])
    small = in_small_pages(array)
    batch = 16 if resolution >= 1024 else 64
    programs: dict[str, Fill] = {
        "memory": lambda rows, out: np.take(array, rows, axis=0, out=out, mode="clip"),
        "memory, small pages": lambda rows, out: np.take(small, rows, axis=0, out=out, mode="clip"),
        "memcpy": lambda rows, out: np.copyto(out, array[rows[0] % (len(array) - batch) :][:batch]),
        **{name: store.gather for name, store in pixels.items()},
    }
    if not mode.isdigit():  # it must not be open when a process forks
        programs["LMDB raw, library"] = library(paths["LMDB raw"], level)
    generator = np.random.default_rng(0)
    speeds: dict[str, list[float]] = {name: [] for name in programs}
    batches: dict[str, int] = {}
    workers = int(mode) if mode.isdigit() else 1
    for name, fill in programs.items():  # how many batches fill the time
        rate = images_per_second(fill, generator.integers(0, len(array), (4, batch)), array.shape[1:], "same")
        batches[name] = max(int(seconds * rate / batch * workers), 4 * workers)
    for _ in range(rounds):
        for name, fill in programs.items():
            rows = generator.integers(0, len(array), (batches[name], batch))
            speeds[name].append(images_per_second(fill, rows, array.shape[1:], mode))
    lines = []
    target = f"{mode} workers" if mode.isdigit() else mode
    for name, found in speeds.items():
        ratio = median(own / memory for own, memory in zip(found, speeds["memory"], strict=True))
        lines.append((str(resolution), target, name, f"{median(found):,.0f}", f"{100 * ratio:.0f}"))
    return lines


@click.command(help=__doc__)
@click.option("--resolution", "resolutions", multiple=True, default=SIDES, show_default=True)
@click.option("--mode", "modes", multiple=True, default=("new", "same", "2", "4"), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.3, show_default=True, help="Of one measurement.")
@click.option("--large", default=192, show_default=True, help="Images of 1024x1024.")
@click.option("--small", default=4096, show_default=True, help="Images of 128x128 and of the levels below.")
def main(
    resolutions: tuple[int, ...], modes: tuple[str, ...], rounds: int, seconds: float, large: int, small: int
) -> None:
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores are meant
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for top, count in ((1024, large), (128, small)):
            sides = [side for side in resolutions if (side > 128) == (top > 128)]
            if not sides:
                continue
            print(f"\n{count} images of {top}x{top}, with all levels below; one process writes and reads all of them")
            print(table(write_stores(folder, count, top), ("store", "MB", "of HDF5", "written/s", "read/s")))
            for mode in modes:
                lines = [line for side in sides for line in compare(folder, side, top, mode, rounds, seconds)]
                print(f"\nload average {os.getloadavg()[0]:.1f}, {rounds} rounds")
                print(table(lines, ("side", "to", "program", "images/s", "% of memory")), flush=True)


if __name__ == "__main__":
    main()
