"""What lies beyond the border of a photograph: its mirror image, more blurred and paler the farther out it lies.

Karras et al. 2018, appendix C, with the numbers of the released recipe, as NumPy 1.13.1 and SciPy 0.19.1 computed it:
all in single precision, the sums of the blur in double precision, with a pass down and then a pass across, each rounded
to single precision. What NumPy of today would promote to double precision is kept in single precision.

Two facts save most of the work and change no bit. The blur of a mirrored image is the mirrored blur, pair by pair of
its symmetric kernel, except within a radius of the outer border; so it is computed once for every pixel of the
photograph and not once for every mirror image. And both shares are the greater one of a share by row and a share by
column, so that nothing is computed where both are zero.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from toolkit.celebahq import kernels

_TRUNCATE = 4.0  # the kernel ends at this many standard deviations
_ONE, _THREE = np.float32(1), np.float32(3)

Pads = tuple[int, int, int, int]  # pixels to the left, above, to the right, below


def pads_needed(quad: NDArray[np.float32], width: int, height: int, border: int) -> Pads:
    """Pixels by which a square with its border reaches beyond each side of an image."""
    (left, top), (right, bottom) = np.floor(quad.min(axis=0)), np.ceil(quad.max(axis=0))
    return (
        max(border - int(left), 0),
        max(border - int(top), 0),
        max(int(right) - width + border, 0),
        max(int(bottom) - height + border, 0),
    )


def pad(image: NDArray[np.uint8], pads: Pads, deviation: float) -> NDArray[np.uint8]:
    """Extend an image beyond its sides.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    pads : tuple of int
        Pixels to add on the left, above, on the right and below; each at least 1 and at least the radius of the blur.
    deviation : float
        Standard deviation of the blur in pixels.

    Returns
    -------
    ndarray of uint8, shape (H + above + below, W + left + right, 3)
        Also the image itself is changed near its sides: the blur sets in at a third of a pad inside of it.

    Raises
    ------
    InputError
        If numba is not installed.
    """
    import cv2  # only now: it takes a tenth of a second

    compiled = kernels.compiled()
    weights = gaussian_weights(deviation)
    radius = len(weights) - 1
    left, above, right, below = pads
    down = _Direction.of(image.shape[0], above, below, radius)
    across = _Direction.of(image.shape[1], left, right, radius)
    planes = []
    for channel in cv2.split(image):
        plane = channel.astype(np.float32)
        half = np.zeros((len(down.middles), plane.shape[1]), np.float32)
        compiled.blurred_rows(plane, down.line, down.middles, weights, down.wanted, across.touched, half)
        half = cv2.transpose(half)
        blurred = np.zeros((len(across.middles), half.shape[1]), np.float32)
        compiled.blurred_rows(half, across.line, across.middles, weights, across.wanted, down.wanted, blurred)
        blurred = cv2.transpose(blurred)
        mixed = np.empty((len(down.mirror), len(across.mirror)), np.float32)
        compiled.blend_blurred(
            plane, blurred, down.mirror, across.mirror, down.place, across.place, down.blur, across.blur, mixed
        )
        result = np.empty(mixed.shape, np.uint8)
        compiled.blend_colour(mixed, _median(mixed), down.fade, across.fade, result)
        planes.append(result)
    return np.ascontiguousarray(cv2.merge(planes))


def gaussian_weights(deviation: float) -> NDArray[np.float64]:
    """Weights of the blur from the middle outwards, as SciPy of 2017 computed them: in plain Python, one by one."""
    radius = int(_TRUNCATE * deviation + 0.5)
    weights = [1.0]
    total = 1.0
    for distance in range(1, radius + 1):
        weights.append(math.exp(-0.5 * float(distance * distance) / (deviation * deviation)))
        total += 2.0 * weights[-1]
    return np.array([weight / total for weight in weights])


@dataclasses.dataclass(frozen=True, eq=False)
class _Direction:
    """One direction of a padded image.

    The blur is computed for the places of a shorter line: the radius at the outer border before the image, the image,
    and the radius at the outer border behind it.

    Attributes
    ----------
    mirror : ndarray of int64, shape (padded,)
        Which pixel of the image a pixel of the padded image repeats.
    place : ndarray of int64, shape (padded,)
        Which place of the shorter line has its blur.
    line : ndarray of int64, shape (padded + 2 radius,)
        Pixels of the image that the blur runs through.
    middles : ndarray of int64, shape (places,)
        Where in that line each place lies.
    wanted : ndarray of bool, shape (places,)
        True if a pixel with a share of the blur has its blur there.
    touched : ndarray of bool, shape (length,)
        True if the blur of a wanted place runs through a pixel of the image.
    blur, fade : ndarray of float32, shape (padded,)
        Share of the blur, and of the median colour after that.
    """

    mirror: NDArray[np.int64]
    place: NDArray[np.int64]
    line: NDArray[np.int64]
    middles: NDArray[np.int64]
    wanted: NDArray[np.bool_]
    touched: NDArray[np.bool_]
    blur: NDArray[np.float32]
    fade: NDArray[np.float32]

    @classmethod
    def of(cls, length: int, before: int, after: int, radius: int) -> _Direction:
        """Direction in which an image of `length` pixels gets `before` and `after` more."""
        padded = before + length + after
        position = np.arange(padded)
        mirror = _reflected(position - before, length)
        place = np.where(position < radius, position, radius + mirror)
        place = np.where(position >= padded - radius, position - padded + 2 * radius + length, place)
        beyond = np.arange(-radius, padded + radius) % (2 * padded)  # SciPy's mirror repeats the outermost pixel
        line = mirror[np.where(beyond < padded, beyond, 2 * padded - 1 - beyond)]
        places = np.arange(radius), before + np.arange(length), padded - radius + np.arange(radius)
        middles = np.concatenate(places) + radius
        distance = np.minimum(
            position.astype(np.float32) / np.float32(before), position[::-1].astype(np.float32) / np.float32(after)
        )
        nearness = _ONE - distance  # 1 at the outer border, 0 where the image begins
        blur = np.clip(nearness * _THREE + _ONE, np.float32(0), _ONE)
        wanted = np.zeros(len(middles), bool)
        wanted[place[blur > 0]] = True
        touched = np.zeros(length, bool)
        for offset in range(-radius, radius + 1):
            touched[line[middles[wanted] + offset]] = True
        fade = np.clip(nearness, np.float32(0), _ONE)
        return cls(mirror, place, line, middles, wanted, touched, blur, fade)


def _reflected(position: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Pixel of an image in a row of mirrors that stand in the middle of its outermost pixels."""
    if length == 1:
        return np.zeros_like(position)
    beyond = position % (2 * length - 2)
    return np.where(beyond < length, beyond, 2 * length - 2 - beyond)


def _median(values: NDArray[np.float32]) -> np.float32:
    """Median; of an even number the mean of the two in the middle, in single precision."""
    middle = values.size // 2
    lower = middle - 1 + values.size % 2
    ordered = np.partition(values, (lower, middle), axis=None)
    return np.float32((ordered[lower] + ordered[middle]) / np.float32(2))
