"""Images for the tests of the metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


def make_scenes(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured gradients with a few sharp boxes: structure in every band, different in every channel and direction."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    images = np.zeros((count, 3, side, side))
    for image in images:
        for channel, strength in zip(image, (180, 120, 60), strict=True):
            channel += strength * (generator.uniform() * y + generator.uniform() * x**2)
        for _ in range(4):
            top, left, height, width = generator.integers(0, side // 2, 4)
            image[:, top : top + height + 1, left : left + width + 1] += generator.uniform(-60, 60, (3, 1, 1))
    return (np.clip(images, 0, 255) + 0.5).astype(np.uint8)


@pytest.fixture
def scenes() -> Callable[..., NDArray[np.uint8]]:
    """Function (count, side, seed=0) -> uint8 images (count, 3, side, side)."""
    return make_scenes
