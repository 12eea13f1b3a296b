"""What the report advises about runs that broke down, stand still or were not measured, with options that act."""

import json
import shutil

import numpy as np
import pytest
from synthetic_run import event, ms_ssim_result, swd_result, write_lines, write_run

from metrics.report import findings
from metrics.report.readings import is_collapsing, what_to_change
from metrics.report.run_directory import read_run

CONFIG = """\
network: {fmap_base: 256, fmap_max: 32}
growth: {learning_rate: 0.003, learning_rate_by_resolution: {32: 0.002}}
guards: {non_finite: stop, explosion: go_on, collapse: go_on, ms_ssim_limit: 0.15, penalty_limit: 1000.0}
"""
GROWN = [0, *range(240_000, 400_001, 20_000)]  # the last level has faded in at 240,000
FALLING = list(np.geomspace(100, 10, 11))
LEVEL = [100, 60, 30, 20, 10, 10, 10.1, 10, 9.9, 10, 10.1]
HALF = "--set growth.learning_rate_by_resolution.32=0.001 (it is 0.002)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("advice") / "run", snapshots=1, columns=1, rows=1, ticks=200)


@pytest.fixture
def folder(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "run")
    (copy / "config.yaml").write_text(CONFIG)
    shutil.copy(copy / "log.jsonl", copy / "sound.jsonl")
    return copy


def run_with(folder, swd=(), ms_ssim=(), ticks=(), moments=range(0, 400_001, 40_000)):
    """The run with these average SWD (floor 2) and MS-SSIM values (reals 0.2), one for each moment."""
    floors = {"32": 2.0, "16": 2.0}
    results = [swd_result(n, {"32": v, "16": v}, floors) for n, v in zip(moments, swd, strict=False)]
    results += [ms_ssim_result(n, v, 0.2) for n, v in zip(moments, ms_ssim, strict=False)]
    write_lines(folder / "metrics.jsonl", results)
    if ticks:
        write_lines(folder / "log.jsonl", ticks)
    return read_run(folder)


def ticks(folder, change, until=400_000):
    """Ticks of the run, as `change` makes them from a tick and its share of the last level's whole part (0..1)."""
    rows = [json.loads(line) for line in (folder / "sound.jsonl").read_text().splitlines()]
    return [row | change(row, (row["images"] - 240_000) / 160_000) for row in rows if row["images"] <= until]


def said(run):
    return what_to_change(run).sentences


def same(row, part):
    return {}


def diverging(row, part):
    return {"penalty": 9.0 if part > 0.9 else 0.05}


def creeping(row, part):
    """No eighth is three times the one before it, but nearly five times the third before it."""
    return {"penalty": 0.05 * 64 ** max(part, 0)}


def broken(row, part):
    return {"loss_d": None} if part > 0.9 else {}


@pytest.mark.parametrize("until", [400_000, 360_000])
@pytest.mark.parametrize("change", [diverging, creeping, broken])
def test_no_more_images_are_advised_for_a_run_that_breaks_down(folder, change, until):
    count = 11 * until // 400_000
    sound = run_with(folder, FALLING[:count], ticks=ticks(folder, same, until))
    assert said(sound)[0].startswith("Train longer" if until == 400_000 else "Let it run")
    rows = ticks(folder, lambda row, part: change(row, part * 160_000 / (until - 240_000)), until)
    found = said(run_with(folder, FALLING[:count], ticks=rows))
    assert HALF in found[0]
    guard = "non_finite=roll_back (it is stop)" if change is broken else "explosion=roll_back (it is go_on)"
    assert f"--set guards.{guard}" in found[0]
    assert not [text for text in found if text.startswith(("Train longer", "Let it run", "Longer training"))]


def test_a_penalty_that_creeps_up_is_pointed_out(folder):
    run = run_with(folder, FALLING, ms_ssim=[0.2], ticks=ticks(folder, creeping))
    assert findings.jumps(run) == []
    before, now = findings.steady_growth(run)
    assert now / before == pytest.approx(64 ** (3 / 8), rel=0.05)
    answer = is_collapsing(run)
    assert (answer.verdict, answer.tone) == ("Watch the discriminator", "watch")
    assert answer.sentences[-1].startswith("The gradient penalty rises steadily in this level: from ")
    up_and_down = run_with(folder, ticks=ticks(folder, lambda row, part: {"penalty": 0.05 + (0.5 < part < 0.8)}))
    assert findings.steady_growth(up_and_down) is None
    slightly = run_with(folder, ticks=ticks(folder, lambda row, part: {"penalty": 1 + part}))
    assert findings.steady_growth(slightly) is None


