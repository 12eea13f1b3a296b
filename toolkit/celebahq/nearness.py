"""A delta on top of a base that is nearly, not exactly, the one it was made for.

The delta is ``final - proc`` modulo 256. Our base is ``b = proc + e``, where ``e`` is what another JPEG decoder or
resampler changes: a level here and there. Added modulo 256 as it stands, the delta gives ``final + e`` modulo 256,
which turns black into white wherever ``final + e`` leaves [0, 255]: in every highlight and every dark corner.

**The sum that cannot wrap.** Let ``d`` be the delta as a signed number in [-128, 127], ``s = b + d``, and ``clip``
limit to [0, 255]. If the true change ``final - proc`` lies in [-128, 127], it is ``d``, so ``s = final + e``; and as
clipping moves no number away from one in [0, 255],

    ``|clip(s) - final| <= |b - proc|``, whatever the size of ``e``.

The result is then never farther from the released image than the base is from the recipe's. In fact the clip is exact
where ``final`` is 0 or 255 and ``e`` points outwards.

**Where that is not enough.** A true change of 128 levels or more is read as ``d``, which has the other sign, and ``s``
is off by 256; ``t``, which is ``s`` plus or minus 256, whichever ``d`` leaves open, is then the sum. A change so large
is rare, but where it ends well inside of [0, 255], ``s`` lies as far outside, and that is seen. So the value is
``clip(t)`` if ``s`` leaves [0, 255] by more than a ``reach`` and ``|d|`` is above `SURE`, else ``clip(s)``. The reach
is three times what the base is seen to be off by, where changes of up to `SEEN` lead out of [0, 255]; at least `REACH`
and at most `MOST_REACH`. Hence the error is at most

- ``|e|``, of any size, where the true change is within [-`SURE`, `SURE`];
- ``|e|``, where the true change is within [-128, 127] and ``|e|`` is within the reach;
- ``|e|``, where the true change is from 128 to 191 levels, ends in [2 reach, 255 - 2 reach], and ``|e|`` is within the
  reach;
- up to 255 else: single wrong values at the brightest glints and darkest lines, which are counted as far as they show.

Values are ambiguous only in the last case, a change of more than half the range that ends near black or white, and
then the smaller change is taken. (Deciding such values by their neighbours was tried: on photographs enlarged by 2 to
8, it did more harm than good.)

A delta of which a fifth of the values changes by more than 64 levels does not improve its base but replaces it, so
small changes are no better guess. All values of ``b + delta`` modulo 256 in [END, 255 - END] are then certain for
``|e| < END``. The others, ``doubtful``, may belong to either end of the range, and that end is taken which is closer to
the mean of the decided values around, unless the base would have to be off by much: of photographs put in the place of
others, with ``|e| <= 5``, one value in a thousand is then wrong, and one in sixty if the sum were left to wrap.

**Is the base near at all?** A token opens with its own photograph alone, so the photograph is right; but landmarks,
geometry or orientation may be wrong. A delta changes its base where that has edges, so base and delta are compared by
phase correlation [1]_ twice: their signed details, which agree for a delta that sharpens, blurs, or replaces, and how
busy they are, which agrees for details that the base does not have. A peak of either at no displacement confirms the
place. A higher one elsewhere says that the base is displaced. Without a peak the base is another picture, unless the
delta is as even as noise or a constant: such a delta says nothing of its place. That is recorded; the result is then no
noise, but may show another part of the photograph. Sums far outside of [0, 255], many jumps between neighbours, more
than half of all values outside, and differences of many levels wherever they show refuse a base as well. What cannot be
seen: a base that is displaced by less than about four pixels of 1024 (by less than 30, where the delta replaces it or
the face was enlarged many times), and an even shift of all levels where nothing is black or white.

References
----------
.. [1] C. D. Kuglin, D. C. Hines, "The phase correlation image alignment method", Proc. IEEE Int. Conf. on Cybernetics
   and Society, 1975, pp. 163-165.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

REACH: Final = 16  # levels by which a near base may be off anywhere, however little is seen
MOST_REACH: Final = 48
SURE: Final = 64  # levels; a change read as no more is what it is, since it would otherwise be one of 192 or more
SEEN: Final = 32  # levels; and from a change of no more, what is left over tells how far the base is off
END: Final = 16  # levels, for deltas that replace their base
_LARGE = 64  # levels
_PRICE = 10  # levels that a value must be closer to those around for every level the base would have to be off
_MOST_LARGE = 0.2  # share of values with a large change; from there on a delta replaces its base
_MOST_CONTRADICTIONS = 1e-3  # share of values that leave the range by more than REACH though they change little
_MOST_RESOLVED = 0.5  # share of values that would wrap around
_MOST_JUMPS = 0.02  # share of neighbours that differ by more than half of the range; photographs have 0.0001
_SHOWN = 5e-4  # share of values that must leave the range to tell a difference
_MOST_LEVELS = 8  # half of the sums that leave the range by a small change are off by no more, if the base is near

_SEEN = (512, 128)  # sides of the pictures that are compared: fine details, and those of small faces enlarged
_PLACE = 2  # of these pixels that a peak may be off: enhancement moves edges a little
_PEAK = 9.0  # times the root mean square of the correlation; noise of 512x512 pixels reaches 5.5
_EVEN = 0.18  # variation of the mean change over tiles, relative to its mean; noise has up to 0.15, details 0.35 to 1.4

Values = NDArray[np.int16]
Plane = NDArray[np.float32]


def apply_near(
    base: NDArray[np.uint8], delta: NDArray[np.uint8], where: str
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Released image, nearly, from a base that is nearly the recipe's.

    Parameters
    ----------
    base, delta : ndarray of uint8, shape (3, side, side)
    where : str
        What the image is, for error messages.

    Returns
    -------
    pixels : ndarray of uint8, shape (3, side, side)
    evidence : dict
        ``resolved``: values that would have wrapped around; ``doubtful``: values decided by those around them;
        ``contradicting``: values off by more than `REACH` for certain; ``difference_at_least``: levels by which the
        base is off, as far as small changes that leave [0, 255] tell (99th percentile; 0 if there is none); ``reach``;
        ``mean_change``: mean of ``|d|``; ``place``: peak at no displacement, and the highest one elsewhere;
        ``place_confirmed``: whether the former says that the place is right.

    Raises
    ------
    InputError
        If the base is not near.
    """
    change = delta.view(np.int8).astype(np.int16)
    sums = base + change
    place, elsewhere = _peaks(base, change)
    peaks = f"(peaks: {place:.1f} here, {elsewhere:.1f} elsewhere)"
    confirmed = _stands_out(place, elsewhere)
    if elsewhere >= _PEAK and elsewhere > 1.3 * place:
        raise _not_near(where, f"the delta fits another place of the picture {peaks}")
    replaces = float(np.mean(np.abs(change) > _LARGE)) > _MOST_LARGE
    if not confirmed and (replaces or _variation(change) > _EVEN):
        raise _not_near(where, f"base and delta have no edges in common {peaks}")
    if replaces:
        wrapped = sums & 255
        at_ends = (wrapped < END) | (wrapped > 255 - END)
        values, doubtful = _settle(wrapped, np.where(wrapped < 128, 255, 0).astype(np.int16), at_ends), at_ends
        outside, seen, reach = sums[:0], 0, END
    else:
        outside = np.maximum(-sums, sums - 255)[(np.abs(change) <= SEEN) & ((sums < 0) | (sums > 255))]
        seen = int(np.percentile(outside, 99)) if outside.size else 0
        reach = min(max(REACH, 3 * seen), MOST_REACH)
        values, doubtful = _signed(sums, change, reach), np.zeros((), np.bool_)
    pixels = values.astype(np.uint8)
    resolved = int(np.count_nonzero(pixels != base + delta))
    _check_quiet(base, pixels, resolved, outside, where)
    return pixels, {
        "resolved": resolved,
        "doubtful": int(np.count_nonzero(doubtful)),
        "contradicting": int(np.count_nonzero(outside > REACH)),
        "difference_at_least": seen,
        "reach": reach,
        "mean_change": round(float(np.abs(change).mean()), 2),
        "place": [round(place, 1), round(elsewhere, 1)],
        "place_confirmed": confirmed,
    }


