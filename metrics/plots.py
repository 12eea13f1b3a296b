"""Pictures of results: a panel for every one, and what is worth seeing in it.

SWD has its bands beside their floor; precision and recall the nearest reals of some fakes; PRD its curve; the Geometry
Score how long so many loops live; FID at infinity the line that is extrapolated; every other metric its value beside
its floor or reference, with error bars.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics import scores
from metrics.canvas import Canvas, SvgCanvas, canvas_for, save
from metrics.report.scales import Scale, linear_scale, number_text, tick_text
from metrics.scores import Side

_WIDTH, _HEIGHT = 480, 320  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 56, 48  # margins of its axes
_FAKE, _REAL, _GREY = "#0b6fa4", "#d9822b", "#999999"
_COLUMNS = 3
_CELL = 48  # of a picture with the space after it
_ERRORS = 1.96  # standard errors on either side: 95% if they are normal


@dataclasses.dataclass(frozen=True)
class Axes:
    """Where values lie on a panel."""

    canvas: Canvas
    left: float
    top: float
    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a value."""
        return (
            self.left + self.x.position(x) * (_WIDTH - _LEFT - _RIGHT),
            self.top + (1 - self.y.position(y)) * (_HEIGHT - _TOP - _BOTTOM),
        )

    @property
    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lower left and upper right."""
        return self.at(self.x.low, self.y.low), self.at(self.x.high, self.y.high)


Pictures = Callable[[Side, int], NDArray[np.uint8] | None]
"""Gives the image of a side at a place of the measurement's order, or None."""


def _no_picture(side: Side, place: int) -> None:
    """Know no images."""
    del side, place


def write(path: Path, results: Sequence[Mapping[str, Any]], picture: Pictures = _no_picture) -> None:
    """Draw results into a file.

    Parameters
    ----------
    path : Path
        See `metrics.canvas.check_target`.
    results : sequence of dict
        See `metrics.evaluate.evaluate`.
    picture : callable
        For the nearest neighbours of precision and recall, such as `metrics.measuring.Measurement.picture`.
    """
    canvas = canvas_for(path, *_size(len(results)))
    _draw(canvas, results, picture)
    save(canvas, path)


