"""Grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.atomic import replacing


def tile(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Arrange (N, 3, r, r) row by row, without gaps, into one picture (rows * r, columns * r, 3)."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:count] = images
    picture = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return picture.reshape(rows * height, columns * width, channels)


def save_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture (H, W, 3) atomically."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
