"""MNIST-RGB: six images made of three digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oracles.array_files import pictures, write_mnist

from source_examples import Example
from toolkit.sources import mnist_rgb

LABELS = [5, 0, 4]


def make(where: Path) -> Example:
    mnist_rgb.NUM_IMAGES = 6  # from now on: a million would take minutes
    digits = pictures(3, 28)[:, 0]
    folder = write_mnist(where / "mnist", digits, np.array(LABELS, np.uint8), packed=False)
    generator = np.random.RandomState(123)
    draws = [generator.randint(3, size=3) for _ in range(6)]
    padded = np.pad(digits, ((0, 0), (2, 2), (2, 2)))
    labels = [int("".join(str(LABELS[digit]) for digit in draw)) for draw in draws]
    return Example(folder, [np.stack(padded[draw], axis=-1) for draw in draws], labels, recognised=False)
