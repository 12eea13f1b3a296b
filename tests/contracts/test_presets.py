"""The contract of every preset in training/presets."""

from __future__ import annotations

import pytest

from training import presets
from training.config import Config, load_plugin, load_preset, plugin_names
from training.growth import Schedule
from training.plan import make_plan

pytestmark = pytest.mark.parametrize("name", plugin_names(presets))
RESOLUTION = {"celebahq": 1024}  # all others are made for 32x32


def test_preset_is_a_documented_function(name: str) -> None:
    module = load_plugin(presets, name, "preset")
    assert isinstance(module.preset(), Config)
    assert module.preset.__doc__


def test_preset_reaches_its_resolution(name: str) -> None:
    config = load_preset(name)
    top = RESOLUTION.get(name, 32).bit_length() - 1
    plans = make_plan(config, Schedule(config.growth, top))
    assert plans[-1].segment.level == top
    assert plans[-1].segment.end > plans[-1].segment.fade_end
    assert all(plan.flop_per_image > 0 for plan in plans)
