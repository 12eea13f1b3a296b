"""The plan of a run: exact counts."""

from __future__ import annotations

import pytest

from training.config import load_preset
from training.growth import Schedule
from training.plan import make_plan
from training.settings import with_settings


def test_cost_of_an_update_is_the_independently_counted_one() -> None:
    """894.0 GFLOP for a D and a G step at 16x16, batch 16, full-size networks: an exact count of another program."""
    config = with_settings(load_preset("celebahq"), ["network.fused_resampling=false"])
    plans = {2**plan.segment.level: plan for plan in make_plan(config, Schedule(config.growth, 4))}
    assert plans[16].flop_per_image * 16 / 1e9 == pytest.approx(894.0, rel=1e-3)


def test_fused_upsampling_saves_five_ninths_of_its_convolutions() -> None:
    """Two layers of 512 x 512 x 9, at 8x8 and 16x16: forward twice, backward to input and to weight."""
    config = load_preset("celebahq")
    plans = {2**plan.segment.level: plan for plan in make_plan(config, Schedule(config.growth, 4))}
    saved = 5 / 9 * 4 * 2 * 512 * 512 * 9 * (8**2 + 16**2) * 16
    assert plans[16].flop_per_image * 16 / 1e9 == pytest.approx(894.0 - saved / 1e9, rel=1e-3)


def test_plan_follows_the_schedule() -> None:
    lengths = "fade_kimg: 4, stabilize_kimg: 4, total_kimg: 14"
    config = with_settings(load_preset("tiny"), [f"growth={{{lengths}, batch_by_resolution: {{16: 3}}}}"])
    plans = make_plan(config, Schedule(config.growth, 5))
    assert [(2**p.segment.level, p.segment.start, p.segment.end) for p in plans] == [
        (4, 0, 4000),
        (8, 4000, 12000),
        (16, 12000, 14000),  # the run ends before 32x32
    ]
    assert plans[-1].segment.batch == 3
    assert plans[0].flop == plans[0].flop_per_image * 4000
