"""Slow re-derivations of the image arithmetic, from its definitions alone: float64 and exact fractions, plain loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def box_filtered(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Level of `side` pixels: the mean of every block of the *full* image, rounded once to the nearest, ties to even.

    The means are exact in float64: sums below 2**53, divided by a power of two.
    """
    channels, height, _ = image.shape
    block = height // side
    level = np.empty((channels, side, side), np.uint8)
    for c in range(channels):
        for y in range(side):
            for x in range(side):
                pixels = image[c, y * block : (y + 1) * block, x * block : (x + 1) * block]
                level[c, y, x] = round(float(pixels.astype(np.float64).sum()) / block**2)  # round() is half to even
    return level


def area_mean(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Mean over the exact area that each pixel of a `side` x `side` image covers, in fractions; image (H, H, C)."""
    step = Fraction(len(image), side)
    covers = [
        [
            max(Fraction(0), min((new + 1) * step, Fraction(old + 1)) - max(new * step, Fraction(old)))
            for old in range(len(image))
        ]
        for new in range(side)
    ]
    result = np.empty((side, side, image.shape[2]), np.uint8)
    for y, rows in enumerate(covers):
        for x, columns in enumerate(covers):
            for c in range(image.shape[2]):
                total = sum(
                    row * column * int(image[j, i, c])
                    for j, row in enumerate(rows)
                    if row
                    for i, column in enumerate(columns)
                    if column
                )
                result[y, x, c] = round(total / step**2)  # Fraction rounds half to even, too
    return result
