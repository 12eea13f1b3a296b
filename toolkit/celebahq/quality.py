"""The quality of a finished portrait, judged by its power spectrum, so that the best of a set can be kept.

Appendix C of the paper scores every image by its power spectrum, in favour of a broad range of frequencies and of
roughly radial symmetry, and against blur and directional artefacts such as halftone. It gives no formula. This is ours.

The luma is cut into tiles of 64x64 that overlap by half. Let P[t](f) be the power spectrum of tile t under a Hann
window, f in cycles per pixel, scaled so that white noise of variance v has P = v. The plane of frequencies is cut into
8 bands of half an octave, from 1/32 to 1/2, and 4 sectors of 45 degrees; E[t, b, s] is the mean of P[t] over a cell.

*Noise* is everywhere, detail is not: N[b] is the power that is surpassed by nine tenths of the tiles, among those that
are neither flat nor near black or white, where noise is cut off. What is left of the mean power M[b, s] of all tiles,
S = max(0, M - N), counts as signal as far as it stands out: S' = g S^2 / (S + 5 N + 3). If there was nothing but noise,
N would be c M with c = 1 - 1.28 sqrt(3.78 / n), n being the independent frequencies of a band, but at least 0.4. So
g is 0 as long as M is less than N / c, and grows to 1 when it is more by a quarter.

*missing*: photographs have power proportional to 1 / f^2 [1]_, so f^2 S' is alike in all bands if nothing is missing.
With r its mean over the two lowest bands, missing = mean over all cells of -min(0, log2(f^2 S' / r + 2^-8)). Blur and
enlargement lose the upper bands, motion blur all sectors but one, and noise drowns what it covers.

*uneven*: how rough the spectrum is from one frequency to the next. L(f) is the mean over tiles of log2(P[t] + 0.02); it
has a flat image's rounding in it, not its silence. uneven = root mean square, over 6/64 to 1/2, of what L differs by
from its mean over the other bins of the 7x7 around it, but the 3x3. Halftone, the 8x8 blocks of JPEG, the replicas that
enlargement leaves, and the zeros of motion blur all make ripples or peaks.

*streaks*: share of tiles whose power from 1/16 on has one direction: the mean of exp(2 i angle), weighted by it, is
longer than 0.97. The border pixels of a photograph drawn out into stripes look like this.

    score = 100 * 2^(-(missing + 10 uneven + 10 streaks) / 4)

So 100 cannot be surpassed, and four halvings of power in every cell halve the score. It depends on no training set and
knows nothing of faces. Compare images of one size: the mean over few tiles is rougher than over many. How the score
ranks photographs that were made worse is in docs/celebahq.md.

Sums run in a fixed order, whatever the number of threads, and the score is rounded to 4 decimals.

References
----------
.. [1] D. J. Field, "Relations between the statistics of natural images and the response properties of cortical cells",
   J. Opt. Soc. Am. A 4(12), 1987, pp. 2379-2394.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

_TILE: Final = 64
_STRIDE: Final = 32
_BANDS: Final = 8  # of half an octave each
_SECTORS: Final = 4
_QUIET: Final = 0.1  # share of the tiles that counts as quiet
_FLAT: Final = 0.3  # mean power, squared grey levels; rounding alone makes up to 2 / 12
_NOISE_WEIGHT: Final = 5.0
_FAINT: Final = 3.0  # power of a signal that counts half without any noise, squared grey levels
_DEEPEST: Final = 2.0**-8  # of r; what lies deeper is missing altogether
_ROUNDING: Final = 0.02  # squared grey levels
_UNEVEN_FROM: Final = 6  # bins of 1/64 cycle per pixel
_STREAKED: Final = 0.97
_UNEVEN_WEIGHT: Final = 10.0
_STREAKS_WEIGHT: Final = 10.0
_CLEAR: Final = 0.25  # by which power surpasses what noise alone would have
_HALF: Final = 4.0  # loss that halves the score


@dataclasses.dataclass(frozen=True)
class Quality:
    """What `score` found.

    Attributes
    ----------
    score : float
        From 0 to 100; higher is better. Good portraits have 50 and more.
    details : dict of str to float
        ``missing``, ``uneven`` and ``streaks``, as the top of this file defines them, and ``noise``, the standard
        deviation of the noise in grey levels, in the uppermost band.
    """

    score: float
    details: dict[str, float]


def score(pixels: NDArray[np.uint8]) -> Quality:
    """Judge an image; the top of this file says how.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        sRGB. One of fewer than 64 pixels is continued by its mirror image.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"need uint8 pixels of shape (H, W, 3), got {pixels.dtype} {pixels.shape}")
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
    short = [(0, max(0, _TILE - side)) for side in luma.shape]
    power, tiles = _spectra(np.pad(luma, short, mode="symmetric"))
    noise = _noise(tiles)
    missing = _missing(tiles.power.mean(axis=0), noise)
    uneven = _uneven(power)
    streaks = float(np.mean(tiles.direction > _STREAKED))
    loss = missing + _UNEVEN_WEIGHT * uneven + _STREAKS_WEIGHT * streaks
    details = {"missing": missing, "uneven": uneven, "streaks": streaks, "noise": float(np.sqrt(noise[-1]))}
    return Quality(round(100 * 2 ** (-loss / _HALF), 4), {name: round(value, 4) for name, value in details.items()})


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """Of every tile: power of its cells (n, bands, sectors), mean, deviation, and how far its power has a direction."""

    power: NDArray[np.float64]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    direction: NDArray[np.float32]


