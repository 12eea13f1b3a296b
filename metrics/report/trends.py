"""Direction of a curve near its end, by one rule for every curve, so that a sentence about it can be checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.report.fields import Row

_FEWEST = 4  # a straight line through fewer points says nothing about their scatter


@dataclass(frozen=True)
class Trend:
    """What a straight line through the last part of a curve says.

    Attributes
    ----------
    direction : str
        ``rising``, ``falling`` or ``flat``.
    change : float
        Change of the fitted line over the window, in the unit of the values.
    mean : float
        Mean of the values in the window.
    since : float
        Images shown at the start of the window.
    """

    direction: str
    change: float
    mean: float
    since: float


def trend(points: Sequence[tuple[float, float]], *, least: float = 0.0, least_share: float = 0.0) -> Trend | None:
    """Direction of the last part of a curve.

    The window is the last quarter of the images shown, or the last four points if it holds fewer. A least-squares line
    is fitted to it. The curve rises or falls if the line changes over the window by more than `least`, by more than
    `least_share` of the mean, and by more than twice the standard deviation of the points around it; else it is flat.

    Parameters
    ----------
    points : sequence of (float, float)
        Images shown, rising, and value.
    least : float
        Smallest change that counts, in the unit of the values.
    least_share : float
        Smallest change that counts, as a share of the window's mean.

    Returns
    -------
    Trend or None
        None with fewer than four points.
    """
    if len(points) < _FEWEST:
        return None
    start = points[-1][0] - (points[-1][0] - points[0][0]) / 4
    window = [point for point in points if point[0] >= start]
    if len(window) < _FEWEST:
        window = list(points[-_FEWEST:])
    images = np.array([x for x, _ in window], np.float64)
    values = np.array([y for _, y in window], np.float64)
    centred = images - images.mean()
    slope = float((centred * values).sum() / (centred**2).sum())
    rest = values - values.mean() - slope * centred
    scatter = math.sqrt(float((rest**2).sum()) / (len(window) - 2))
    change = slope * float(images[-1] - images[0])
    mean = float(values.mean())
    significant = abs(change) > max(least, least_share * abs(mean), 2 * scatter)
    direction = ("rising" if change > 0 else "falling") if significant else "flat"
    return Trend(direction, change, mean, window[0][0])


def comparable(results: Sequence[Row]) -> list[Row]:
    """Those of a metric's results that may be compared with the last one.

    Same levels, number of images, protocol and real images: SWD in particular depends on all of them.
    """
    return [row for row in results if _terms(row) == _terms(results[-1])]


def _terms(row: Row) -> tuple[object, ...]:
    levels, real = row["levels"], row["real"] or {}
    return (set(levels) if levels else None, row.get("num_images"), row.get("protocol"), real.get("digest"))
