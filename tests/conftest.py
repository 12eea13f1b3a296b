"""Fixtures shared by all tests: seeds, no network, small data sets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datasets import formats
from datasets.levels import pyramid

# Tests compute on small tensors, where more threads cost more than they bring, the more so on a busy machine.
# Results to the bit are promised for an equal number of threads; the commands that tests start inherit this one.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run without network; a socket in the file system connects processes of this machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise AssertionError(f"a test opened a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests leave the user's cache alone; the commands that they start inherit this."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """Generator with a fixed seed."""
    return np.random.default_rng(0)


def scene(count: int, resolution: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth coloured blobs on dark ground, uint8 (count, 3, r, r): structured, and different in every channel."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:resolution, 0:resolution] / resolution
    images = np.zeros((count, 3, resolution, resolution))
    for image in images:
        for _ in range(3):
            cx, cy = generator.uniform(0, 1, 2)
            width = generator.uniform(0.05, 0.3)
            blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
            image += generator.uniform(40, 200, 3)[:, None, None] * blob
    return (np.clip(images, 0, 255) + 0.5).astype(np.uint8)


def write_pyramid(path: Path, images: NDArray[np.uint8]) -> Path:
    """Write images (N, 3, R, R) as a pyramid."""
    with formats.create(path, len(images), images.shape[-1]) as writer:
        writer.write(range(len(images)), writer.pack(pyramid(images)))
        writer.finish([f"image{row:03d}.png" for row in range(len(images))])
    return path


@pytest.fixture(scope="session")
def make_pyramid(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function that gives a pyramid of `count` scenes of a resolution and seed, made once a session."""
    made: dict[tuple[int, int, int], Path] = {}

    def make(count: int = 48, resolution: int = 16, seed: int = 0) -> Path:
        key = (count, resolution, seed)
        if key not in made:
            folder = tmp_path_factory.mktemp("pyramid")
            made[key] = write_pyramid(folder / f"scenes-{resolution}.h5", scene(*key))
        return made[key]

    return make
