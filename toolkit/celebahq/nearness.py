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
``|e| < END``. The others, ``doubtful``, may belong to either end of the range, and that end is taken which is closer
to the mean of the decided values around, unless the base would have to be off by much: of photographs put in the
place of others, with ``|e| <= 5``, one value in a thousand is then wrong, and one in sixty if the sum were left to
wrap.

**Is the base near at all?** A token opens with its own photograph alone, so the photograph is right; but landmarks,
geometry or orientation may be wrong. `toolkit.celebahq.place` finds by how much base and delta are displaced against
each other, and how surely; what follows from it:

- ``place_confirmed``: the displacement is less than half a pixel, and would have been seen if it were more: two
  standard errors are within the half pixel too;
- refused: the displacement is more than `DISPLACED` for sure, and the delta agrees with the base clearly less where
  it would be applied than there (so edges would be seen twice);
- refused: the delta has details all over the picture, unevenly, as pictures have, or replaces the base, and agrees
  with the base nowhere;
- else the row is near and its place not confirmed. Deltas that say nothing of their place are noise, light, and edits
  of a small part of the picture.

Sums far outside of [0, 255], many jumps between neighbours, more than half of all values outside, and differences of
many levels wherever they show refuse a base as well. What cannot be seen: an even shift of all levels where nothing
is black or white; and, confirmed or not, a displacement below half a pixel, or one that varies over the picture (a
turn, another size) and is nought in the mean.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.place import Place, detail, far_candidates, locate

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

DISPLACED: Final = 0.75  # pixels by which a base must be displaced for sure to be refused
CONFIRMED: Final = 0.5  # pixels within which the place must be, by two standard errors, to be confirmed
_PEAK = 6.0  # times the root mean square: from there on a peak is none of noise, which reaches 5
_CLEAR_PEAK = 9.0  # and from there on it is evidence enough to refuse
_WORSE = 0.8  # share of the agreement at the peak that a delta may have here at most, to be refused
_DETAIL = 1.5  # levels by which neighbours in a third of a delta differ, to be refused if the base has nothing of it
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
        ``mean_change``: mean of ``|d|``; ``displacement``: of the base against the delta, (down, right) in pixels, and
        its standard error ``displacement_error``, both None if they cannot be told; ``peak``: height of the peak that
        tells it, over noise; ``place_confirmed``: whether a displacement of half a pixel or more is ruled out.

    Raises
    ------
    InputError
        If the base is not near.
    """
    change = delta.view(np.int8).astype(np.int16)
    sums = base + change
    replaces = float(np.mean(np.abs(change) > _LARGE)) > _MOST_LARGE
    place = locate(base, delta)
    confirmed = _is_confirmed(place)
    if not confirmed:
        _check_place(base, delta, place, replaces, where)
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
    known = place.peak >= _PEAK and place.error < 1
    _check_quiet(base, pixels, resolved, outside, where)
    return pixels, {
        "resolved": resolved,
        "doubtful": int(np.count_nonzero(doubtful)),
        "contradicting": int(np.count_nonzero(outside > REACH)),
        "difference_at_least": seen,
        "reach": reach,
        "mean_change": round(float(np.abs(change).mean()), 2),
        "peak": round(place.peak, 1),
        "displacement": [round(place.down, 2), round(place.right, 2)] if known else None,
        "displacement_error": round(place.error, 2) if known else None,
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
        f"{where}: the pixels made from the photograph are not near those that the delta was made for, as far as "
        f"can be told: {reason}; the landmarks may be wrong (use list_landmarks_celeba.txt of the photographs in the "
        "wild), the delta of another image, or its edit one that cannot be checked; leave the image out (--skip-bad)"
    )


def _is_confirmed(place: Place) -> bool:
    return place.peak >= _PEAK and place.distance + 2 * place.error < CONFIRMED


def _is_displaced(place: Place) -> bool:
    surely = place.distance - 3 * place.error > DISPLACED and place.error < 1
    return surely and place.peak >= _CLEAR_PEAK and place.here < _WORSE * place.peak


def _check_place(base: NDArray[np.uint8], delta: NDArray[np.uint8], place: Place, replaces: bool, where: str) -> None:
    """Refuse a base that is displaced, or that has nothing in common with a delta full of details."""
    if _is_displaced(place):
        raise _not_near(where, f"the delta fits {place.distance:.1f} pixels away (+-{place.error:.2f})")
    for down, right in far_candidates(base, delta):
        moved = locate(np.roll(base, (-down, -right), (1, 2)), delta)
        found = moved.peak >= _CLEAR_PEAK and moved.distance < 2 and moved.error < 1
        if found and np.hypot(down, right) > 4 and moved.peak > 2 * place.peak:
            raise _not_near(where, f"the delta fits about {np.hypot(down, right):.0f} pixels away")
    if place.peak < _PEAK:
        change = delta.view(np.int8).astype(np.int16)
        if replaces or (detail(delta) > _DETAIL and _variation(change) > _EVEN):
            raise _not_near(where, "base and delta have no edges in common")


def _variation(change: Values) -> float:
    """How unevenly a delta changes its base: the standard deviation of the mean change over tiles, over its mean."""
    tile = max(1, change.shape[1] // 64)
    amount = np.asarray(cv2.blur(np.abs(change).mean(axis=0, dtype=np.float32), (2 * tile, 2 * tile)), np.float32)
    return float(amount.std() / max(float(amount.mean()), 1e-9))
