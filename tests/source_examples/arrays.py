"""Four grey images and their labels in an archive of numpy arrays, packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oracles.array_files import pictures

from source_examples import Example

LABELS = [2, 0, 1, 2]


def make(where: Path) -> Example:
    images = pictures(4, 9)[:, 0, :8]
    path = where / "set.npz"
    np.savez_compressed(path, images=images, labels=np.array(LABELS))
    return Example(path, list(np.repeat(images[..., None], 3, axis=3)), LABELS)
