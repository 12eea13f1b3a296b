"""Time the Inception features beside pytorch-fid and torch-fidelity, if they are installed.

    python benchmarks/features.py [--rounds 5] [--side 128]

All programs get the same uint8 images and the same random weights, and the features are compared first. Images per
cpu-second, programs in alternation, medians over the rounds; the resize of each program is part of its time. Speed
depends on the processor: bfloat16 pays only where it has instructions for it (AVX512-BF16, AMX).
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import numpy as np
import torch
from torch import Tensor

from datasets.console import table
from metrics.features.inception import Network
from metrics.workers import num_workers

Program = Callable[[Tensor], Tensor]


def random_weights() -> dict[str, Tensor]:
    """State dict whose activations keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in Network.shapes(Network.__new__(Network)).items():
        if len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            state[name] = torch.rand(shape, generator=generator) + (0.5 if "weight" in name or "var" in name else -0.5)
    return state


def peers(state: dict[str, Tensor]) -> dict[str, Program]:
    """Other programs with our weights in place of the ones they would download."""
    full = dict(state)
    for name in state:
        if name.endswith(".running_var"):
            full[name.replace("running_var", "num_batches_tracked")] = torch.zeros((), dtype=torch.int64)
    found: dict[str, Program] = {}
    for name, make in {"pytorch-fid": pytorch_fid, "torch-fidelity": torch_fidelity}.items():
        try:
            found[name] = make(full)
        except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision built for another torch
            print(f"{name} is not usable here: {error}")
    return found


def pytorch_fid(state: dict[str, Tensor]) -> Program:
    module: Any = importlib.import_module("pytorch_fid.inception")
    module.load_state_dict_from_url = lambda *_, **__: state
    network = module.InceptionV3([3]).eval()
    return lambda images: network(images.float() / 255)[0].flatten(1)


def torch_fidelity(state: dict[str, Tensor]) -> Program:
    module: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    module.load_state_dict_from_url = lambda *_, **__: state
    network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    return lambda images: network(images)[0]


def ours(network: Network) -> Program:
    return lambda images: network(images).pool


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True)
@click.option("--side", default=128, show_default=True, help="Side of the images.")
@click.option("--batch", default=32, show_default=True, help="Images in a call.")
def main(rounds: int, side: int, batch: int) -> None:
    torch.set_num_threads(num_workers())
    state = random_weights()
    others = peers(state)
    programs: dict[str, Program] = {
        "pytorch-fid": others.get("pytorch-fid", lambda _: torch.zeros(0)),
        "ours, torch": ours(Network(state, resize="torch")),
        "torch-fidelity": others.get("torch-fidelity", lambda _: torch.zeros(0)),
        "ours, tf1": ours(Network(state)),
        "ours, clean": ours(Network(state, resize="clean")),
        "ours, tf1, bfloat16": ours(Network(state, dtype="bfloat16")),
    }
    programs = {name: program for name, program in programs.items() if name in others or name.startswith("ours")}
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, 3, side, side), np.uint8))
    with torch.inference_mode():
        few = {name: program(images[:4]) for name, program in programs.items()}
        for name, own in {"pytorch-fid": "ours, torch", "torch-fidelity": "ours, tf1"}.items():
            if name in others:
                difference = (few[own] - few[name]).norm() / few[name].norm()
                print(f"{own} differs from {name} by {difference:.1e} of the features' length")
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                start = time.process_time()
                program(images)
                seconds[name].append(time.process_time() - start)
    base = next(iter(programs))
    rows = [
        (
            name,
            f"{batch / median(spent):.2f}",
            f"{median(b / own for b, own in zip(seconds[base], spent, strict=True)):.2f}",
        )
        for name, spent in seconds.items()
    ]
    print(f"{rounds} rounds, {batch} images of {side}x{side}, {num_workers()} threads, load {os.getloadavg()[0]:.1f}")
    print(table(rows, ("program", "images per cpu-s", f"times {base}")))


if __name__ == "__main__":
    main()
