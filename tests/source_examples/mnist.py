"""Five digits in the files of MNIST, packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oracles.array_files import pictures, write_mnist

from source_examples import Example

LABELS = [5, 0, 4, 1, 9]


def make(where: Path) -> Example:
    images = pictures(5, 28)[:, 0]
    folder = write_mnist(where / "mnist", images, np.array(LABELS, np.uint8), packed=True)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return Example(folder, list(np.repeat(padded[..., None], 3, axis=3)), LABELS)
