"""Sharpness and fingerprint of an image, once more from the text of docs/choosing.md, plainly and slowly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def luma(pixels: NDArray[np.uint8]) -> list[list[int]]:
    """Y = 0.299 R + 0.587 G + 0.114 B in units of 2**-15, rounded."""
    return [[(9798 * r + 19235 * g + 3735 * b + 16384) >> 15 for r, g, b in row] for row in pixels.astype(int).tolist()]


def reduced(grey: list[list[int]], limit: int) -> list[list[int]]:
    """Means over whole pixels, rounded half up."""
    height, width = len(grey), len(grey[0])
    if height * width <= limit:
        return grey
    down, across = math.isqrt(limit * height // width), math.isqrt(limit * width // height)
    result = []
    for v in range(down):
        rows = grey[v * height // down : (v + 1) * height // down]
        result.append([])
        for u in range(across):
            cell = [value for row in rows for value in row[u * width // across : (u + 1) * width // across]]
            result[-1].append(math.floor(Fraction(sum(cell), len(cell)) + Fraction(1, 2)))
    return result


def sharpness(grey: list[list[int]]) -> float:
    """sqrt(2 (E - 2 a pixel) / G) over the quarter of the 8x8 tiles with the strongest gradients."""
    height, width = len(grey) - 2, len(grey[0]) - 2
    tiles = [[0, Fraction(0)] for _ in range(64)]
    for y in range(height):
        for x in range(width):
            centre = grey[y + 1][x + 1]
            near = [
                grey[y + 1][x] - centre,
                grey[y + 1][x + 2] - centre,
                grey[y][x + 1] - centre,
                grey[y + 2][x + 1] - centre,
            ]
            tile = tiles[
                8 * next(k for k in range(8) if y < (k + 1) * height // 8)
                + next(k for k in range(8) if x < (k + 1) * width // 8)
            ]
            tile[0] += sum(near) ** 2 - 2
            tile[1] += Fraction(sum(step * step for step in near), 2)
    strongest = sorted(tiles, key=lambda tile: -tile[1])[:16]
    energy = sum(tile[1] for tile in strongest)
    detail = sum(tile[0] for tile in strongest)
    return math.sqrt(2 * detail / energy) if detail > 0 else 0.0


def frequencies(grey: list[list[int]]) -> list[float]:
    """The 256 lowest frequencies of the cosine transform of 32x32 area means, in floating point."""
    cells = np.array(grey, float)
    for axis in (0, 1):
        side = cells.shape[axis]
        overlap = np.array(
            [
                [max(0.0, min((k + 1) * side / 32, x + 1) - max(k * side / 32, x)) * 32 / side for x in range(side)]
                for k in range(32)
            ]
        )
        cells = np.moveaxis(np.tensordot(overlap, cells, (1, axis)), 0, axis)
    order = sorted(((v, u) for v in range(32) for u in range(32)), key=lambda pair: (pair[0] + pair[1], pair[0]))
    place = (2 * np.arange(32) + 1) * math.pi / 64
    return [float(np.cos(v * place) @ cells @ np.cos(u * place)) for v, u in order[1:257]]
