"""Sliced Wasserstein distance, stated step by step in float64 numpy; slow, shares nothing with the metrics package.

From the description in Karras et al. 2018 (arXiv 1710.10196, section 5) and the parameters of its protocol: 5x5
binomial pyramid with mirrored borders down to 16x16, 7x7x3 patches, normalisation per channel and set, random unit
directions, mean distance of sorted projections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def mirrored(index: int, size: int) -> int:
    """Index reflected into 0..size-1 without repeating the edge: -1 is 1, size is size - 2."""
    if index < 0:
        return -index
    return index if index < size else 2 * (size - 1) - index


def smooth(plane: Floats) -> Floats:
    """5x5 binomial filter, pixel by pixel."""
    size = len(plane)
    result = np.zeros_like(plane)
    for y in range(size):
        for x in range(size):
            for i in range(5):
                for j in range(5):
                    pixel = plane[mirrored(y + i - 2, size), mirrored(x + j - 2, size)]
                    result[y, x] += BINOMIAL[i] * BINOMIAL[j] * pixel
    return result


def shrink(plane: Floats) -> Floats:
    """Filter, then every second pixel from the first on."""
    return smooth(plane)[::2, ::2]


def enlarge(plane: Floats) -> Floats:
    """Zeros between the pixels, then four times the filter."""
    spread = np.zeros((2 * len(plane), 2 * len(plane)))
    spread[::2, ::2] = plane
    return 4 * smooth(spread)


def bands(plane: NDArray[np.generic]) -> list[Floats]:
    """Laplacian pyramid of one plane, finest first, the 16x16 low-pass image last."""
    gaussian = plane.astype(np.float64)
    result = []
    while len(gaussian) >= 32:
        coarser = shrink(gaussian)
        result.append(gaussian - enlarge(coarser))
        gaussian = coarser
    return [*result, gaussian]


def descriptors(band_images: Floats, corners: NDArray[np.int64]) -> Floats:
    """Normalised patches: images (n, 3, r, r), upper left corners (n, p, 2) -> (n * p, 147)."""
    cut = [band_images[image, :, y : y + 7, x : x + 7] for image in range(len(band_images)) for y, x in corners[image]]
    patches = np.stack(cut)
    for channel in range(3):
        values = patches[:, channel]
        patches[:, channel] = (values - values.mean()) / np.sqrt(((values - values.mean()) ** 2).mean())
    return patches.reshape(len(patches), -1)


def distance(a: Floats, b: Floats, directions: Floats) -> float:
    """Mean over directions (d, 147) of the 1-Wasserstein distance of the projections."""
    distances = [np.mean(np.abs(np.sort(a @ direction) - np.sort(b @ direction))) for direction in directions]
    return float(np.mean(distances))
