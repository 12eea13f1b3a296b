"""Levels of a pyramid: level = log2(resolution), and the box filter that leads from one to the next.

Every level is the box filter of the *full* resolution, rounded once (half to even). Chaining rounded levels instead
moves 13-17% of the pixels by one from the second halving on. The sums are integers, so they are exact for every size:
a float32 chain would lose bits beyond eight halvings (8 bits a pixel + 2 bits a halving > 24 bits of mantissa).

The sums are fast because numpy never steps over pixels: two neighbours in a row are read as one number of twice the
width, whose lower and upper half are taken apart by a mask and a shift and added, which a processor does for 16 to 32
pixels at once. The intermediate arrays are kept by each thread, since a system that hands out fresh memory clears it
page by page, which takes longer than the sums.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

MIN_LEVEL = 2  # 4x4, where progressive growing starts
MAX_LEVEL = 11  # 2048x2048

_GROUP = 1 << 21  # pixels that are summed at a time, so that the sums of a large batch stay in the processor's cache
_TWICE = {np.dtype(narrow): np.dtype(wide) for narrow, wide in (("u1", "u2"), ("u2", "u4"), ("u4", "u8"))}
_Sums = NDArray[np.unsignedinteger[Any]]


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


class _Scratch(threading.local):
    """Memory that a thread uses again and again, in numbered slots."""

    def __init__(self) -> None:
        self._slots = [np.empty(0, np.uint8)] * 3

    def __call__(self, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Sums:
        size = math.prod(shape) * dtype.itemsize
        if self._slots[slot].nbytes < size:
            self._slots[slot] = np.empty(size, np.uint8)
        return self._slots[slot][:size].view(dtype).reshape(shape)


_scratch = _Scratch()


def pyramid(image: NDArray[np.uint8]) -> dict[int, NDArray[np.uint8]]:
    """All levels of one image or of a batch. Most of the time is spent without the interpreter's lock.

    Parameters
    ----------
    image : ndarray of uint8, shape (..., R, R)
        Square, R a power of two from 4 to 2048; fastest if it is C-contiguous.

    Returns
    -------
    dict of int to ndarray of uint8, shape (..., r, r)
        Level -> pixels for every level from 4x4 to RxR; the last one is `image` itself.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise InputError(f"an image of {width}x{height} pixels is not square; a pyramid needs square images")
    top = level_of(width)
    planes = np.ascontiguousarray(image).reshape(math.prod(image.shape[:-2]), width, width)
    below = range(top - 1, MIN_LEVEL - 1, -1)
    smaller = {level: np.empty((len(planes), 1 << level, 1 << level), np.uint8) for level in below}
    step = max(1, _GROUP // width**2)
    for start in range(0, len(planes), step):
        part = slice(start, start + step)
        sums: _Sums = planes[part].reshape(-1, width)  # planes below each other: no pair of rows crosses two of them
        for halvings, level in enumerate(below, start=1):
            sums = _halved(sums)
            _round_half_even(sums, 2 * halvings, out=smaller[level][part].reshape(sums.shape))
    return {level: smaller[level].reshape(*image.shape[:-2], *smaller[level].shape[1:]) for level in below[::-1]} | {
        top: image
    }


def _halved(sums: _Sums) -> _Sums:
    """Sums of blocks of 2x2, shape (H, W) -> (H / 2, W / 2), in a type that holds them: it doubles up to 64 bits."""
    if sums.itemsize == 8:
        sums = sums.astype(np.uint32)  # of pixels of 8 bits after at most 9 halvings: 26 bits
    bits = 8 * sums.itemsize
    pairs = sums.view(_TWICE[sums.dtype])
    left, right = (_scratch(number, pairs.shape, pairs.dtype) for number in (0, 1))  # or right, left: byte order
    np.bitwise_and(pairs, (1 << bits) - 1, out=left)
    np.right_shift(pairs, bits, out=right)
    left += right
    return np.add(left[0::2], left[1::2], out=_scratch(2, (len(left) // 2, left.shape[1]), left.dtype))


def _round_half_even(sums: _Sums, bits: int, out: NDArray[np.uint8]) -> None:
    """``round(sums / 2**bits)`` with ties to the even neighbour, in integers."""
    # Adding just under a half rounds up whatever lies above the tie; adding the quotient's own last bit on top lifts
    # a tie (and nothing else) to the next number when the quotient is odd.
    lifted = np.right_shift(sums, bits, out=_scratch(0, sums.shape, sums.dtype))
    lifted &= 1
    lifted += sums
    lifted += (1 << (bits - 1)) - 1
    lifted >>= bits
    np.copyto(out, lifted, casting="unsafe")
