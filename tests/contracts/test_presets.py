"""The contract of every preset in training/presets, and numbers of the runs they stand for."""

from __future__ import annotations

import inspect

import pytest

from training import presets
from training.config import Config, load_preset, plugin_names, preset_names
from training.config import load_plugin as load
from training.growth import Schedule
from training.plan import make_plan
from training.settings import from_yaml, to_yaml

RESOLUTIONS = {"celebahq": 1024, "lsun": 256, "table1": 128, "cpu": 64}  # all others are made for 32x32


def resolution_of(name: str) -> int:
    return RESOLUTIONS.get(name.split("_")[0], 32)


@pytest.mark.parametrize("module", plugin_names(presets))
def test_presets_are_documented_functions(module: str) -> None:
    for name, preset in load(presets, module, "preset").PRESETS.items():
        assert name.startswith(module)
        assert inspect.getdoc(getattr(preset, "func", preset))


def test_names_are_unique() -> None:
    assert len(set(preset_names())) == len(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_preset_reaches_its_resolution(name: str) -> None:
    config = load_preset(name)
    assert isinstance(config, Config)
    assert from_yaml(to_yaml(config), name) == config
    assert config.data.resolution == (None if name in ("tiny", "demo") else resolution_of(name))
    top = resolution_of(name).bit_length() - 1
    plans = make_plan(config, Schedule(config.growth, top))
    assert plans[-1].segment.level == top
    assert plans[-1].segment.end > plans[-1].segment.fade_end
    assert all(plan.flop_per_image > 0 for plan in plans)


@pytest.mark.parametrize(
    ("gpus", "millions_of_updates", "batches", "rates"),
    [
        (1, 1.35, [128, 128, 128, 64, 32, 16, 8, 4, 4], [1, 1, 1, 1, 1, 1, 1, 1, 1.5]),
        (2, 0.82, [256, 256, 128, 64, 32, 16, 8, 8, 8], [1, 1, 1, 1, 1, 1, 1, 1.5, 2]),
        (4, 0.48, [512, 256, 128, 64, 32, 16, 16, 16, 16], [1, 1, 1, 1, 1, 1, 1.5, 2, 3]),
        (8, 0.28, [512, 256, 128, 64, 32, 32, 32, 32, 32], [1, 1, 1, 1, 1, 1.5, 2, 3, 3]),
    ],
)
def test_runs_of_the_release(gpus: int, millions_of_updates: float, batches: list[int], rates: list[float]) -> None:
    """Batch, rate and number of updates of the TensorFlow release's table; every GPU gets an equal share."""
    schedule = Schedule(load_preset(f"celebahq_{gpus}gpu").growth, 10)
    segments = schedule.segments()
    assert [segment.batch for segment in segments] == batches
    assert [segment.learning_rate * 1000 for segment in segments] == pytest.approx(rates)
    assert all(segment.batch % gpus == 0 for segment in segments)
    updates = sum((segment.end - segment.start) / segment.batch for segment in segments)
    assert updates / 1e6 == pytest.approx(millions_of_updates, abs=0.005)


def test_the_papers_run_has_the_releases_number_of_updates() -> None:
    segments = Schedule(load_preset("celebahq").growth, 10).segments()
    updates = sum((segment.end - segment.start) / segment.batch for segment in segments)
    assert updates / 1e6 == pytest.approx(3.26, abs=0.005)


def test_sizes_of_the_small_networks() -> None:
    """CIFAR-10: 1,296,908 and 1,298,689 parameters, all ways to and from RGB counted; the last level uses one."""
    config = load_preset("cifar10")
    plan = make_plan(config, Schedule(config.growth, 5))[-1]
    unused_ways_to_rgb = 3 * (128 * 3 + 3)
    unused_ways_from_rgb = 3 * (3 * 128 + 128)
    assert plan.generator_parameters == 1_296_908 - unused_ways_to_rgb
    assert plan.discriminator_parameters == 1_298_689 - unused_ways_from_rgb


def test_every_row_of_table_1_changes_one_thing() -> None:
    """The rows differ from each other where the table says so, and nowhere else."""
    from training.settings import differences

    rows = {row: load_preset(f"table1_{row}") for row in ("a", "b", "c", "d", "e_star", "e", "f", "g", "h")}
    changed = {
        ("a", "b"): {"growth.initial_resolution", "growth.fade_kimg", "growth.stabilize_kimg"},
        ("b", "c"): {"growth.batch"},
        ("d", "e_star"): {"network.minibatch_discrimination"},
        ("d", "e"): {"network.minibatch_stddev"},
        ("e", "f"): {"network.equalized", "growth.learning_rate"},
        ("f", "g"): {"network.generator_norm"},
        ("g", "h"): {"network.fmap_base", "growth.total_kimg"},
    }
    for (old, new), keys in changed.items():
        assert set(differences(rows[old], rows[new])) == keys, (old, new)
