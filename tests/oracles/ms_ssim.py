"""MS-SSIM, stated window by window in float64 numpy; slow, shares nothing with the metrics package.

Wang, Simoncelli, Bovik 2003, with the rule of Karras et al. 2018: all channels in one average, a window that shrinks
with small images, negative averages set to 0 before the power.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
POWERS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def gaussian_window(taps: int) -> Floats:
    """Weights (taps, taps) of sum 1; sigma is 1.5 for 11 taps and in proportion for fewer."""
    sigma = 1.5 * taps / 11
    middle = (taps - 1) / 2
    weights = np.array(
        [[np.exp(-((i - middle) ** 2 + (j - middle) ** 2) / (2 * sigma**2)) for j in range(taps)] for i in range(taps)]
    )
    return weights / weights.sum()


def similarity_maps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Luminance and contrast-structure of two images (3, r, r) at every place where the window lies inside."""
    size = x.shape[-1]
    taps = min(11, size)
    weights = gaussian_window(taps)
    places = size - taps + 1
    luminance, contrast = np.zeros((2, len(x), places, places))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    for channel in range(len(x)):
        for i in range(places):
            for j in range(places):
                a = x[channel, i : i + taps, j : j + taps]
                b = y[channel, i : i + taps, j : j + taps]
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a = (weights * (a - mean_a) ** 2).sum()
                var_b = (weights * (b - mean_b) ** 2).sum()
                covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
                luminance[channel, i, j] = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
                contrast[channel, i, j] = (2 * covariance + c2) / (var_a + var_b + c2)
    return luminance, contrast


def halve(image: Floats) -> Floats:
    """Mean of 2x2 pixels."""
    return (image[:, ::2, ::2] + image[:, 1::2, ::2] + image[:, ::2, 1::2] + image[:, 1::2, 1::2]) / 4


def ms_ssim(x: NDArray[np.generic], y: NDArray[np.generic]) -> float:
    """MS-SSIM of two images (3, r, r) with values 0..255."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    value = 1.0
    for scale, power in enumerate(POWERS):
        luminance, contrast = similarity_maps(a, b)
        term = (luminance * contrast).mean() if scale == 4 else contrast.mean()
        value *= max(term, 0.0) ** power
        if scale < 4:
            a, b = halve(a), halve(b)
    return value
