"""Resizing and warping as Pillow 3.1.1 did it in 2017, to the last bit.

Pillow since 3.3 computes both in whole numbers, with other roundings, so that a modern one gives other pixels. What is
stated here is read from the old library's sources and compared with them: docs/celebahq.md says how.

Lanczos resize: the weights are computed in single precision, apart from a few intermediate values in double precision;
first across, then down; after each direction a pixel is cut to 8 bits. Warp: the position is computed in double
precision; so is the interpolation between the four neighbours; the result is cut, not rounded.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from toolkit.celebahq import kernels

_LOBES = np.float32(3)  # of the Lanczos filter, to each side
_STRIP = 64  # rows at a time, and of the result of a warp
_PART = 256  # columns at a time, so that they stay in the processor's cache

Taps = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@functools.lru_cache(maxsize=32)
def lanczos_taps(old: int, new: int) -> Taps:
    """Which old pixels make a new one, in one direction.

    Parameters
    ----------
    old, new : int
        Lengths in pixels.

    Returns
    -------
    first : ndarray of int64, shape (new,)
    weights : ndarray of float32, shape (new, most)
        Zero from the number of old pixels on.
    number : ndarray of int64, shape (new,)
    """
    scale = np.float32(old) / np.float32(new)
    stretch = max(scale, np.float32(1))  # the filter widens when an image gets smaller
    reach = _LOBES * stretch
    slope = np.float32(1.0 / float(stretch))
    centres = ((np.arange(new) + 0.5) * float(scale)).astype(np.float32)
    first = np.maximum(np.floor(centres - reach).astype(np.int64), 0)
    number = np.minimum(np.ceil(centres + reach).astype(np.int64), old) - first
    taps = np.arange(number.max())
    offsets = (first[:, None] + taps).astype(np.float32) - centres[:, None]  # single
    at = ((offsets.astype(np.float64) + 0.5) * float(slope)).astype(np.float32)
    weights = np.where(taps < number[:, None], _lanczos(at) * slope, np.float32(0))
    sums = np.zeros(new, np.float32)
    for column in weights.T:  # one after the other: numpy would add them in pairs
        sums += column
    np.divide(weights, sums[:, None], out=weights, where=sums[:, None] != 0)
    return first, np.ascontiguousarray(weights), number


def _lanczos(at: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sinc(x) sinc(x / 3)``, in single precision."""
    within = (at >= -_LOBES) & (at < _LOBES)
    return np.where(within, _sinc(at) * _sinc(at / _LOBES), np.float32(0))


def _sinc(at: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sin(pi x) / (pi x)``: the angle in single precision, its sine and the quotient in double, then single."""
    angles, places = np.unique((at.astype(np.float64) * math.pi).astype(np.float32), return_inverse=True)
    # The C library's sine, whose results are the same for all lengths of an array, which those of numpy need not be.
    values = [math.sin(angle) / angle if angle else 1.0 for angle in angles.tolist()]
    return np.array(values, np.float32)[places].reshape(at.shape)


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize with the Lanczos filter, uint8 of shape (H, W, 3) -> (height, width, 3).

    Raises
    ------
    InputError
        If numba is not installed.
    """
    if image.shape[:2] == (height, width):
        return image
    import cv2  # only now: it takes a tenth of a second

    weighted_sums = kernels.compiled().weighted_sums
    old_height, old_width = image.shape[:2]
    first, weights, number = lanczos_taps(old_width, width)
    across = np.empty((old_height, width, 3), np.uint8)
    for start in range(0, old_height, _STRIP):
        strip = np.ascontiguousarray(image[start : start + _STRIP])
        columns = np.empty((width, 3 * len(strip)), np.uint8)
        weighted_sums(cv2.transpose(strip).reshape(old_width, -1), first, weights, number, columns)
        cv2.transpose(columns.reshape(width, len(strip), 3), across[start : start + _STRIP])
    first, weights, number = lanczos_taps(old_height, height)
    result = np.empty((height, width, 3), np.uint8)
    weighted_sums(across.reshape(old_height, -1), first, weights, number, result.reshape(height, -1))
    return result


def bilinear_map(quad: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Map from pixels of a square to positions in an image.

    Parameters
    ----------
    quad : ndarray of float32, shape (4, 2)
        Positions that the top left, bottom left, bottom right and top right corner of the square come from.
    side : int
        Of the square, in pixels.

    Returns
    -------
    ndarray of float64, shape (2, 4)
        ``m`` for x and for y, with ``m0 + m1 column + m2 row + m3 column row``. The differences of corners are taken
        in single precision, as NumPy of 2017 did with the numbers that the recipe gave to Pillow.
    """
    top_left, bottom_left, bottom_right, top_right = np.asarray(quad, np.float32)
    step = 1.0 / side
    return np.stack(
        [
            top_left.astype(np.float64),
            (top_right - top_left).astype(np.float64) * step,
            (bottom_left - top_left).astype(np.float64) * step,
            (bottom_right - bottom_left - top_right + top_left).astype(np.float64) * step * step,
        ],
        axis=1,
    )


def warp(image: NDArray[np.uint8], quad: NDArray[np.float32], side: int, supersampling: int) -> NDArray[np.uint8]:
    """Take a square from an image: a larger one by bilinear interpolation, then smaller by the Lanczos filter.

    The larger square exists only as a few of its rows at a time.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    quad : ndarray of float32, shape (4, 2)
        As `bilinear_map` has it; what lies outside of the image is black.
    side : int
        Of the result, in pixels.
    supersampling : int
        The larger square has `supersampling` times this side.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)

    Raises
    ------
    InputError
        If numba is not installed.
    """
    import cv2

    compiled = kernels.compiled()
    height, width = image.shape[:2]
    pixels = np.zeros((height + 4, width + 2, 4), np.uint8)
    opaque = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    cv2.copyMakeBorder(opaque, 1, 1, 1, 1, cv2.BORDER_REPLICATE, dst=pixels[: height + 2])
    packed = pixels.view("<u4")[..., 0].astype(np.uint32, copy=False)
    large = side * supersampling
    map_x, map_y = bilinear_map(quad, large)
    first, weights, number = lanczos_taps(large, side)  # of equal lengths: each pixel is itself
    across = np.empty((3, large, side), np.uint8)
    for start in range(0, large, _STRIP):
        rows = min(_STRIP, large - start)
        columns = np.empty((side, 3 * rows), np.uint8)
        for left in range(0, side, _PART):
            part = slice(left, left + _PART)
            begin, end = first[part][0], (first[part] + number[part])[-1]
            large_part = np.empty((end - begin, 3, rows), np.float32)
            compiled.warp_part(packed, map_x, map_y, begin, start, large_part)
            flat = large_part.reshape(end - begin, -1)
            compiled.weighted_sums(flat, first[part] - begin, weights[part], number[part], columns[part])
        across[:, start : start + rows] = cv2.transpose(columns).reshape(3, rows, side)
    planes = np.empty((3, side, side), np.uint8)
    for plane, result in zip(across, planes, strict=True):
        compiled.weighted_sums(plane, first, weights, number, result)
    return np.ascontiguousarray(cv2.merge(list(planes)))