def _signed(sums: Values, change: Values, reach: int) -> Values:
    """Values of a delta that improves its base: the first reading of the top of this file, corrected by the second."""
    other = np.where(change < 0, sums + 256, sums - 256)
    as_read = ((sums >= -reach) & (sums <= 255 + reach)) | (np.abs(change) <= SURE)
    return np.clip(np.where(as_read, sums, other), 0, 255)


def _settle(values: Values, others: Values, doubtful: NDArray[np.bool_]) -> Values:
    """Decide the doubtful values between two candidates, by the mean of the decided ones in growing windows."""
    values = values.copy()
    for channel, other, unknown in zip(values, others, doubtful, strict=True):
        width, known = 5, ~unknown
        while known.any() and not known.all():
            share = _mean(known.astype(np.float32), width)
            decided = ~known & (share * width * width > 0.5)
            mean = _mean(np.where(known, channel, 0).astype(np.float32), width) / np.maximum(share, 1e-9)
            off_by = np.minimum(channel + 1, 256 - channel)  # at least, if the other one is right
            better = decided & (np.abs(other - mean) + _PRICE * off_by < np.abs(channel - mean))
            channel[better] = other[better]
            known = known | decided
            width = min(2 * width + 1, 2 * max(channel.shape) + 1)
    return values


