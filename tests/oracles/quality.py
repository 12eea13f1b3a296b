"""The quality of an image by its power spectrum, written again from the formula, a frequency at a time."""

from __future__ import annotations

import math

import numpy as np

TILE = 64


def luma(pixels):
    """ITU-R BT.601 in fixed point with 15 bits, as OpenCV has it."""
    red, green, blue = (pixels[:, :, channel].astype(int) for channel in range(3))
    return ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15).astype(float)


def frequencies():
    """Every frequency of the whole plane: row, column, cycles per pixel, angle in degrees."""
    for row in range(TILE):
        for column in range(TILE):
            down, across = ((place if place < TILE // 2 else place - TILE) / TILE for place in (row, column))
            yield row, column, math.hypot(down, across), math.degrees(math.atan2(down, across)) % 180


def quality(pixels):
    """Score, missing, uneven, streaks."""
    grey = luma(pixels)
    starts = []
    for side in grey.shape:
        steps = math.ceil((side - TILE) / 32)
        starts.append([round(number * (side - TILE) / max(steps, 1)) for number in range(steps + 1)])
    hann = np.sin(np.pi * np.arange(TILE) / TILE) ** 2
    window = hann[:, None] * hann
    tiles = [grey[top : top + TILE, left : left + TILE] for top in starts[0] for left in starts[1]]
    spectra = [np.abs(np.fft.fft2((tile - tile.mean()) * window)) ** 2 / (window**2).sum() for tile in tiles]
    cells = {(band, sector): [] for band in range(8) for sector in range(4)}
    fine = []
    for row, column, frequency, angle in frequencies():
        if 1 / 32 <= frequency <= 1 / 2:
            band = min(7, math.floor(2 * math.log2(frequency * 32) + 1e-12))
            sector = next(s for s in range(4) if min(abs(angle - 45 * s), 180 - abs(angle - 45 * s)) <= 22.5 + 1e-9)
            cells[band, sector].append((row, column))
        if 1 / 16 <= frequency <= 1 / 2:
            fine.append((row, column, math.radians(2 * angle)))
    power = np.array(
        [[[np.mean([p[place] for place in cells[b, s]]) for s in range(4)] for b in range(8)] for p in spectra]
    )
    fair = [
        n
        for n, tile in enumerate(tiles)
        if power[n].mean() > 0.3 and tile.mean() > 2 * tile.std() and tile.mean() + 2 * tile.std() < 255
    ]
    if len(fair) < max(4, 0.02 * len(tiles)):
        fair = list(range(len(tiles)))
    noise = []
    for band in range(8):
        independent = sum(len(cells[band, sector]) for sector in range(4)) / 2
        shortfall = max(0.4, 1 - 1.28 * math.sqrt(3.78 / independent))
        noise.append((np.quantile([power[n, band].mean() for n in fair], 0.1), shortfall))
    whitened = np.empty((8, 4))
    for band in range(8):
        for sector in range(4):
            everywhere, shortfall = noise[band]
            mean = power[:, band, sector].mean()
            signal = max(0, mean - everywhere)
            signal = signal**2 / (signal + 5 * everywhere + 3)
            signal *= min(1, max(0, (mean / (everywhere / shortfall) - 1) / 0.25))
            whitened[band, sector] = signal * 2 ** (band + 0.5 - 10)
    reference = whitened[:2].mean() + 1e-3
    missing = np.mean([max(0, -math.log2(value / reference + 2**-8)) for value in whitened.ravel()])

    logarithms = np.mean([np.log2(p + 0.02) for p in spectra], axis=0)
    squares = []
    for row, column, frequency, _ in frequencies():
        if 6 / 64 <= frequency < 1 / 2:
            around = [
                logarithms[(row + down) % TILE, (column + across) % TILE]
                for down in range(-3, 4)
                for across in range(-3, 4)
                if max(abs(down), abs(across)) > 1
            ]
            squares.append((logarithms[row, column] - np.mean(around)) ** 2)
    uneven = math.sqrt(np.mean(squares))

    streaked = 0
    for p in spectra:
        turned = sum(p[row, column] * complex(math.cos(turn), math.sin(turn)) for row, column, turn in fine)
        streaked += abs(turned) > 0.97 * (sum(p[row, column] for row, column, _ in fine) + 1e-3)
    streaks = streaked / len(tiles)
    return 100 * 2 ** (-(missing + 10 * uneven + 10 * streaks) / 4), missing, uneven, streaks
