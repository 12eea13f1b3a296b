"""Trying every level before a run."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from datasets.errors import InputError
from training import preflight
from training.conditioning import Labels
from training.config import Config, load_preset
from training.growth import Schedule
from training.plan import make_plan
from training.preflight import LevelTrial, available_memory, check_memory, try_levels
from training.run import duration
from training.settings import with_settings

CPU = torch.device("cpu")
SMALL = ["network.fmap_base=64", "network.fmap_max=8", "growth.batch=12", "growth.total_kimg=15"]


def tried(config: Config, top: int = 4, ranks: int = 1) -> list[LevelTrial]:
    schedule = Schedule(config.growth, top)
    return try_levels(config, schedule, make_plan(config, schedule), Labels(), CPU, ranks=ranks)


def test_every_level_is_stepped_with_its_minibatch() -> None:
    trials = tried(with_settings(load_preset("tiny"), SMALL))
    assert [trial.plan.segment.level for trial in trials] == [2, 3, 4]
    assert [trial.tried for trial in trials] == [12, 12, 12]
    for trial in trials:
        steps = (trial.plan.segment.end - trial.plan.segment.start) / 12
        assert trial.seconds == pytest.approx(trial.seconds_per_step * steps)
        assert 50e6 < trial.memory < 64e9


def test_a_rank_tries_its_share() -> None:
    assert {trial.tried for trial in tried(with_settings(load_preset("tiny"), SMALL), ranks=3)} == {4}


def test_long_steps_are_tried_with_fewer_images_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that takes a second for every image, and a gigabyte besides two for the networks."""

    def one_second_an_image(*arguments: object) -> tuple[float, float]:
        count = arguments[-1]
        assert isinstance(count, int)
        sizes.append(count)
        return float(count), 2e9 + 1e9 * count

    sizes: list[int] = []
    monkeypatch.setattr(preflight, "_try", one_second_an_image)
    monkeypatch.setattr(preflight, "_SECONDS", 4.0)
    config = with_settings(load_preset("tiny"), [*SMALL, "growth.batch=1", "growth.batch_by_resolution.16=12"])
    schedule = Schedule(config.growth, 4)
    plans = [dataclasses.replace(plan, flop_per_image=1.0) for plan in make_plan(config, schedule)]
    last = try_levels(config, schedule, plans, Labels(), CPU)[-1]
    assert sizes == [1, 1, 4, 2]
    assert last.tried == 4
    assert last.seconds_per_step == pytest.approx(12)
    assert last.memory == pytest.approx(14e9)


def test_what_does_not_fit_is_refused_with_a_setting_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = tried(with_settings(load_preset("tiny"), SMALL))
    check_memory(trials, CPU)
    monkeypatch.setattr(preflight, "available_memory", lambda _: 8 * 2.0**30)
    trials[-1] = dataclasses.replace(trials[-1], memory=16 * 2.0**30)
    with pytest.raises(
        InputError, match=r"16x16 needs about 16.0 GiB .* 12, there are 8.0; pass --set compute.part_by"
    ):
        check_memory(trials, CPU)


def test_available_memory_is_that_of_this_machine() -> None:
    assert 2**28 < available_memory(CPU) < 2**50


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (18600, "5 h 10 min"), (1e6, "11 d 13 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
