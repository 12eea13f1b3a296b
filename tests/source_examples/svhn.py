"""Four digits in a file of SVHN, as MATLAB writes it, packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from oracles.array_files import pictures

from source_examples import Example

LABELS = [1, 0, 9, 2]


def make(where: Path) -> Example:
    images = pictures(4, 32).transpose(0, 2, 3, 1)
    path = where / "train_32x32.mat"
    stored = {"X": images.transpose(1, 2, 3, 0), "y": np.array([[label or 10] for label in LABELS], np.uint8)}
    scipy.io.savemat(path, stored, do_compression=True)
    return Example(path, list(images), LABELS)