def _spectra(luma: NDArray[np.float32]) -> tuple[NDArray[np.float64], _Tiles]:
    """Mean binary logarithm of the power of all tiles, for every bin of a real transform; and what tiles are."""
    tops, lefts = (_starts(side) for side in luma.shape)
    logarithms = np.zeros(_TILE * (_TILE // 2 + 1))
    found: list[tuple[NDArray[Any], ...]] = []
    for top in tops:  # a row of tiles at a time stays in the processor's cache
        views = np.lib.stride_tricks.sliding_window_view(luma[top : top + _TILE], _TILE, axis=1)
        tiles = views[:, lefts].transpose(1, 0, 2)
        mean = tiles.mean(axis=(1, 2))
        tiles = tiles - mean[:, None, None]
        deviation = tiles.std(axis=(1, 2))
        spectrum = scipy.fft.rfft2(tiles * _WINDOW, workers=1)
        power = (np.square(spectrum.real) + np.square(spectrum.imag)).reshape(len(tiles), -1)
        logarithms += np.log(power + np.float32(_ROUNDING)).sum(axis=0, dtype=np.float64)
        cells = np.add.reduceat(power[:, _CELL_BINS] * _CELL_WEIGHTS, _CELL_STARTS, axis=1, dtype=np.float64)
        # einsum sums in one order; a product of matrices would depend on the number of threads
        total, cosine, sine = (np.einsum("tk,k->t", power, weights) for weights in _DIRECTIONS)
        direction = np.hypot(cosine, sine) / (total + np.float32(1e-3))
        found.append((cells.reshape(-1, _BANDS, _SECTORS), mean, deviation, direction))
    columns = (np.concatenate(column) for column in zip(*found, strict=True))
    return logarithms / (np.log(2) * len(tops) * len(lefts)), _Tiles(*columns)


def _starts(side: int) -> NDArray[np.int64]:
    """Where tiles begin along a side: evenly, the last one at its end."""
    steps = -(-(side - _TILE) // _STRIDE)
    return np.rint(np.linspace(0, side - _TILE, steps + 1)).astype(np.int64)


def _noise(tiles: _Tiles) -> NDArray[np.float64]:
    """Power in each band of what all tiles hold."""
    power = tiles.power.mean(axis=2)
    fair = (power.mean(axis=1) > _FLAT) & (tiles.mean > 2 * tiles.deviation) & (tiles.mean + 2 * tiles.deviation < 255)
    if fair.sum() >= max(4, 0.02 * len(power)):  # otherwise there is nothing fairer than all of them
        power = power[fair]
    quiet: NDArray[np.float64] = np.quantile(power, _QUIET, axis=0)
    return quiet


def _missing(power: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    signal = np.maximum(power - noise[:, None], 0)
    signal = signal * signal / (signal + _NOISE_WEIGHT * noise[:, None] + _FAINT)
    alone = (noise / _SHORTFALL)[:, None] + 1e-9
    signal *= np.clip((power / alone - 1) / _CLEAR, 0, 1)
    level = signal * np.square(_CENTRES)[:, None]
    reference = level[:2].mean() + 1e-3
    return float(-np.minimum(np.log2(level / reference + _DEEPEST), 0).mean())


def _uneven(logarithms: NDArray[np.float64]) -> float:
    half = logarithms.reshape(_TILE, _TILE // 2 + 1)
    other = half[-np.arange(_TILE) % _TILE, _TILE // 2 - 1 : 0 : -1]  # a real image has a symmetric spectrum
    plane = np.concatenate([half, other], axis=1)
    wide, near = (_box_sums(plane, reach) for reach in (3, 1))
    rest = plane - (wide - near) / (7 * 7 - 3 * 3)
    return float(np.sqrt(np.mean(np.square(rest[_UNEVEN_BINS]))))


def _box_sums(plane: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Sums over the square that reaches so far from each bin; the plane goes on at its other end."""
    for axis in (0, 1):
        plane = np.sum([np.roll(plane, shift, axis) for shift in range(-reach, reach + 1)], axis=0)
    return plane


def _window() -> NDArray[np.float32]:
    """Hann window, scaled so that white noise of variance v has a power of v."""
    hann = np.square(np.sin(np.pi * np.arange(_TILE) / _TILE))
    window = np.outer(hann, hann)
    scaled: NDArray[np.float32] = (window / np.sqrt(np.square(window).mean()) / _TILE).astype(np.float32)
    return scaled


def _plane(columns: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequency in cycles per pixel and angle in degrees, 0 to 180, of every bin with the given columns."""
    down, across = np.meshgrid(np.fft.fftfreq(_TILE), columns, indexing="ij")
    return np.hypot(down, across), np.degrees(np.arctan2(down, across)) % 180


_WINDOW = _window()
_EDGES = 2.0 ** (np.arange(_BANDS + 1) / 2 - 5)
_CENTRES = 2.0 ** ((np.arange(_BANDS) + 0.5) / 2 - 5)
_FREQUENCY, _ANGLE = _plane(np.fft.rfftfreq(_TILE))
# A bin of a real transform stands for two, but those of the first and the last column for one.
_COUNTS = np.where(np.arange(_TILE // 2 + 1) % (_TILE // 2) > 0, 2.0, 1.0) * np.ones_like(_FREQUENCY)
_BAND = np.searchsorted(_EDGES, _FREQUENCY, side="right") - 1
_BAND[np.isclose(_FREQUENCY, _EDGES[-1])] = _BANDS - 1
_SECTOR = ((_ANGLE + 22.5) % 180 // 45).astype(np.int64)
_CELL = np.where((_BAND >= 0) & (_BAND < _BANDS), _BAND * _SECTORS + _SECTOR, -1).ravel()
_CELL_BINS = np.flatnonzero(_CELL >= 0)[np.argsort(_CELL[_CELL >= 0], kind="stable")]
_CELL_STARTS = np.searchsorted(_CELL[_CELL_BINS], np.arange(_BANDS * _SECTORS))
_CELL_SIZES = np.add.reduceat(_COUNTS.ravel()[_CELL_BINS], _CELL_STARTS)
_CELL_WEIGHTS = (_COUNTS.ravel() / _CELL_SIZES[_CELL])[_CELL_BINS].astype(np.float32)
# Power at a frequency is distributed as chi-square. A Hann window makes 3.78 = (35 / 18)^2 neighbours count as one, and
# nine tenths of a normal distribution lie above its mean less 1.28 standard deviations.
_INDEPENDENT = _CELL_SIZES.reshape(_BANDS, _SECTORS).sum(axis=1) / 2
_SHORTFALL = np.maximum(0.4, 1 - 1.28 * np.sqrt(3.78 / _INDEPENDENT))
_FINE = (_COUNTS * ((_FREQUENCY >= 1 / 16) & (_FREQUENCY <= 1 / 2))).ravel()
_DIRECTIONS = tuple(
    (_FINE * turn).astype(np.float32)
    for turn in (np.ones(_FINE.size), np.cos(np.radians(2 * _ANGLE)).ravel(), np.sin(np.radians(2 * _ANGLE)).ravel())
)
_WHOLE_PLANE, _ = _plane(np.fft.fftfreq(_TILE))
_UNEVEN_BINS = (_WHOLE_PLANE >= _UNEVEN_FROM / _TILE) & (_WHOLE_PLANE < 1 / 2)
