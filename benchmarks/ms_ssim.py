"""Time MS-SSIM beside a plain one with convolutions and beside two known packages, if they are installed.

    python benchmarks/ms_ssim.py [--rounds 3]

Pairs per cpu-second, programs in alternation, medians over the rounds. pytorch-msssim and torchmetrics compute the rule
of natural-image quality (a product per channel), which refuses images up to 160 pixels with its 11-tap window; they are
therefore timed from 256 pixels on. On grey images, where the rules agree, the values are compared first.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from datasets.console import table
from metrics.scores import ms_ssim as our
from metrics.workers import num_workers

PAIRS = {32: 512, 128: 96, 256: 24, 1024: 2}  # about equally many pixels


def plain(x: Tensor, y: Tensor) -> Tensor:
    """Five maps, filtered by two convolutions, for the joint-channel rule."""
    x, y, values = x.float(), y.float(), []
    for scale in range(5):
        weights = torch.from_numpy(our.window(x.shape[-1]))
        maps = torch.cat((x, y, x * x, y * y, x * y), dim=1)
        kernel = weights.expand(15, 1, -1)
        maps = functional.conv2d(functional.conv2d(maps, kernel[:, :, None], groups=15), kernel[..., None], groups=15)
        mean_x, mean_y, xx, yy, xy = maps.chunk(5, dim=1)
        similarity = (2 * (xy - mean_x * mean_y) + our.CONTRAST) / (xx - mean_x**2 + yy - mean_y**2 + our.CONTRAST)
        if scale == 4:
            similarity *= (2 * mean_x * mean_y + our.LUMINANCE) / (mean_x**2 + mean_y**2 + our.LUMINANCE)
        values.append(similarity.mean((1, 2, 3)).clamp(min=0) ** our.WEIGHTS[scale])
        x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return torch.stack(values).prod(0)


def packages() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    try:
        vainf = importlib.import_module("pytorch_msssim")
        found["pytorch-msssim"] = lambda x, y: vainf.ms_ssim(x.float(), y.float(), data_range=255, size_average=False)
    except ImportError:
        print("pytorch-msssim is not installed")
    try:
        image = importlib.import_module("torchmetrics.functional.image")
        measure = image.multiscale_structural_similarity_index_measure
        found["torchmetrics"] = lambda x, y: measure(x.float(), y.float(), data_range=255.0, reduction="none")
    except ImportError:
        print("torchmetrics is not installed")
    return found


def images(count: int, side: int, seed: int) -> NDArray[np.uint8]:
    """Noise in every octave, so that no scale is empty."""
    generator = np.random.default_rng(seed)
    total = np.full((count, 3, side, side), 128.0, np.float32)
    block = side
    while block >= 1:
        total += generator.normal(0, 20, (count, 3, side // block, side // block)).repeat(block, 2).repeat(block, 3)
        block //= 4
    return np.clip(total, 0, 255).astype(np.uint8)


def compare_values(others: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> None:
    grey = images(4, 256, 0)[:, :1].repeat(3, 1), images(4, 256, 1)[:, :1].repeat(3, 1)
    tensors = torch.from_numpy(grey[0]), torch.from_numpy(grey[1])
    for name, program in {"plain": plain, **others}.items():
        difference = np.abs(our.ms_ssim(*grey) - program(*tensors).numpy()).max()
        print(f"largest difference from {name} on grey pairs of 256x256: {difference:.1e}")


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    torch.set_num_threads(num_workers())
    others = packages()
    compare_values(others)
    rows = []
    for side, count in PAIRS.items():
        arrays = images(count, side, 0), images(count, side, 1)
        x, y = (torch.from_numpy(array) for array in arrays)
        programs: dict[str, Callable[[], object]] = {"ours": lambda arrays=arrays: our.ms_ssim(*arrays)}  # type: ignore[misc]
        for name, program in {"plain": plain, **(others if side > 160 else {})}.items():
            programs[name] = lambda program=program, x=x, y=y: program(x, y)  # type: ignore[misc]
        cpu: dict[str, list[float]] = {name: [] for name in programs}
        wall: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, call in programs.items():
                start = time.process_time(), time.perf_counter()
                call()
                cpu[name].append(time.process_time() - start[0])
                wall[name].append(time.perf_counter() - start[1])
        for name in programs:
            ratios = [
                f"{median(other / own for own, other in zip(clock['ours'], clock[name], strict=True)):.1f}"
                for clock in (wall, cpu)
            ]
            rows.append((side, name, f"{count / median(cpu[name]):.1f}", *ratios))
    print(f"{rounds} rounds, {num_workers()} threads, load average at the end {os.getloadavg()[0]:.1f}")
    print(table(rows, ("side", "program", "pairs per cpu-s", "its wall/ours", "its cpu/ours")))


if __name__ == "__main__":
    main()