def _mean(plane: Plane, width: int) -> Plane:
    return np.asarray(cv2.boxFilter(plane, -1, (width, width), borderType=cv2.BORDER_CONSTANT), np.float32)


def _check_quiet(
    base: NDArray[np.uint8], pixels: NDArray[np.uint8], resolved: int, outside: Values, where: str
) -> None:
    """Refuse a result that a near base cannot give."""
    contradicting = int(np.count_nonzero(outside > REACH))
    if contradicting > _MOST_CONTRADICTIONS * pixels.size:
        raise _not_near(where, f"small changes lead out of the grey levels by more than {REACH}, {contradicting} times")
    if outside.size > _SHOWN * pixels.size and np.median(outside) > _MOST_LEVELS:
        raise _not_near(where, f"it is off by about {int(np.median(outside))} levels where that shows")
    if resolved > _MOST_RESOLVED * pixels.size:
        raise _not_near(where, f"{resolved / pixels.size:.0%} of the values would leave the grey levels")
    jumps = _jumps(pixels)
    if jumps > _MOST_JUMPS + _jumps(base):
        raise _not_near(where, f"{jumps:.1%} of the neighbours in the result differ by more than half of the range")


def _jumps(pixels: NDArray[np.uint8]) -> float:
    values = pixels.astype(np.int16)
    return float(np.mean([np.mean(np.abs(np.diff(values, axis=axis)) > 128) for axis in (1, 2)]))


def _not_near(where: str, reason: str) -> InputError:
    return InputError(
        f"{where}: the pixels made from the photograph are not those that the delta was made for, nor near them: "
        f"{reason}; use the landmarks of the in-the-wild photographs (list_landmarks_celeba.txt)"
    )


def _peaks(base: NDArray[np.uint8], change: Values) -> tuple[float, float]:
    """Highest correlation of base and delta at about no displacement, and at any other, over that of noise.

    Of details and of how busy the two are, the one with the clearer peak; of the sizes, the first at which one stands
    out.
    """
    place = elsewhere = 0.0
    for side in _SEEN:
        picture, changes = (_seen(plane.mean(axis=0, dtype=np.float32), side) for plane in (base, change))
        busy = np.log1p(_steepness(picture)), np.log1p(np.abs(changes) + _steepness(changes))
        found = [_peak(_detail(picture, 9), _detail(changes, 9)), _peak(_detail(busy[0], 31), _detail(busy[1], 31))]
        place, elsewhere = max(found, key=max)
        if _stands_out(place, elsewhere) or _stands_out(elsewhere, place):
            break
    return place, elsewhere


def _stands_out(peak: float, other: float) -> bool:
    return peak >= _PEAK and 1.3 * peak > other


def _peak(one: Plane, other: Plane) -> tuple[float, float]:
    """Phase correlation of two pictures of one size: the highest value about the middle, and elsewhere."""
    window = np.outer(np.hanning(one.shape[0]), np.hanning(one.shape[1])).astype(np.float32)
    cross = np.fft.rfft2(one * window) * np.conj(np.fft.rfft2(other * window))
    size = np.abs(cross)
    floor = 1e-3 * float(size.mean())
    if floor < 1e-12:  # one of them is without any detail
        return 0.0, 0.0
    surface = np.abs(np.fft.irfft2(cross / (size + floor), one.shape))
    away = [np.minimum(np.arange(side), side - np.arange(side)) > _PLACE for side in surface.shape]
    far = away[0][:, None] | away[1]
    noise = float(np.sqrt(np.square(surface[far]).mean()))
    return float(surface[~far].max()) / noise, float(surface[far].max()) / noise


def _seen(plane: Plane, side: int) -> Plane:
    side = min(side, *plane.shape)
    return np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _detail(plane: Plane, width: int) -> Plane:
    return plane - np.asarray(cv2.blur(plane, (width, width)), np.float32)


def _steepness(plane: Plane) -> Plane:
    across, down = (np.diff(plane, axis=axis, append=plane.take([-1], axis)) for axis in (0, 1))
    return np.hypot(across, down)


def _variation(change: Values) -> float:
    """How unevenly a delta changes its base: the standard deviation of the mean change over tiles, over its mean."""
    tile = max(1, change.shape[1] // 64)
    amount = np.asarray(cv2.blur(np.abs(change).mean(axis=0, dtype=np.float32), (2 * tile, 2 * tile)), np.float32)
    return float(amount.std() / max(float(amount.mean()), 1e-9))
