"""Axes of a chart: where a value lies, where the ticks are, how numbers are written, which points are drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float | None]  # images shown, value (None: no finite value, a gap in the curve)
MAX_POINTS = 400
_MINUS = "\u2212"
_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Scale:
    """One axis from `low` to `high`, linear or logarithmic.

    Attributes
    ----------
    clipped : bool
        True if the axis ends before the outermost values, so that a few spikes do not flatten the rest.
    """

    low: float
    high: float
    log: bool = False
    clipped: bool = False

    def position(self, value: float) -> float:
        """Where `value` lies: 0 at the low end, 1 at the high end, held to that range."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return min((at - low) / (high - low), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the range; at least two on a logarithmic axis of any width."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1,), (1, 3), _STEPS):
                values = [step * 10.0**decade for decade in decades for step in steps]
                inside = [value for value in values if self.low <= value <= self.high]
                if len(inside) >= 3:
                    return inside[:: math.ceil(len(inside) / (count + 2))]
        step = _round_step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def linear_scale(values: Sequence[float]) -> Scale:
    """Linear axis that holds `values` with a little air.

    If the outermost values stretch the axis to more than four times what the central 96% of at least 20 values need,
    the axis holds the central 96% and half their width on either side, and is marked as clipped.
    """
    low, high = min(values), max(values)
    clipped = False
    if len(values) >= 20:
        inner_low, inner_high = (float(v) for v in np.percentile(values, [2, 98]))
        width = inner_high - inner_low
        if width > 0 and high - low > 4 * width:
            low, high, clipped = max(low, inner_low - width / 2), min(high, inner_high + width / 2), True
    air = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
    return Scale(low - air, high + air, clipped=clipped)


def log_scale(values: Sequence[float]) -> Scale:
    """Logarithmic axis that holds the positive `values` (there is at least one) with a little air."""
    positive = [value for value in values if value > 0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    air = max(0.06 * (high - low), 0.04)
    return Scale(10 ** (low - air), 10 ** (high + air), log=True)


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points that look the same when drawn; the highest and the lowest stay.

    The points are cut into ``limit // 2`` stretches of equal count; of each, the lowest and the highest value stay, in
    their order. A stretch that holds a gap keeps the gap only if nothing else is in it.
    """
    if len(points) <= limit:
        return list(points)
    kept: list[Point] = []
    edges = np.linspace(0, len(points), limit // 2 + 1).astype(int)
    for start, stop in itertools.pairwise(edges):
        known = [k for k in range(start, stop) if points[k][1] is not None]
        if not known:
            kept.append(points[start])
            continue
        ends = {min(known, key=lambda k: points[k][1] or 0.0), max(known, key=lambda k: points[k][1] or 0.0)}
        kept.extend(points[k] for k in sorted(ends))
    return kept


def count_text(value: float) -> str:
    """A count on an axis or in a caption: 950, 12k, 1.5M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def number_text(value: float, digits: int = 3) -> str:
    """A value in `digits` significant digits, without an exponent where that stays short: 9.81, 0.0342, 12,400."""
    if value == 0:
        return "0"
    value = float(f"{value:.{digits - 1}e}")  # first, since rounding may carry into another digit
    magnitude = math.floor(math.log10(abs(value)))
    style = f",.{max(0, digits - 1 - magnitude)}f" if -4 <= magnitude < 7 else f".{digits - 1}e"
    return format(value, style).replace("-", _MINUS)


def tick_text(value: float) -> str:
    """A value on an axis, where ticks are round already."""
    if abs(value) >= 10_000:
        return count_text(value).replace("-", _MINUS)
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        factor = "" if float(mantissa) == 1 else f"{float(mantissa):g}\u00b7"
        return f"{factor}10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return f"{value:.6g}".replace("-", _MINUS)


def _round_step(step: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((k * power for k in _STEPS if k * power >= step * (1 - 1e-9)), 10 * power)
