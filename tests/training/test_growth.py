"""The growing schedule: published points, monotone and continuous growth, optimizer resets."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from training.config import load_preset
from training.growth import Config, Schedule

# kimg -> lod of the released code (level of detail: 0 is 1024x1024, 8 is 4x4; its fraction is 1 - alpha), 600/600 kimg.
POINTS_600 = {
    0: 8.0,
    600: 8.0,
    600.1: 7.99983,
    900: 7.5,
    1200: 7.0,
    2100: 6.5,
    9000: 1.0,
    9300: 0.5,
    9600: 0.0,
    12000: 0.0,
}


def lod(schedule: Schedule, images: int) -> float:
    stage = schedule.stage(images)
    return schedule.top_level - stage.level + (1 - stage.alpha)


@pytest.mark.parametrize(("kimg", "expected"), POINTS_600.items())
def test_points_of_the_released_schedule(kimg: float, expected: float) -> None:
    schedule = Schedule(Config(fade_kimg=600, stabilize_kimg=600, total_kimg=12000), 10)
    assert lod(schedule, round(kimg * 1000)) == pytest.approx(expected, abs=1e-5)


def test_settings_of_a_resolution_apply_from_the_start_of_its_fade_in() -> None:
    schedule = Schedule(Config(batch=16, batch_by_resolution={8: 4}, learning_rate_by_resolution={8: 0.5}), 10)
    assert (schedule.stage(600_000).resolution, schedule.stage(600_000).batch) == (4, 16)
    begun = schedule.stage(600_001)
    assert (begun.resolution, begun.batch, begun.learning_rate) == (8, 4, 0.5)
    assert begun.alpha == pytest.approx(1 / 600_000)


@pytest.mark.parametrize(
    ("resolution", "fade", "stabilize", "first_kimg"),
    [
        (1024, 800, 800, 12800),
        (256, 800, 800, 9600),
        (128, 800, 800, 8000),
        (128, 600, 600, 6000),
        (32, 400, 400, 2400),
    ],
)
def test_first_moment_at_full_resolution(resolution: int, fade: float, stabilize: float, first_kimg: int) -> None:
    level = int(math.log2(resolution))
    schedule = Schedule(Config(fade_kimg=fade, stabilize_kimg=stabilize, total_kimg=20000), level)
    assert lod(schedule, first_kimg * 1000 - 100) > 0
    assert lod(schedule, first_kimg * 1000) == 0


def test_kimg_per_resolution() -> None:
    """4: 600; 8 to 512: 1200 each; 1024: 600 of fading and 2400 more, when the total is 12000."""
    segments = Schedule(Config(), 10).segments()
    assert [(s.end - s.start) // 1000 for s in segments] == [600] + [1200] * 7 + [3000]
    assert [(s.fade_end - s.start) // 1000 for s in segments] == [0] + [600] * 8


@pytest.mark.parametrize(
    ("kimg", "batches"), [((0.6, 0.6), {4: 32, 8: 20, 16: 7}), ((0.1, 0.02), {4: 64, 8: 48}), ((0.0, 0.3), {})]
)
def test_a_held_schedule_is_looked_at_every_fourth_minibatch(
    kimg: tuple[float, float], batches: dict[int, int]
) -> None:
    """Oracle: the loop of the TensorFlow release, which looks at its schedule, then makes four steps."""
    config = Config(fade_kimg=kimg[0], stabilize_kimg=kimg[1], total_kimg=6, batch=16, batch_by_resolution=batches)
    every, held = Schedule(config, 6), Schedule(replace(config, hold_minibatches=4), 6)
    images = differences = 0
    while images < 6000:
        stage = every.stage(images)
        for _ in range(4):
            differences += every.stage(images) != stage
            assert held.stage(images) == stage
            assert held.stage(images + stage.batch - 1) == stage
            images += stage.batch
    assert differences > 5


def test_number_of_optimizer_resets() -> None:
    """From 4x4 to 1024x1024: one at the start and two for each of eight growths."""
    schedule = Schedule(Config(), 10)
    phases = [schedule.stage(images).phase for images in range(0, 12_000_000, 100)]
    assert 1 + sum(a != b for a, b in pairwise(phases)) == 17


def test_the_papers_minibatches() -> None:
    """Appendix A.1: 16 for 4x4 to 128x128, then 14, 6 and 3; 6.3: 800/800 thousand images, 19 million in all."""
    growth = load_preset("celebahq").growth
    segments = Schedule(growth, 10).segments()
    assert {2**s.level: s.batch for s in segments} == {
        4: 16,
        8: 16,
        16: 16,
        32: 16,
        64: 16,
        128: 16,
        256: 14,
        512: 6,
        1024: 3,
    }
    assert {s.learning_rate for s in segments} == {0.001}
    assert segments[-1].fade_end == 12_800_000
    assert segments[-1].end == 19_000_000


configs = st.builds(
    Config,
    initial_resolution=st.sampled_from([4, 8, 16]),
    fade_kimg=st.floats(0, 3),
    stabilize_kimg=st.floats(0, 3),
    total_kimg=st.floats(0.1, 30),
)


@settings(max_examples=50, deadline=None)
@given(configs, st.integers(4, 7))
def test_growth_is_monotone_and_within_bounds(config: Config, top: int) -> None:
    schedule = Schedule(config, top)
    before = None
    for images in range(0, 30_000, 97):
        stage = schedule.stage(images)
        assert schedule.initial_level <= stage.level <= top
        assert 0 <= stage.alpha <= 1
        grown = stage.level + stage.alpha
        if before is not None:
            assert grown >= before
        before = grown


@settings(max_examples=50, deadline=None)
@given(configs, st.integers(4, 7))
def test_segments_agree_with_stages(config: Config, top: int) -> None:
    schedule = Schedule(config, top)
    segments = schedule.segments()
    assert segments[-1].end == schedule.total_images
    assert all(a.end == b.start for a, b in pairwise(segments))
    for segment in segments:
        if segment.end - segment.start > 2:
            assert schedule.stage(segment.end - 1).level == segment.level
            assert schedule.stage((segment.start + segment.end) // 2 + 1).level == segment.level


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fade_kimg": -1}, r"growth.fade_kimg must be from 0 to 1e\+09, got -1"),
        ({"total_kimg": 0}, "growth.total_kimg must be above 0"),
        ({"batch": 0}, "growth.batch must be from 1 to 65536"),
        ({"batch_by_resolution": {63: 4}}, "growth.batch_by_resolution: 63 is not a side"),
        ({"batch_by_resolution": {64: 0}}, "growth.batch_by_resolution.64 must be from 1 to"),
        ({"learning_rate": 0.0}, "growth.learning_rate must be above 0"),
        ({"learning_rate": math.nan}, "growth.learning_rate must be above 0"),
        ({"initial_resolution": 256}, "finer than the data set's 128"),
        ({"initial_resolution": 5}, "growth.initial_resolution 5 is not a side"),
    ],
)
def test_contradictions_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(Config(**change), 7)  # type: ignore[arg-type]
