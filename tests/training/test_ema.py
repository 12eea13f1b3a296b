"""The moving average of the generator."""

from __future__ import annotations

import copy

import pytest
import torch

from datasets.errors import InputError
from training import ema
from training.config import load_preset
from training.feed import Shown
from training.growth import Schedule
from training.settings import with_settings
from training.state import TrainingState
from training.step import update


def test_update_is_the_recursion() -> None:
    network, average = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = 0.9 * average.weight.detach() + 0.1 * network.weight.detach()
    ema.update(average, network, 0.9)
    torch.testing.assert_close(average.weight.detach(), expected)


def test_units() -> None:
    assert ema.Config(decay=0.99).decay_of_step(64) == 0.99
    assert ema.Config(decay=0.99, unit="images").decay_of_step(64) == pytest.approx(0.99**4)
    # Table 1 of the paper, rows a and c: five discriminator steps of 64 and of 16 images
    assert ema.Config(unit="images").decay_of_step(5 * 64) == pytest.approx(0.999**20)
    assert ema.Config(unit="images").decay_of_step(5 * 16) == pytest.approx(0.999**5)


def test_decay_is_checked() -> None:
    with pytest.raises(InputError, match=r"ema.decay must be at least 0 and below 1, got 1.0"):
        ema.Config(decay=1.0)


def test_average_survives_a_growth_boundary() -> None:
    """Growing must not rebuild the average: across the boundary it moves by one ordinary update."""
    settings = ["network.fmap_max=8", "growth.batch=4", "growth.stabilize_kimg=4", "ema.decay=0.9"]
    config = with_settings(load_preset("tiny"), settings)
    schedule = Schedule(config.growth, 3)
    state = TrainingState(config, 8, torch.device("cpu"))
    torch.nn.init.constant_(state.average.dense.linear.weight, 7.0)
    boundary = 4000
    for images in (boundary, boundary + 4):
        before = copy.deepcopy(state.average.dense.linear.weight)
        state.images = images
        stage = schedule.stage(images)
        reals = torch.randint(0, 256, (4, 3, stage.resolution, stage.resolution), dtype=torch.uint8)
        update(state, Shown(reals), stage, config, 3 - stage.level)
        expected = 0.9 * before + 0.1 * state.generator.dense.linear.weight.detach()
        torch.testing.assert_close(state.average.dense.linear.weight, expected)
    assert stage.level == 3