def svg(results: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw results as the content of an SVG file; see `write`."""
    canvas = SvgCanvas(*_size(len(results)))
    _draw(canvas, results, _no_picture)
    return canvas.content()


def _size(panels: int) -> tuple[int, int]:
    columns = min(_COLUMNS, panels)
    return columns * _WIDTH, -(-panels // columns) * _HEIGHT


def _draw(canvas: Canvas, results: Sequence[Mapping[str, Any]], picture: Pictures) -> None:
    columns = min(_COLUMNS, len(results))
    for number, result in enumerate(results):
        left, top = number % columns * _WIDTH, number // columns * _HEIGHT
        title, _, network = scores.title_of(result["metric"]).partition(" on features of ")
        canvas.text((left + 16, top + 22), f"{title}: {number_text(result['value'], 4)}", size=15)
        canvas.text((left + 16, top + 40), _sets(result) + (network and f", {network}"), size=11, colour="#666666")
        if "nearest" in result and picture("fake", 0) is not None and picture("real", 0) is not None:
            _neighbours(canvas, left + 16, top + _TOP, result["nearest"], picture)
        else:
            draw = next(draw for key, draw in _PANELS.items() if key in result)
            draw(canvas, left + _LEFT, top + _TOP, result)


def _sets(result: Mapping[str, Any]) -> str:
    names = [Path((result[side] or {}).get("name", "")).name for side in ("fake", "real")]
    count = "" if result["num_images"] is None else f", {result['num_images']} images"
    return f"{names[0]} against {names[1]}{count}" if "floor" in result else f"{names[0]}{count}"


def _axes(canvas: Canvas, left: float, top: float, x: Scale, y: Scale, label: str, *, x_ticks: bool = True) -> Axes:
    """Draw the frame of a panel."""
    axes = Axes(canvas, left, top, x, y)
    (x_low, y_low), (x_high, y_high) = axes.corners
    for tick in y.ticks():
        place = axes.at(x.low, tick)
        canvas.line([place, (x_high, place[1])], "#e5e5e5")
        canvas.text((x_low - 6, place[1] + 4), tick_text(tick), anchor="end", size=11)
    for tick in x.ticks() if x_ticks else ():
        canvas.text((axes.at(tick, y.low)[0], y_low + 15), tick_text(tick), anchor="middle", size=11)
    canvas.line([(x_low, y_high), (x_low, y_low), (x_high, y_low)], _GREY)
    canvas.text(((x_low + x_high) / 2, y_low + 34), label, anchor="middle", size=12)
    return axes


def _legend(axes: Axes, entries: Sequence[tuple[str, str]]) -> None:
    """Names beside squares of their colours, from the right."""
    (_, _), (right, top) = axes.corners
    for row, (name, colour) in enumerate(entries):
        axes.canvas.rectangle(right - 10, top + 3 + 16 * row, 10, 10, colour)
        axes.canvas.text((right - 16, top + 12 + 16 * row), name, anchor="end", size=11)


def _bars(axes: Axes, groups: Sequence[Sequence[tuple[float, str]]], names: Sequence[str]) -> None:
    """Groups of bars side by side over 0, 1, 2, ..."""
    for place, (group, name) in enumerate(zip(groups, names, strict=True)):
        width = 0.8 / len(group)
        for k, (value, colour) in enumerate(group):
            x, y = axes.at(place - 0.4 + k * width, max(value, 0))
            x_end, y_zero = axes.at(place - 0.4 + (k + 1) * width, 0)
            axes.canvas.rectangle(x, y, x_end - x - 1, y_zero - y, colour)
        axes.canvas.text((axes.at(place, 0)[0], axes.at(0, axes.y.low)[1] + 15), name, anchor="middle", size=11)


def _levels(canvas: Canvas, left: float, top: float, result: Mapping[str, Any]) -> None:
    levels, floor = result["levels"], result["floor"]
    groups = [[(value, _FAKE), *([(floor["levels"][name], _REAL)] if floor else [])] for name, value in levels.items()]
    most = max(value for group in groups for value, _ in group)
    x, y = Scale(-0.6, len(levels) - 0.4), Scale(0.0, 1.15 * most or 1.0)
    axes = _axes(canvas, left, top, x, y, "band (side in pixels)", x_ticks=False)
    _bars(axes, groups, list(levels))
    entries = [("value", _FAKE)] + ([(f"floor, {floor['num_images']} images", _REAL)] if floor else [])
    _legend(axes, entries)


def _curve(canvas: Canvas, left: float, top: float, result: Mapping[str, Any]) -> None:
    axes = _axes(canvas, left, top, Scale(0.0, 1.0), Scale(0.0, 1.0), "recall (upwards: precision)")
    curve = result["curve"]
    canvas.line([axes.at(*point) for point in zip(curve["recall"], curve["precision"], strict=True)], _FAKE, 2)


def _living_times(canvas: Canvas, left: float, top: float, result: Mapping[str, Any]) -> None:
    pairs = list(zip(result["living_times"]["fake"], result["living_times"]["real"], strict=True))
    while len(pairs) > 3 and max(pairs[-1]) < 0.002:  # too low to be seen
        pairs.pop()
    groups = [[(fake, _FAKE), (real, _REAL)] for fake, real in pairs]
    y = Scale(0.0, 1.15 * max(max(pair) for pair in pairs))
    axes = _axes(canvas, left, top, Scale(-0.6, len(groups) - 0.4), y, "loops alive", x_ticks=False)
    every = max(1, len(groups) // 12)
    _bars(axes, groups, [str(k) if k % every == 0 else "" for k in range(len(groups))])
    _legend(axes, [("fake", _FAKE), ("real", _REAL)])


def _extrapolation(canvas: Canvas, left: float, top: float, result: Mapping[str, Any]) -> None:
    points = [(1 / int(count), float(distance)) for count, distance in result["fid"].items()]
    x = Scale(0.0, 1.05 * max(place for place, _ in points))
    axes = _axes(canvas, left, top, x, linear_scale([result["value"], *(y for _, y in points)]), "1 / images of FAKE")
    # The fitted line goes through the intercept and the means of both.
    means = [sum(numbers) / len(points) for numbers in zip(*points, strict=True)]
    slope = (means[1] - result["value"]) / means[0]
    canvas.line([axes.at(place, result["value"] + slope * place) for place in (0.0, x.high)], _GREY, dashed=True)
    for point in points:
        place = axes.at(*point)
        canvas.rectangle(place[0] - 3, place[1] - 3, 6, 6, _FAKE)
    if result["standard_error"] is not None:
        _error_bar(axes, 0.0, result["value"], result["standard_error"], _FAKE)


def _neighbours(canvas: Canvas, left: float, top: float, nearest: Mapping[str, Any], picture: Pictures) -> None:
    """Some fakes, each with its nearest reals and their distances in a row."""
    canvas.text((left, top + 8), "fake", size=11)
    canvas.text((left + _CELL + 14, top + 8), "nearest reals, with distances", size=11)
    for row, (reals, distances) in enumerate(zip(nearest["reals"], nearest["distances"], strict=True)):
        y = top + 14 + row * _CELL
        _draw_square(canvas, left, y, picture("fake", row))
        for column, (place, distance) in enumerate(zip(reals, distances, strict=True)):
            x = left + _CELL + 14 + column * (_CELL + 30)
            _draw_square(canvas, x, y, picture("real", place))
            canvas.text((x + _CELL, y + _CELL / 2), number_text(distance), size=9, colour="#666666")


def _draw_square(canvas: Canvas, left: float, top: float, pixels: NDArray[np.uint8] | None) -> None:
    """Draw the middle square of an image."""
    if pixels is not None:
        _, height, width = pixels.shape
        side = min(height, width)
        y, x = (height - side) // 2, (width - side) // 2
        canvas.picture(left, top, _CELL - 4, pixels[:, y : y + side, x : x + side])


def _values(canvas: Canvas, left: float, top: float, result: Mapping[str, Any]) -> None:
    """Value beside floor or reference."""
    sets = {"this set": result, "floor": result.get("floor"), "reference": result.get("reference")}
    shown = [(name, found) for name, found in sets.items() if found]
    ends = [0.0]
    for _, found in shown:
        error = _ERRORS * (found.get("standard_error") or 0.0)
        ends += [found["value"] - error, found["value"] + error]
    x = Scale(-0.6, len(shown) - 0.4)
    axes = _axes(canvas, left, top, x, linear_scale(ends), "bars: 95% by the standard error", x_ticks=False)
    colours = [_FAKE, _REAL][: len(shown)]
    _bars(
        axes,
        [[(found["value"], colour)] for (_, found), colour in zip(shown, colours, strict=True)],
        [name for name, _ in shown],
    )
    for place, (_, found) in enumerate(shown):
        if found.get("standard_error"):
            _error_bar(axes, place, found["value"], found["standard_error"], "#222222")


def _error_bar(axes: Axes, x: float, value: float, error: float, colour: str) -> None:
    low, high = axes.at(x, value - _ERRORS * error), axes.at(x, value + _ERRORS * error)
    axes.canvas.line([low, high], colour, 2)
    for end in (low, high):
        axes.canvas.line([(end[0] - 5, end[1]), (end[0] + 5, end[1])], colour, 2)


_PANELS = {  # the first whose key a result has
    "levels": _levels,
    "curve": _curve,
    "living_times": _living_times,
    "fid": _extrapolation,
    "value": _values,
}
