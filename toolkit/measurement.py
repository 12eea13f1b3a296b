"""What the choice among images has to know of their pixels: how sharp they are, and which of them look the same.

*Sharpness* is the inverse of the blur of the edges, in a picture reduced to 512x512 pixels' worth of luma. If E is the
energy (sum of squares) of the Laplacian and G that of the gradient, two classic measures of focus [1]_ [2]_, then
``sqrt(2 E / G)`` is about ``1 / sigma`` for a step that was blurred by a Gaussian of standard deviation sigma, whatever
its contrast, and 2 for a step from one pixel to the next. The energies are taken over the sixteen of 8x8 tiles that
have the strongest gradients, so a soft background behind a sharp subject does no harm. E is taken less 2 a pixel, a
little more than the rounding to grey levels adds, which would make the softest pictures look sharp. What values mean,
and how well they part sharp photographs from blurred ones, is measured in docs/choosing.md.

The *fingerprint* is a perceptual hash [3]_: the signs of the 256 lowest frequencies of a discrete cosine transform of
the luma, besides the mean colour. Saving as JPEG, resizing and a little more light or contrast change a few of the 256
bits; two different pictures differ in about 128. The usual 64 bits would not do: 200,000 aligned faces make 2 * 10**10
pairs, and the layout that all faces share leaves thousands of these within 4 bits of 64.

All of it is computed in integers, up to a last division and square root, so that every machine chooses the same images.

References
----------
.. [1] M. Subbarao, T. Choi, A. Nikzad, "Focusing techniques", Optical Engineering 32(11), 1993, pp. 2824-2836.
.. [2] S. Pertuz, D. Puig, M. A. Garcia, "Analysis of focus measure operators for shape-from-focus", Pattern
   Recognition 46(5), 2013, pp. 1415-1432.
.. [3] C. Zauner, "Implementation and benchmarking of perceptual image hash functions", thesis, Hagenberg, 2010.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

FINGERPRINT_BITS: Final = 256
COLOUR_TOLERANCE: Final = 32  # of 255, between the mean colours of pictures that count as one

_WORKING_PIXELS = 512 * 512
_STRIP_PIXELS = 1 << 22  # of an image that are summed at a time: 255 * 2**22 is less than 2**31
_TILES = 8  # across and down
_NOISE = 2  # energy of the Laplacian per pixel, squared grey levels; (16 + 1 + 1 + 1 + 1) / 12 is that of rounding
_GRID = 32  # cells across and down that the cosine transform sees


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What `measure` found.

    Attributes
    ----------
    sharpness : float
        From 0 (nothing to be seen in the image) to about 3 (noise).
    fingerprint : int
        Bits 0 to 255: structure; bits 256 to 279: mean red, green and blue, 8 bits each, red lowest.
    """

    sharpness: float
    fingerprint: int


def measure(pixels: NDArray[np.uint8]) -> Measurement:
    """Measure an image.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Upright sRGB. Up to 512x512 pixels are taken as they are, more are reduced.
    """
    luma = _reduced_luma(pixels)
    return Measurement(_sharpness(luma), _structure(luma) | _mean_colour(pixels) << FINGERPRINT_BITS)


def distance(one: int, other: int) -> int | None:
    """Number of bits of 256 by which the structure of two fingerprints differs; None if their colours are not alike."""
    bits = ((one ^ other) & _ALL_BITS).bit_count()
    one, other = one >> FINGERPRINT_BITS, other >> FINGERPRINT_BITS
    alike = all(abs((one >> shift & 255) - (other >> shift & 255)) <= COLOUR_TOLERANCE for shift in (0, 8, 16))
    return bits if alike else None