def test_a_late_collapse_comes_first_with_weights_from_before_it(folder):
    events = [event(390_000, "samples lost their variation: MS-SSIM 0.40 above the reals'")]
    write_lines(folder / "events.jsonl", events)
    values = [0.1, 0.2, 0.21, 0.2, 0.205, 0.5, 0.6, 0.6, 0.6, 0.6]  # of GROWN: 0, 240,000, 260,000, ...
    for gone in ("", "checkpoint-000300000.safetensors", "checkpoint-000250000.safetensors"):
        if gone:
            (folder / "checkpoints" / gone).unlink()
        run = run_with(folder, FALLING, ms_ssim=values, moments=GROWN, ticks=ticks(folder, same))
        first, *rest = said(run)
        kept = {"": "checkpoint-000300000.safetensors", "checkpoint-000300000.safetensors": "checkpoint-000250000"}
        weights = kept.get(gone, "no such checkpoint is kept; a larger snapshots.keep keeps more")
        assert first.startswith(
            "The samples varied like the reals for the last time at 300,000 images: use weights of that moment or "
            f"before ({weights}"
        )
        assert "). --set guards.collapse=roll_back (it is go_on) goes back by itself" in first
        assert [text.split(":")[0] for text in rest] == ["For more variation, in a new run"]  # not the guard once more
    weak = run_with(folder, ms_ssim=[*values[:5], 0.32, 0.32, 0.32, 0.32, 0.32], moments=GROWN)
    assert "with --set guards.ms_ssim_limit=0.1 (it is 0.15) goes back" in said(weak)[0]
    (folder / "events.jsonl").unlink()
    never = run_with(folder, FALLING, ms_ssim=[0.6] * 10, moments=GROWN)
    assert [text.split(":")[0] for text in said(never)] == ["For more variation, in a new run"]


def test_the_rate_that_is_advised_is_the_one_that_applies(folder):
    run = run_with(folder, LEVEL, ticks=ticks(folder, same))
    assert HALF in said(run)[0]
    early = [row | ({"loss_d": None} if row["images"] == 110_000 else {}) for row in ticks(folder, same)]
    assert (
        "start again with --set growth.learning_rate=0.0015 (it is 0.003)"
        in (said(run_with(folder, LEVEL, ticks=early))[0])
    )


def test_after_roll_backs_the_rates_are_the_lower_ones(folder):
    events = [event(300_000, "exploded", 280_000, 0.5), event(350_000, "exploded", 320_000, 0.25)]
    write_lines(folder / "events.jsonl", events)
    lower = "--set growth.learning_rate_by_resolution.32="
    for rows in (ticks(folder, lambda *_: {"lr_g": 0.0005}), ticks(folder, lambda *_: {"lr_g": None})):
        found = said(run_with(folder, LEVEL, ticks=rows))
        assert found[0] == f"The run was rolled back 2 times: begin the next one with {lower}0.0005."
        assert f"{lower}0.00025 (it is 0.0005)" in found[1]
    write_lines(folder / "events.jsonl", [event(110_000, "exploded", 100_000, 0.5), *events[1:]])
    found = said(run_with(folder, LEVEL, ticks=rows))
    assert f"begin the next one with --set growth.learning_rate=0.00075 and {lower}0.0005." in found[0]


def test_a_run_that_stands_still_is_not_told_to_go_on_as_it_is(folder):
    moments = range(0, 350_001, 10_000)
    for last, begins in [(350_000, "Longer training alone may not help"), (250_000, "Let it run: 62%")]:
        values = [100, *[50.0 + 0.1 * (k % 2) for k in range(last // 10_000)]]
        rows = ticks(folder, same, last)  # at 250,000 the curve's last quarter is mostly fade-in
        assert said(run_with(folder, values, ticks=rows, moments=moments))[0].startswith(begins)
    near = run_with(folder, values[:1] + [3.0] * 35, ticks=ticks(folder, same, 350_000), moments=moments)
    assert said(near)[0].startswith("Let it run: 88%")  # 1.5 times the floor


def test_a_run_that_got_worse_with_sound_training_may_want_a_lower_rate(folder):
    worse = [100, 50, 20, 10, 10, 10, 10, 11, 13, 15, 17]
    advice = f"SWD got worse though nothing else looks wrong: in a new run, {HALF} might prevent that."
    for ms_ssim in ([], [0.5, 0.2]):
        found = said(
            run_with(folder, worse, ms_ssim=ms_ssim, ticks=ticks(folder, same), moments=range(0, 400_001, 40_000))
        )
        assert found[0].startswith("Prefer the weights of 120,000 images")
        assert found[1] == advice
    going = said(run_with(folder, worse[:9], ticks=ticks(folder, same, 320_000)))
    assert going[1] == advice
    assert not [text for text in going if text.startswith("Let it run")]
    jumped = said(run_with(folder, worse, ticks=ticks(folder, diverging)))
    assert advice not in jumped


def test_a_finished_run_that_was_not_measured_can_still_be(folder):
    advice = "Measure it: metrics swd DATA RUN; or in a new run, while it goes: --set snapshots.metric_images=2048."
    assert said(run_with(folder, ticks=ticks(folder, same))) == [advice]
    assert said(run_with(folder, ticks=ticks(folder, same, 300_000))) == [
        "Let it run: 75% of the planned images have been shown."
    ]
    assert advice not in said(run_with(folder, ms_ssim=[0.2], ticks=ticks(folder, same)))
