"""Levels of a pyramid: level = log2(resolution), and the box filter that leads from one to the next.

Every level is the box filter of the *full* resolution, rounded once (half to even). Chaining rounded levels instead
moves 13-17% of the pixels by one from the second halving on. The sums are integers, so they are exact for every size:
a float32 chain would lose bits beyond eight halvings (8 bits a pixel + 2 bits a halving > 24 bits of mantissa).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

MIN_LEVEL = 2  # 4x4, where progressive growing starts
MAX_LEVEL = 11  # 2048x2048


def resolution_of(level: int) -> int:
    """Side length in pixels of a level."""
    return 1 << level


def level_of(resolution: int, what: str = "resolution") -> int:
    """Level of a side length.

    Parameters
    ----------
    resolution : int
        Side length in pixels, a power of two from 4 to 2048.
    what : str
        What the number is, for the error message.

    Raises
    ------
    InputError
        If the side is not such a power of two.
    """
    level = int(resolution).bit_length() - 1
    if resolution < 1 or resolution != 1 << level or not MIN_LEVEL <= level <= MAX_LEVEL:
        allowed = ", ".join(str(resolution_of(k)) for k in range(MIN_LEVEL, MAX_LEVEL + 1))
        raise InputError(f"{what} {resolution} is not a side a pyramid can have; choose one of {allowed}")
    return level


def levels_up_to(top: int) -> range:
    """All levels of a pyramid whose finest level is `top`, coarsest first."""
    return range(MIN_LEVEL, top + 1)


def name_of(level: int) -> str:
    """Name under which a level is stored, the one the 2017 tools use: ``data32x32``."""
    resolution = resolution_of(level)
    return f"data{resolution}x{resolution}"


def pyramid(image: NDArray[np.uint8]) -> dict[int, NDArray[np.uint8]]:
    """All levels of one image or of a batch.

    Parameters
    ----------
    image : ndarray of uint8, shape (..., R, R)
        Square, R a power of two from 4 to 2048.

    Returns
    -------
    dict of int to ndarray of uint8, shape (..., r, r)
        Level -> pixels for every level from 4x4 to RxR; the last one is `image` itself.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise InputError(f"an image of {width}x{height} pixels is not square; a pyramid needs square images")
    top = level_of(width)
    levels = {top: image}
    sums = image.astype(np.uint32)
    for halvings, level in enumerate(range(top - 1, MIN_LEVEL - 1, -1), start=1):
        rows = sums[..., 0::2, :] + sums[..., 1::2, :]
        sums = rows[..., 0::2] + rows[..., 1::2]
        levels[level] = _round_half_even(sums, 2 * halvings)
    return dict(sorted(levels.items()))


def _round_half_even(sums: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """``round(sums / 2**bits)`` with ties to the even neighbour, in integers."""
    quotient = sums >> bits
    # Adding just under a half rounds up whatever lies above the tie; adding the quotient's own last bit on top lifts
    # a tie (and nothing else) to the next number when the quotient is odd.
    return ((sums + (1 << (bits - 1)) - 1 + (quotient & 1)) >> bits).astype(np.uint8)
