"""Slow, plain statements of the three resize rules, one dimension at a time, from reference descriptions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def tf1(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """TensorFlow 1, bilinear, align_corners False: pixel by pixel, in float32 as its CPU kernel does."""
    channels, height, width = image.shape
    one = np.float32
    out = np.empty((channels, size, size), np.float32)
    for row in range(size):
        y = one(row) * (one(height) / one(size))
        top, bottom = math.floor(y), min(math.floor(y) + 1, height - 1)
        for column in range(size):
            x = one(column) * (one(width) / one(size))
            left, right = math.floor(x), min(math.floor(x) + 1, width - 1)
            for channel in range(channels):
                values = image[channel].astype(np.float32)
                upper = values[top, left] + (values[top, right] - values[top, left]) * (x - one(left))
                lower = values[bottom, left] + (values[bottom, right] - values[bottom, left]) * (x - one(left))
                out[channel, row, column] = upper + (lower - upper) * (y - one(top))
    return out


def half_pixel(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Bilinear with pixel centres at half-integers and repeated borders."""

    def weights(length: int) -> NDArray[np.float64]:
        matrix = np.zeros((size, length))
        for target in range(size):
            source = max(0.0, (target + 0.5) * length / size - 0.5)
            low = min(int(source), length - 1)
            matrix[target, low] += 1 - (source - low)
            matrix[target, min(low + 1, length - 1)] += source - low
        return matrix

    return _apply(image, weights(image.shape[1]), weights(image.shape[2]))


def bicubic_antialiased(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2, stretched when shrinking; weights of what lies inside sum to 1; limited to 0..255."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def weights(length: int) -> NDArray[np.float64]:
        stretch = max(length / size, 1.0)
        matrix = np.zeros((size, length))
        for target in range(size):
            centre = (target + 0.5) * length / size
            # Pillow rounds the window of support to whole pixels.
            first, last = max(0, int(centre - 2 * stretch + 0.5)), min(length, int(centre + 2 * stretch + 0.5))
            for source in range(first, last):
                matrix[target, source] = cubic((source + 0.5 - centre) / stretch)
            matrix[target] /= matrix[target].sum()
        return matrix

    return np.clip(_apply(image, weights(image.shape[1]), weights(image.shape[2])), 0, 255)


def _apply(image: NDArray[np.uint8], down: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("yh,chw,xw->cyx", down, image.astype(np.float64), across)
