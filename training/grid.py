"""Grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.atomic import replacing


def tile(images: NDArray[np.uint8], columns: int, gap: int = 0) -> NDArray[np.uint8]:
    """Arrange (N, 3, r, r) row by row, with `gap` white pixels between, into one picture (height, width, 3)."""
    if gap:
        wide = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
        return tile(wide, columns)[:-gap, :-gap]
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:count] = images
    picture = cells.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return picture.reshape(rows * height, columns * width, channels)


def snapshot_cells(columns: int, rows: int, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Choose what the cells of a run's sample grid show.

    Parameters
    ----------
    columns, rows : int
        Of the grid.
    num_classes : int
        Of the generator; 0 if it is told no class.

    Returns
    -------
    tuple of (ndarray of int64, shape (columns * rows,), ndarray of the same shape or None)
        Numbers of the images, and their classes. Without classes the first images, one after the other. With classes
        every row shows one class (the first ones, over and over if there are more rows), every column one latent.
    """
    if not num_classes:
        return np.arange(columns * rows), None
    return np.tile(np.arange(columns), rows), np.repeat(np.arange(rows) % num_classes, columns)


def save_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an RGB picture (H, W, 3) atomically."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
