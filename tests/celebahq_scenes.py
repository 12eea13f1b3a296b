"""Pictures for tests of the CelebA-HQ recipe: made of whole numbers alone, so that every machine makes the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A worked example of the recipe: landmarks of a tilted face near the left and the upper border, and a photograph.
TILTED = [(165, 184), (244, 176), (196, 249), (194, 271), (266, 260)]
WIDTH, HEIGHT = 409, 387


def scene(width: int, height: int) -> NDArray[np.uint8]:
    """Waves, edges, a flat patch and some noise; no two channels and no two sides alike; (height, width, 3)."""
    y, x, c = np.mgrid[:height, :width, :3].astype(np.int64)
    waves = (x * x * (3 + c) // 97 + y * x // 31 + y * (5 - c)) % 512
    values = np.where(waves < 256, waves, 511 - waves)
    values += (((x + 7 * c) // 23 + y // 17) % 2) * 40 + (x * 7919 + y * 104729 + c * 31337) % 13
    values[(x > width // 2) & (y > 2 * height // 3)] = 255
    return np.clip(values, 0, 255).astype(np.uint8)
