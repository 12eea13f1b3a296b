"""Where a delta fits its base: the displacement between the two, and how surely it is known.

A delta that sharpens, blurs, recolours or replaces changes its base by what the base itself holds there: at every
frequency ``f``, ``D(f) = H(f) B(f)`` and noise, for a filter ``H`` that is real if edges are to stay in their places.
If the base is displaced by ``s``, the phase of ``D`` over ``B`` is that of the displacement, or the opposite, since
``H`` may be negative. So the square of the cross spectrum, whose phase is twice that of the displacement whatever the
sign, is weighted by the coherence over the tiles of the picture [1]_: frequencies at which delta and base have
nothing in common do not count. Its inverse transform has a peak at ``2 s``. How sure the peak is comes from leaving
out each eighth of the picture in turn [2]_: an edit of one place, or noise, has a peak that moves.

Compared are slopes of brightness and of two differences of colours (a picture that loses its colours changes in these
alone), and how steep base and delta are, since a delta that brings back details has frequencies that its base lacks.

References
----------
.. [1] G. C. Carter, A. H. Nuttall, P. G. Cable, "The smoothed coherence transform", Proceedings of the IEEE 61(10),
   1973, pp. 1497-1498.
.. [2] B. Efron, "The jackknife, the bootstrap and other resampling plans", SIAM, 1982, chapter 3.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_SIDE: Final = 32  # pixels; smaller pictures have too few tiles
_SIDE = 512  # pixels; larger pictures are reduced to it, which leaves displacements of a tenth of a pixel visible
_TILE = 64  # pixels, or an eighth of the side; displacements of up to a quarter of it are seen
_PARTS = 2, 4  # rows and columns of parts, of which each is left out once
_QUIET = 4.0, 1.0  # levels per pixel, of base and delta: tiles with less do not count as much as others
_QUIET_STEEPNESS = 0.1, 0.1
_STANDS_OUT = 7.0  # times the root mean square; noise of 512x512 pixels reaches 5.5
_CHANCE = 3.0  # times the coherence of noise that a frequency must have to count

Planes = NDArray[np.uint8]
Plane = NDArray[np.float32]
Spectra = NDArray[np.complex64]


class Place(NamedTuple):
    """Displacement of a base against its delta, in pixels, and the peak that tells it."""

    down: float
    right: float
    error: float  # standard error in the worse direction
    here: float  # height of the surface where nothing is displaced, over its root mean square
    peak: float  # and at its peak; noise has up to 5

    @property
    def distance(self) -> float:
        """Length of the displacement."""
        return float(np.hypot(self.down, self.right))


def locate(base: Planes, delta: Planes) -> Place:
    """Displacement of a base against a delta modulo 256, both of shape (3, side, side); the surer of two findings."""
    side = base.shape[1]
    if side < LEAST_SIDE:
        return Place(0.0, 0.0, np.inf, 0.0, 0.0)
    scale = side / min(_SIDE, side)
    found = [
        _locate(_slopes(base), _slopes(delta), _QUIET),
        _locate([_steepness(base)], [_steepness(delta)], _QUIET_STEEPNESS),
    ]
    best = min(found, key=lambda place: (place.peak < 6, place.error))  # a peak as of noise may stand still by chance
    return best._replace(down=best.down * scale, right=best.right * scale, error=best.error * scale)


def far_candidates(base: Planes, delta: Planes) -> list[tuple[int, int]]:
    """Displacements (down, right) in pixels, of any length, that are worth a try, by correlation of the whole."""
    candidates = []
    for one, other in ((_slopes(base)[0], _slopes(delta)[0]), (_steepness(base), _steepness(delta))):
        window = np.outer(np.hanning(len(one)), np.hanning(len(one)))
        cross = np.fft.rfft2((one - one.mean()) * window) * np.conj(np.fft.rfft2((other - other.mean()) * window))
        surface = np.abs(np.fft.irfft2(cross / (np.abs(cross) + 1e-3 * np.abs(cross).mean() + 1e-12), one.shape))
        if surface.max() < _STANDS_OUT * np.sqrt(np.square(surface).mean()):
            continue
        down, right = np.unravel_index(int(surface.argmax()), surface.shape)
        scale, half = base.shape[1] // len(one), len(one) // 2
        at = [(int(place) + half) % len(one) - half for place in (down, right)]
        candidates.append((at[0] * scale, at[1] * scale))
    return candidates


def detail(delta: Planes) -> float:
    """Levels by which neighbours of a delta differ (root mean square) in at least a third of its tiles."""
    slopes = _slopes(delta)[0]
    width = max(2, len(slopes) // 16)
    power = np.asarray(cv2.boxFilter(np.square(slopes), -1, (width, width)), np.float32)[width // 2 :: width]
    return float(np.sqrt(np.percentile(power[:, width // 2 :: width], 67)))


def _slopes(values: Planes) -> list[Plane]:
    """Differences between diagonal neighbours, of brightness and of colours.

    They are taken modulo 256, hence right even where a delta wraps around: a picture's neighbours seldom differ by more
    than 127 levels.
    """
    steps = (values[:, 1:, 1:] - values[:, :-1, :-1]).view(np.int8).astype(np.float32)
    red, green, blue = np.pad(steps, ((0, 0), (0, 1), (0, 1)))
    return [_reduced(plane) for plane in ((red + green + blue) / 3, red - green, blue - green)]


def _steepness(values: Planes) -> Plane:
    """Steepest of the slopes of all channels, as a logarithm."""
    down, across = (np.diff(values, axis=axis).view(np.int8).astype(np.float32) for axis in (1, 2))
    steepest = np.hypot(down[:, :, :-1], across[:, :-1]).max(0)
    return np.log1p(_reduced(np.pad(steepest, ((0, 1), (0, 1)))))


def _reduced(plane: Plane) -> Plane:
    side = min(_SIDE, len(plane))
    return np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _locate(ours: list[Plane], theirs: list[Plane], quiet: tuple[float, float]) -> Place:
    tile = min(_TILE, len(ours[0]) // 4)
    sums: list[tuple[Spectra, Plane, Plane]] = []
    for one, other in zip(ours, theirs, strict=True):
        first, second = _spectra(one, tile, quiet[0]), _spectra(other, tile, quiet[1])
        sums.append((_parts(first * second.conj()), _parts(np.abs(first) ** 2), _parts(np.abs(second) ** 2)))
    tiles = (2 * len(ours[0]) // tile - 1) ** 2 / 2  # half overlapping ones count half
    parts = np.arange(len(sums[0][0]))
    whole = _surface(sums, parts, tiles, tile)
    down, right = _highest(whole)
    less = (_surface(sums, parts[parts != part], tiles * (1 - 1 / len(parts)), tile) for part in parts)
    places = np.array([_highest(surface) for surface in less])
    error = np.sqrt((len(parts) - 1) * places.var(0)).max()
    noise = float(np.sqrt(np.square(whole).mean())) + 1e-12
    return Place(down, right, float(error), float(whole[0, 0]) / noise, float(whole.max()) / noise)


def _spectra(plane: Plane, tile: int, quiet: float) -> Spectra:
    """Spectra of half overlapping tiles of about one loudness, of shape (down, across, tile, tile // 2 + 1)."""
    tiles = np.lib.stride_tricks.sliding_window_view(plane - plane.mean(), (tile, tile))
    window = np.hanning(tile + 1)[:-1].astype(np.float32)
    seen = tiles[:: tile // 2, :: tile // 2] * np.outer(window, window)
    loudness = np.sqrt(np.square(seen).mean((2, 3), keepdims=True)) + quiet
    return np.asarray(np.fft.rfft2(seen / loudness), np.complex64)


def _parts(tiles: NDArray[Any]) -> NDArray[Any]:
    """Sums over the parts of the picture."""
    rows, columns = (np.arange(count) * parts // count for count, parts in zip(tiles.shape, _PARTS, strict=False))
    places = product(range(_PARTS[0]), range(_PARTS[1]))
    return np.stack([tiles[rows == row][:, columns == column].sum((0, 1)) for row, column in places])


def _surface(sums: list[tuple[Spectra, Plane, Plane]], parts: NDArray[np.intp], tiles: float, tile: int) -> Plane:
    """How well base and delta agree at each displacement, in half pixels, by some parts of the picture."""
    surface = np.zeros((tile, tile), np.float32)
    for sums_of_plane in sums:
        cross, ours, theirs = (values[parts].sum(0) for values in sums_of_plane)
        agreement = cross * cross / (ours * theirs + 1e-9)
        agreement *= np.maximum(0, 1 - _CHANCE / (tiles * np.abs(agreement) + 1e-9))
        agreement[0, 0] = 0
        surface += np.fft.irfft2(agreement, (tile, tile))
    return surface


def _highest(surface: Plane) -> tuple[float, float]:
    """Displacement at the peak in pixels, by the parabola through it and its neighbours."""
    side = len(surface)
    row, column = (int(at) for at in np.unravel_index(int(surface.argmax()), surface.shape))
    found = []
    for at, line in ((row, surface[:, column]), (column, surface[row])):
        before, peak, after = float(line[at - 1]), float(line[at]), float(line[(at + 1) % side])
        bend = before - 2 * peak + after
        exact = at + (0.5 * (before - after) / bend if bend < 0 else 0.0)
        found.append(((exact + side / 2) % side - side / 2) / 2)
    return found[0], found[1]