def _reduced_luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma (ITU-R BT.601) of an image, reduced to at most `_WORKING_PIXELS` by means over whole pixels."""
    height, width = pixels.shape[:2]
    if height * width <= _WORKING_PIXELS:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    down = min(height, max(1, math.isqrt(_WORKING_PIXELS * height // width)))
    across = min(width, max(1, math.isqrt(_WORKING_PIXELS * width // height)))
    rows, columns = np.arange(down + 1) * height // down, np.arange(across + 1) * width // across
    means = np.empty((down, across), np.uint8)
    step = max(1, _STRIP_PIXELS * down // (height * width))
    for first in range(0, down, step):
        strip = rows[first : first + step + 1]
        luma = cv2.cvtColor(pixels[strip[0] : strip[-1]], cv2.COLOR_RGB2GRAY)
        corners = np.take(np.take(cv2.integral(luma), strip - strip[0], axis=0), columns, axis=1)
        areas = np.outer(np.diff(strip), np.diff(columns)).astype(np.int32)
        values = _cells(corners) + areas // 2
        # A quotient of such integers, rounded to a double, is never rounded up to the next integer: // but faster.
        means[first : first + step] = values / areas
    return means


def _cells(corners: NDArray[Any]) -> NDArray[Any]:
    """Sums over cells from the sums over all that is above and left of their corners."""
    bands = corners[1:] - corners[:-1]
    sums: NDArray[Any] = bands[:, 1:] - bands[:, :-1]
    return sums


def _sharpness(luma: NDArray[np.uint8]) -> float:
    """See the top of this file. Differences stand between pixels, so a pixel has the mean of the two beside it."""
    if min(luma.shape) < 3:
        return 0.0
    signed = luma.astype(np.int16)
    across = np.square(np.diff(signed[1:-1], axis=1), dtype=np.int32)
    down = np.square(np.diff(signed[:, 1:-1], axis=0), dtype=np.int32)
    twice_gradient = _tile_sums(across[:, 1:] + across[:, :-1] + down[1:] + down[:-1])
    laplacian = _tile_sums(np.square(cv2.Laplacian(luma, cv2.CV_16S)[1:-1, 1:-1], dtype=np.int32))
    strongest = np.argsort(-twice_gradient, kind="stable")[: max(1, len(twice_gradient) // 4)]
    noise = _NOISE * _tile_sums(np.ones((luma.shape[0] - 2, luma.shape[1] - 2), np.int32))
    detail, edges = int((laplacian - noise)[strongest].sum()), int(twice_gradient[strongest].sum())
    return math.sqrt(4 * detail / edges) if detail > 0 else 0.0


def _tile_sums(values: NDArray[np.int32]) -> NDArray[np.int64]:
    rows, columns = (np.arange(min(_TILES, size)) * size // min(_TILES, size) for size in values.shape)
    sums: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(values, columns, axis=1, dtype=np.int64), rows, axis=0)
    return sums.ravel()


def _structure(luma: NDArray[np.uint8]) -> int:
    """Signs of the lowest frequencies: frequency number k, from 1, is bit number ``37 * k % 256``."""
    spectrum = (_COSINES @ _area_means(luma) @ _COSINES.T)[_LOWEST]
    bits = np.zeros(FINGERPRINT_BITS, np.uint8)
    bits[_PLACES] = spectrum > 0
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def _area_means(luma: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Means over 32x32 cells of equal area, borders through pixels included, in units of 1 / 256 of a grey level."""
    height, width = luma.shape
    corners = cv2.integral(luma).astype(np.int64)
    for axis, side in enumerate((height, width)):
        whole, part = np.divmod(np.arange(_GRID + 1) * side, _GRID)  # border = whole + part / 32
        part = np.expand_dims(part, 1 - axis)
        before, after = np.take(corners, whole, axis), np.take(corners, np.minimum(whole + 1, side), axis)
        corners = before * (_GRID - part) + after * part
    cells: NDArray[np.int64] = _cells(corners) * 256 // (height * width)
    return cells


def _mean_colour(pixels: NDArray[np.uint8]) -> int:
    red, green, blue = (round(channel) for channel in cv2.mean(pixels)[:3])
    return red | green << 8 | blue << 16


def _lowest_frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers, down and across, of the lowest frequencies, sorted by their sum and then the first; not of the mean."""
    pairs = sorted(((v, u) for v in range(_GRID) for u in range(_GRID)), key=lambda pair: (sum(pair), pair))
    down, across = np.array(pairs[1 : FINGERPRINT_BITS + 1]).T
    return down, across


_ALL_BITS = (1 << FINGERPRINT_BITS) - 1
_LOWEST = _lowest_frequencies()
_COSINES = np.round(  # type-II transform in units of 1 / 4096: row = frequency, column = cell
    4096 * np.cos(np.pi / (2 * _GRID) * np.outer(np.arange(np.max(_LOWEST) + 1), 2 * np.arange(_GRID) + 1))
).astype(np.int64)
# Neighbours in frequency are alike in many pictures. Far apart in the fingerprint, they leave its parts well mixed, on
# which the search in `toolkit.selection` depends.
_PLACES = 37 * np.arange(1, FINGERPRINT_BITS + 1) % FINGERPRINT_BITS
