"""Charts of the report: where a value is drawn, which points are kept, what the axes say."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.report.charts import Series, bands, draw
from metrics.report.run_directory import LevelPlan
from metrics.report.scales import Scale, count_text, linear_scale, log_scale, number_text, thin, tick_text

FINITE = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
PLAN = (
    LevelPlan(level=2, start=0, fade_end=0, end=100, batch=4),
    LevelPlan(level=3, start=100, fade_end=150, end=200, batch=4),
    LevelPlan(level=4, start=200, fade_end=300, end=400, batch=4),
)


def curve(*points, **options):
    return Series(name="curve", points=points, colour=0, **options)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | FINITE, max_size=3000), st.integers(10, 400))
def test_thinning_keeps_the_outermost_values_their_order_and_the_limit(values, limit):
    points = list(enumerate(values))
    kept = thin(points, limit)
    assert len(kept) <= limit
    assert kept == sorted(kept, key=lambda point: point[0])
    assert set(kept) <= set(points)
    known = [value for value in values if value is not None]
    if known:
        left = [value for _, value in kept if value is not None]
        assert (min(left), max(left)) == (min(known), max(known))
    if len(points) <= limit:
        assert kept == points


def test_thinning_keeps_a_long_gap():
    points = [(k, None if 400 <= k < 800 else float(k)) for k in range(1200)]
    assert any(value is None for _, value in thin(points))


@settings(max_examples=50, deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=60))
def test_a_linear_axis_holds_its_values_and_a_few_round_ticks(values):
    scale = linear_scale(values)
    if not scale.clipped:
        assert scale.low < min(values) <= max(values) < scale.high
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 7
    assert all(scale.low <= tick <= scale.high or math.isclose(tick, scale.high) for tick in ticks)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=60))
def test_a_logarithmic_axis_holds_its_values_and_a_few_ticks(values):
    scale = log_scale(values)
    assert scale.low < min(values) <= max(values) < scale.high
    assert 1 <= len(scale.ticks()) <= 9
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_positions_on_an_axis():
    assert Scale(10, 20).position(12.5) == 0.25
    assert Scale(1, 1000, log=True).position(10) == pytest.approx(1 / 3)
    assert Scale(10, 20).position(99) == 1
    assert Scale(10, 20).position(-99) == 0
    assert Scale(0, 400_000).ticks(4) == [0, 100_000, 200_000, 300_000, 400_000]
    assert Scale(0.9, 1100, log=True).ticks() == [1, 10, 100, 1000]
    assert Scale(2.5, 131, log=True).ticks() == [3, 10, 30, 100]
    assert Scale(0.13, 0.71).ticks() == pytest.approx([0.2, 0.4, 0.6])


def test_a_few_spikes_do_not_flatten_the_curve_and_are_counted():
    chart = draw("t", "s", [curve(*((k, math.sin(k)) for k in range(100)), (100, 900.0))], end=100)
    low = "\u22121.00"  # -sin(11) is the lowest
    assert chart.notes == [
        f"1 of 101 values are beyond the axis and drawn at its edge; all values lie between {low} and 900"
    ]
    assert chart.lines[0].path.endswith("1000 0")
    assert max(float(text.replace("\u2212", "-")) for _, text in chart.y_ticks) < 5


def test_a_curve_is_drawn_where_its_values_are():
    chart = draw("t", "s", [curve((0, 0.0), (50, 10.0), (100, 5.0))], end=100)
    assert chart.lines[0].path == "M0 946.4L500 53.57L1000 500"  # 6% of air: 0 lies at 0.6 / 11.2 from below
    assert chart.lines[0].dots == "M0 946.4h0M500 53.57h0M1000 500h0"
    assert chart.lines[0].last == "5.00"
    assert chart.x_ticks == [(0, "0"), (50, "50"), (100, "100")]
    assert json.loads(chart.hover) == {
        "end": 100,
        "series": [{"name": "curve", "colour": 0, "x": [0, 50, 100], "y": [0, 10, 5]}],
    }


def test_missing_values_are_gaps_and_a_lone_value_is_a_dot():
    points = [(k, float(k % 7)) for k in range(100)]
    points[40:43] = [(40, None), (41, 3.0), (42, None)]
    line = draw("t", "s", [curve(*points)], end=100).lines[0]
    assert line.path.count("M") == 3
    assert line.dots.count("M") == 1
    assert line.dots.startswith("M410 ")


def test_values_without_a_logarithm_are_gaps_and_counted():
    chart = draw("t", "s", [curve((1, 10.0), (2, 0.0), (3, -1.0), (4, 1000.0))], end=4, log=True)
    assert chart.notes == ["2 values at or below zero have no place on a logarithmic axis"]
    assert chart.lines[0].path.count("M") == 2
    assert draw("t", "s", [curve((1, 0.0))], end=4, log=True) is None


def test_the_floor_is_on_the_axis_and_named():
    chart = draw("t", "s", [curve((0, 100.0), (9, 50.0), floor=2.0)], end=9, log=True, floor_name="floor")
    assert chart.lines[0].floor > 900
    assert chart.floor_name == ("floor", "2.00")
    assert "dashed line 2.00" in chart.summary
    assert draw("t", "s", [curve((0, 1.0))], end=9, floor_name="floor").floor_name is None
    several = [curve((0, 100.0), floor=2.0), curve((0, 90.0), floor=3.0)]
    assert draw("t", "s", several, end=9, floor_name="floor").floor_name == ("floor", "")


def test_nothing_to_draw_is_no_chart():
    assert draw("t", "s", [], end=5) is None
    assert draw("t", "s", [curve((0, None))], end=5) is None
    assert draw("t", "s", [curve((0, 3.0))], end=0) is not None


def test_bands_share_the_width_up_to_the_images_shown():
    found = [(band.left, band.width, band.fade, band.label) for band in bands(PLAN, 250)]
    assert found == [(0, 40, 0, "4\u00d74"), (40, 40, 20, "8\u00d78"), (80, 20, 20, "16\u00d716")]
    assert len(bands(PLAN, 100)) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.8123, "9.81"),
        (9.9999, "10.0"),
        (120.4, "120"),
        (0.034249, "0.0342"),
        (12400, "12,400"),
        (-1.5, "\u22121.50"),
        (0, "0"),
        (3e-7, "3.00e\u221207"),
    ],
)
def test_values_are_written_in_three_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (950, "950"), (12_000, "12k"), (63_158, "63.2k"), (1_296_908, "1.3M")]
)
def test_counts_are_written_short(value, text):
    assert count_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "10\u207b\u2075"), (2e-5, "2\u00b710\u207b\u2075"), (-2.5, "\u22122.5"), (5000, "5000"), (20_000, "20k")],
)
def test_ticks_are_written_short(value, text):
    assert tick_text(value) == text
