"""Charts as data for the template: paths, ticks and bands in percent of the drawing, nothing that needs a browser.

The template draws the paths into an SVG that stretches with the page (strokes keep their width) and sets the labels
beside it as text, so that they stay legible at every width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets.levels import resolution_of
from metrics.report.events import Event, marks
from metrics.report.fields import Row
from metrics.report.run_directory import LevelPlan
from metrics.report.scales import Point, Scale, count_text, linear_scale, log_scale, number_text, thin, tick_text

TIMES = "\u00d7"
_MOST_MARKS = 60  # with more points than this, dots on a curve only blur it


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes
    ----------
    name : str
        What the legend says.
    points : sequence of (float, float or None)
        Images shown and value; None is a gap.
    colour : int
        Number of its colour in the style sheet, 0..7.
    floor : float or None
        Value of a dashed line in the same colour, such as the real-against-real floor.
    strong : bool
        Whether it is drawn thicker than the others.
    """

    name: str
    points: Sequence[Point]
    colour: int
    floor: float | None = None
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve as SVG paths in a box of 1000 x 1000."""

    name: str
    colour: int
    strong: bool
    path: str
    dots: str
    floor: float | None  # height in the box
    last: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """A level behind the curves, in percent of the width; its first `fade` percent fade in."""

    left: float
    width: float
    fade: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What the template needs to draw one chart."""

    title: str
    subtitle: str
    summary: str
    lines: list[Line]
    bands: list[Band]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    events: list[tuple[float, str]]
    floor_name: tuple[str, str] | None
    notes: list[str]
    hover: str


def points_of(rows: Sequence[Row], key: str) -> list[Point]:
    """Images shown and `key` of every row that has the key; a value that was not finite is None."""
    return [(row["images"], row[key]) for row in rows if key in row]


def draw(
    title: str,
    subtitle: str,
    series: Sequence[Series],
    *,
    end: float,
    plan: Sequence[LevelPlan] = (),
    events: Sequence[Event] = (),
    log: bool = False,
    floor_name: str = "",
) -> Chart | None:
    """Draw curves over the images shown.

    Parameters
    ----------
    title, subtitle : str
        What is drawn, and how to read it.
    series : sequence of Series
        The curves; those without any finite value are left out.
    end : float
        Images shown at the right end.
    plan : sequence of LevelPlan
        Levels to mark in the background.
    events : sequence of Event
        To mark along the axis.
    log : bool
        Whether the value axis is logarithmic. Values at or below zero are then gaps, and a note says how many.
    floor_name : str
        What the dashed lines are.

    Returns
    -------
    Chart or None
        None if there is no value to draw.
    """
    notes = []
    if log:
        hidden = sum(value is not None and value <= 0 for curve in series for _, value in curve.points)
        if hidden:
            notes.append(f"{hidden:,} values at or below zero have no place on a logarithmic axis")
        series = [replace(curve, points=_positive(curve.points)) for curve in series]
    series = [curve for curve in series if any(value is not None for _, value in curve.points)]
    values = [float(value) for curve in series for _, value in curve.points if value is not None]
    if not values:
        return None
    floors = [curve.floor for curve in series if curve.floor is not None and (curve.floor > 0 or not log)]
    y = (log_scale if log else linear_scale)([*values, *floors])
    if y.clipped:
        beyond = [value for value in values if not y.low <= value <= y.high]
        reach = f"all values lie between {number_text(min(values))} and {number_text(max(values))}"
        notes.append(f"{len(beyond):,} of {len(values):,} values are beyond the axis and drawn at its edge; {reach}")
    x = Scale(0.0, max(float(end), 1.0))
    drawn = [replace(curve, points=thin(curve.points)) for curve in series]
    return Chart(
        title=title,
        subtitle=subtitle,
        summary="; ".join(_in_words(curve) for curve in series),
        lines=[_line(curve, x, y) for curve in drawn],
        bands=bands(plan, x.high),
        x_ticks=[(100 * x.position(tick), count_text(tick)) for tick in x.ticks(4)],
        y_ticks=[(100 * y.position(tick), tick_text(tick)) for tick in y.ticks()],
        events=marks(events, x.high),
        floor_name=_legend(floor_name, floors),
        notes=notes,
        hover=_hover(drawn, x.high),
    )


def bands(plan: Sequence[LevelPlan], end: float) -> list[Band]:
    """The levels reached until `end` images, each with its share of the width."""
    found = []
    for level in plan:
        left, right = min(level.start, end), min(level.end, end)
        if right > left:
            fade = max(0.0, min(level.fade_end, right) - left)
            side = resolution_of(level.level)
            found.append(
                Band(
                    left=round(100 * left / end, 3),
                    width=round(100 * (right - left) / end, 3),
                    fade=round(100 * fade / end, 3),
                    label=f"{side}{TIMES}{side}",
                )
            )
    return found


def _line(curve: Series, x: Scale, y: Scale) -> Line:
    path, dots, pen_down = [], [], False
    few = sum(value is not None for _, value in curve.points) <= _MOST_MARKS
    for position, (images, value) in enumerate(curve.points):
        if value is None:
            pen_down = False
            continue
        place = f"{1000 * x.position(images):.4g} {1000 * (1 - y.position(value)):.4g}"
        path.append(f"{'L' if pen_down else 'M'}{place}")
        alone = not pen_down and (position + 1 == len(curve.points) or curve.points[position + 1][1] is None)
        if few or alone:  # a path of no length, which a round line cap draws as a dot
            dots.append(f"M{place}h0")
        pen_down = True
    last = next((value for _, value in reversed(curve.points) if value is not None), None)
    floor = None if curve.floor is None else round(1000 * (1 - y.position(curve.floor)), 1)
    return Line(
        name=curve.name,
        colour=curve.colour,
        strong=curve.strong,
        path="".join(path),
        dots="".join(dots),
        floor=floor,
        last="" if last is None else number_text(last),
    )


def _legend(floor_name: str, floors: Sequence[float]) -> tuple[str, str] | None:
    """Name of the dashed lines, and their value if there is only one."""
    if not floors:
        return None
    return floor_name, number_text(floors[0]) if len(floors) == 1 else ""


def _positive(points: Sequence[Point]) -> list[Point]:
    return [(images, value if value is not None and value > 0 else None) for images, value in points]


def _in_words(curve: Series) -> str:
    known = [value for _, value in curve.points if value is not None]
    text = f"{curve.name}: first {number_text(known[0])}, last {number_text(known[-1])}"
    return text if curve.floor is None else f"{text}, dashed line {number_text(curve.floor)}"


def _hover(series: Sequence[Series], end: float) -> str:
    """What the script needs to show the values under the pointer, as JSON."""
    curves = []
    for curve in series:
        known = [(images, value) for images, value in curve.points if value is not None]
        curves.append(
            {
                "name": curve.name,
                "colour": curve.colour,
                "x": [images for images, _ in known],
                "y": [float(f"{value:.4g}") for _, value in known],
            }
        )
    return json.dumps({"end": end, "series": curves}, separators=(",", ":"), allow_nan=False)
