"""Three images in the folder that the 2017 TensorFlow tools make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oracles.array_files import pictures, write_tfrecords

from source_examples import Example

LABELS = [1, 0, 3]


def make(where: Path) -> Example:
    images = pictures(3, 8)
    levels = {2: pictures(3, 4, seed=1), 3: images}
    folder = write_tfrecords(where / "tiny", levels, np.eye(4, dtype=np.float32)[LABELS])
    return Example(folder, list(images.transpose(0, 2, 3, 1)), LABELS)
