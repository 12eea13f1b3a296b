"""Sentences of the report: each scene has one right answer, and its neighbours have others."""

import shutil

import numpy as np
import pytest
from synthetic_run import ms_ssim_result, swd_result, write_lines, write_run

from metrics.report import findings
from metrics.report.findings import jumps, weakest_level
from metrics.report.readings import is_collapsing, is_learning, what_to_change
from metrics.report.run_directory import read_run
from metrics.report.trends import trend

MOMENTS = range(0, 400_001, 40_000)  # 11 evaluations
GROWN = [0, *range(240_000, 400_001, 20_000)]  # the last level has faded in at 240,000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("readings") / "run", snapshots=1, columns=1, rows=1)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def run_with(folder, swd=(), ms_ssim=(), real=0.2, ticks=None, floors=(2.0, 2.0), moments=MOMENTS):
    """The run with these average SWD and MS-SSIM values, one for each moment."""
    sides = {"32": floors[0], "16": floors[1]} if floors else None
    results = [swd_result(n, {"32": v, "16": v}, sides) for n, v in zip(moments, swd, strict=False)]
    results += [ms_ssim_result(n, v, real) for n, v in zip(moments, ms_ssim, strict=False)]
    write_lines(folder / "metrics.jsonl", results)
    if ticks is not None:
        write_lines(folder / "log.jsonl", ticks)
    return read_run(folder)


def falling(last, count=11):
    return list(np.geomspace(100, last, count))


def level(value):
    return [100, 60, 30, 20, value, value, value * 1.01, value, value * 0.99, value, value * 1.01]


@pytest.mark.parametrize(
    ("swd", "verdict", "tone"),
    [
        ([], "Not measured", "plain"),
        ([100], "Too early to say", "plain"),
        ([100, 20], "It has learned", "good"),
        (falling(10), "It has learned, and still improves", "good"),
        (level(10), "It has learned, and has levelled off", "good"),
        (falling(70), "A little", "watch"),
        ([100, 100, 101, 99, 100, 98, 99, 100, 99, 98, 97], "No sign of it yet", "watch"),
        ([100, 120, 130, 150], "It was better before", "watch"),
        ([100, 50, 20, 10, 10, 10, 10, 10, 10.5, 11.3, 12.1], "It has learned, but gets worse", "watch"),
        ([100, 50, 20, 10, 10, 10, 10, 10, 11, 12, 13], "It was better before", "watch"),
    ],
)
def test_is_it_learning(folder, swd, verdict, tone):
    answer = is_learning(run_with(folder, swd))
    assert (answer.verdict, answer.tone) == (verdict, tone)


def test_a_run_that_goes_on_is_learning_and_a_finished_one_has_learned(folder):
    moments = range(0, 200_001, 20_000)
    halfway = [{"images": 200_000}]
    assert is_learning(run_with(folder, falling(10), ticks=halfway, moments=moments)).verdict == (
        "It is learning, and still improves"
    )
    assert is_learning(run_with(folder, level(10), ticks=halfway, moments=moments)).verdict == (
        "It has learned, and has levelled off"
    )


def test_learning_carries_its_numbers(folder):
    sentences = is_learning(run_with(folder, falling(8))).sentences
    assert sentences[0] == "SWD fell by 92% from that of the untrained generator: 100 to 8.00."
    assert sentences[1] == "It is 4.0 times the real-against-real floor of 2.00."
    assert sentences[2].startswith("SWD is falling: by ")
    assert sentences[2].endswith(
        "of its mean since 280,000 images."
    )  # the last four points: a quarter holds only three
    worse = is_learning(run_with(folder, [100, 50, 10, 12, 15])).sentences
    assert worse[-1] == "Its best was 10.0 at 80,000 images; the last is 50% above that."
    late = is_learning(run_with(folder, [100, 20], moments=[5_000, 9_000])).sentences
    assert late[0].startswith("SWD fell by 80% from the first evaluation, at 5,000 images")
    risen = is_learning(run_with(folder, [100, 103])).sentences
    assert risen[0].startswith("SWD rose by 3%")


def test_at_the_floor_swd_can_tell_no_more(folder):
    assert "It is at the real-against-real floor (2.00)" in " ".join(
        is_learning(run_with(folder, falling(2.4))).sentences
    )
    assert "1.3 times" in " ".join(is_learning(run_with(folder, falling(2.6))).sentences)
    assert "floor" not in " ".join(is_learning(run_with(folder, falling(2.4), floors=None)).sentences)


def test_only_results_of_equal_terms_are_compared(folder):
    """SWD depends on levels and number of images, so an average over other levels is no starting point."""
    rows = [
        swd_result(0, {"16": 500.0}),
        swd_result(10, {"32": 90.0, "16": 70.0}),
        swd_result(20, {"32": 30.0, "16": 10.0}),
    ]
    write_lines(folder / "metrics.jsonl", rows)
    sentences = is_learning(read_run(folder)).sentences
    assert (
        sentences[0] == "Not compared here: 1 earlier SWD results of other levels, number of images, protocol or reals."
    )
    assert sentences[1].startswith("SWD fell by 75% from the first evaluation, at 10 images: 80.0 to 20.0")
    rows[1]["num_images"] = 64
    write_lines(folder / "metrics.jsonl", rows)
    assert is_learning(read_run(folder)).verdict == "Too early to say"


@pytest.mark.parametrize(
    ("ms_ssim", "real", "verdict", "tone"),
    [
        ([], 0.2, "Variation is not measured", "plain"),
        ([0.5, 0.3], None, "Variation is not measured", "plain"),
        ([0.5, 0.4, 0.3, 0.21, 0.21, 0.21, 0.21], 0.2, "No sign of it", "good"),
        ([0.5, 0.4, 0.3, 0.2, 0.15, 0.15, 0.15], 0.2, "No sign of it", "good"),
        ([0.2, 0.25, 0.25, 0.25, 0.25, 0.25], 0.2, "Variation is low", "watch"),
        ([0.2, 0.35, 0.35, 0.35, 0.35, 0.35], 0.2, "It looks like it", "bad"),
        ([0.7, 0.6, 0.5, 0.45, 0.4], 0.2, "Variation is low, but grows", "watch"),
        ([0.1, 0.7, 0.4], 0.2, "Variation is low, but grows", "watch"),
        ([0.9, 0.4, 0.7], 0.2, "It looks like it", "bad"),
        ([0.1, 0.35, 0.36, 0.35, 0.36], 0.2, "It looks like it", "bad"),  # noise at the start is no trend
    ],
)
def test_is_it_collapsing(folder, ms_ssim, real, verdict, tone):
    answer = is_collapsing(run_with(folder, ms_ssim=ms_ssim, real=real, moments=GROWN))
    assert (answer.verdict, answer.tone) == (verdict, tone)


def test_collapse_carries_its_numbers(folder):
    sentences = is_collapsing(run_with(folder, ms_ssim=[0.2, 0.2, 0.24, 0.28, 0.32], moments=GROWN)).sentences
    assert sentences[0] == (
        "MS-SSIM of the samples is 0.12 above the reals': they vary less than the data (0.320 beside 0.200, 512 pairs)."
    )
    assert sentences[1] == "MS-SSIM is rising: by 0.12 since 240,000 images."


def test_while_the_generator_grows_a_high_swd_says_little(folder):
    for last, verdict in [(220_000, "Too early to say"), (240_000, "No sign of it yet")]:
        assert is_learning(run_with(folder, [100, 95], moments=[0, last])).verdict == verdict
    assert is_learning(run_with(folder, [100, 40], moments=[0, 100_000])).verdict == "It has learned"


def test_while_the_generator_grows_low_variation_is_no_collapse(folder):
    for last, verdict in [(220_000, "Too early to say"), (240_000, "It looks like it")]:
        answer = is_collapsing(run_with(folder, ms_ssim=[0.2, 0.5], moments=[0, last]))
        assert answer.verdict == verdict
    assert not findings.still_growing(read_run(folder), 240_000)
    assert findings.still_growing(read_run(folder), 100_000)


def test_what_the_standard_errors_allow_is_no_difference(folder):
    rows = [ms_ssim_result(400_000, 0.25, 0.2)]
    for error, verdict in [(0.0, "Variation is low"), (0.02, "Variation is low"), (0.03, "No sign of it")]:
        rows[0]["standard_error"] = error
        write_lines(folder / "metrics.jsonl", rows)
        assert is_collapsing(read_run(folder)).verdict == verdict


def test_a_floor_of_fewer_images_is_a_bound(folder):
    result = swd_result(0, {"16": 2.2}, {"16": 2.0})
    result["floor"]["num_images"] = 100
    write_lines(folder / "metrics.jsonl", [result])
    sentences = is_learning(read_run(folder)).sentences
    assert "It is at least 1.1 times the real-against-real floor: 2.00, measured with fewer images." in sentences


def ticks(leads, penalties=None, alpha=1.0):
    penalties = penalties or [1.0] * len(leads)
    return [
        {
            "images": k + 1,
            "level": 4,
            "alpha": alpha,
            "score_real": lead / 2,
            "score_fake": -lead / 2,
            "penalty": penalty,
        }
        for k, (lead, penalty) in enumerate(zip(leads, penalties, strict=True))
    ]


def test_a_lead_that_doubles_late_in_a_level_is_pointed_out(folder):
    answer = is_collapsing(run_with(folder, ticks=ticks([3.0] * 70 + [6.6] * 10)))
    assert answer.verdict == "Watch the discriminator"
    assert "The discriminator's lead (score of reals minus fakes) grew from 3.00 to 6.60" in answer.sentences[-1]
    assert jumps(run_with(folder, ticks=ticks([3.0] * 70 + [5.9] * 10))) == []
    assert jumps(run_with(folder, ticks=ticks([3.0] * 70 + [6.6] * 10, alpha=0.5))) == []  # while fading in, all moves
    assert jumps(run_with(folder, ticks=ticks([1.0] * 40 + [3.0] * 40))) == []  # grew, but has settled
    assert jumps(run_with(folder, ticks=ticks([3.0] * 30 + [6.6] * 5))) == []  # too few ticks to tell
    assert jumps(run_with(folder, ticks=ticks([3.0] * 80, [1.0] * 70 + [3.1] * 10))) == [("penalty", 1.0, 3.1)]
    assert jumps(run_with(folder, ticks=ticks([3.0] * 80, [1.0] * 70 + [2.9] * 10))) == []


def test_what_to_change_follows_from_the_numbers(folder):
    full = [{"images": 400_000, "level": 5}]
    assert what_to_change(run_with(folder, falling(10), ticks=full)).sentences == [
        "Train longer: SWD had not levelled off when the run ended. "
        "The same command with --set growth.total_kimg=600 goes on."
    ]
    assert what_to_change(run_with(folder, level(10), ticks=full)).sentences == [
        "Longer training alone may not help: in a new run, wider networks, "
        "a lower growth.learning_rate or more data might."
    ]
    near = what_to_change(run_with(folder, level(2.4), ticks=full))
    assert near.sentences == [
        "Measure with more images before comparing runs: SWD is within twice its floor at this sample size "
        "(--set snapshots.metric_images=2048)."
    ]
    half = what_to_change(run_with(folder, [100, 50], ticks=[{"images": 200_000}]))
    assert half.sentences == ["Let it run: 50% of the planned images have been shown."]
    nothing = what_to_change(run_with(folder, [100, 10], ticks=full, moments=[0, 400_000]))
    assert (nothing.verdict, nothing.sentences) == ("Nothing stands out", [])
    narrow = what_to_change(run_with(folder, ms_ssim=[0.2, 0.4, 0.4, 0.4, 0.4], ticks=full, moments=GROWN))
    assert narrow.sentences == [
        "For more variation, in a new run: --set growth.batch_by_resolution.32=64 (it is 32), "
        "a lower growth.learning_rate or more varied data."
    ]


@pytest.mark.parametrize(
    ("network", "wider"),
    [
        ("{fmap_base: 256, fmap_max: 32}", " (--set network.fmap_base=512 (it is 256))"),
        ("{fmap_base: 512, fmap_max: 64}", " (--set network.fmap_base=1024 (it is 512))"),
        ("{fmap_base: 4096, fmap_max: 128}", " (--set network.fmap_max=256 (it is 128))"),  # 256 of them, but for it
        (
            "{fmap_base: 4096, fmap_max: 256}",
            " (--set network.fmap_base=8192 (it is 4096), --set network.fmap_max=512 (it is 256))",
        ),
        ("{fmap_base: 64}", " (--set network.fmap_base=128 (it is 64))"),
        ("{width: 64}", ""),
    ],
)
def test_wider_networks_are_wider_at_the_last_level(folder, network, wider):
    (folder / "config.yaml").write_text(f"growth: {{learning_rate: 0.003}}\nnetwork: {network}\n")
    full = [{"images": 400_000, "level": 5}]
    assert what_to_change(run_with(folder, level(10), ticks=full)).sentences == [
        f"Longer training alone may not help: in a new run, wider networks{wider}, "
        "--set growth.learning_rate=0.0015 (it is 0.003) or more data might."
    ]


def test_advice_knows_the_options_of_the_run(folder):
    (folder / "config.yaml").write_text("growth: {learning_rate: 0.003}\n")
    full = [{"images": 400_000, "level": 5}]
    broken = what_to_change(run_with(folder, level(10), ticks=[*full, {"images": 400_001, "loss_d": None}]))
    assert broken.sentences[0].startswith(
        "Numbers that are not finite: start again with --set growth.learning_rate=0.0015"
    )
    (folder / "run.json").write_text((folder / "run.json").read_text().replace("6300", "2048"))
    near = what_to_change(run_with(folder, level(2.4), ticks=full))
    assert near.sentences[0].endswith("at this sample size, and the data set has no more than these.")


def test_events_have_their_advice(folder):
    (folder / "config.yaml").write_text("guards: {collapse: go_on, explosion: stop}\ngrowth: {learning_rate: 0.003}\n")
    events = [
        {"images": 10, "found": "samples lost their variation: MS-SSIM 0.30 above the reals'", "done": "went on"},
        {"images": 20, "found": "the gradient penalty exploded: 1e+04, beyond 1000", "done": "went on"},
        {"images": 30, "found": "training diverged: loss_d not finite", "done": "back", "back_to": 25},
    ]
    write_lines(folder / "events.jsonl", events)
    run = run_with(folder, [10.0], ticks=[{"images": 400_000, "level": 5, "lr_g": 0.00075}], floors=None)
    assert what_to_change(run).sentences == [
        "The run was rolled back once: begin the next one with --set growth.learning_rate=0.00075.",
        "A guard warned and the run went on: --set guards.collapse=roll_back returns to the last good checkpoint and "
        "lowers the learning rates.",
    ]


def test_a_recent_event_is_no_good_sign(folder):
    found = {"found": "samples lost their variation", "done": "went on"}
    for images, verdict in [(350_000, "No sign of it"), (390_000, "A guard warned lately")]:
        write_lines(folder / "events.jsonl", [found | {"images": images}])
        answer = is_collapsing(run_with(folder, ms_ssim=[0.2, 0.2], moments=[300_000, 400_000]))
        assert answer.verdict == verdict
        assert answer.sentences[-1].startswith(f"The guards found something, event 1 after {images:,} images: samples")


def with_errors(folder, values, error, floor=2.0):
    rows = [swd_result(n, {"32": v, "16": v}, {"32": floor, "16": floor}) for n, v in zip(GROWN, values, strict=False)]
    write_lines(folder / "metrics.jsonl", [row | {"standard_error": error} for row in rows])
    return read_run(folder)


def test_what_the_errors_of_swd_allow_is_no_difference(folder):
    """A rise, a fall and a distance from the floor count beyond twice their standard errors."""
    assert is_learning(with_errors(folder, [100, 10, 14], 1.0)).verdict == "It was better before"
    assert is_learning(with_errors(folder, [100, 10, 14], 1.5)).verdict == "It has learned"
    assert is_learning(with_errors(folder, [100, 80], 5.0)).verdict == "A little"
    assert is_learning(with_errors(folder, [100, 80], 8.0)).verdict == "No sign of it yet"
    near = is_learning(with_errors(folder, [100, 2.9], 0.5)).sentences
    assert near[0].endswith("100 \u00b1 0.50 to 2.90 \u00b1 0.50.")
    assert near[1].startswith("It is at the real-against-real floor (2.00)")
    assert "1.4 times" in is_learning(with_errors(folder, [100, 2.9], 0.4)).sentences[1]


def test_other_distances_are_told_with_their_floor(folder):
    floor = {"value": 12.0, "standard_error": 0.31, "num_images": 1024, "method": "halves"}
    rows = [
        ms_ssim_result(n, 0.2, 0.2) | {"metric": "fid", "value": value, "standard_error": 1.1, "floor": floor}
        for n, value in ((0, 310.0), (400_000, 45.2))
    ]
    write_lines(folder / "metrics.jsonl", [swd_result(0, {"16": 5.0}), *rows])
    assert is_learning(read_run(folder)).sentences[-1] == (
        "FID went from 310 \u00b1 1.1 to 45.2 \u00b1 1.1; real against real it is 12.0 \u00b1 0.31."
    )


def test_an_earlier_best_names_its_checkpoint_if_that_is_kept(folder):
    full = [{"images": 400_000}]
    kept = what_to_change(run_with(folder, [100, 10, 20], ticks=full, moments=[0, 200_000, 400_000]))
    assert kept.sentences[0] == "Prefer the weights of 200,000 images: checkpoint-000200000.safetensors."
    gone = what_to_change(run_with(folder, [100, 10, 20], ticks=full, moments=[0, 210_000, 400_000]))
    assert "no checkpoint of that moment is kept; --set snapshots.keep_best=true keeps the best" in gone.sentences[0]


@pytest.mark.parametrize(
    ("levels", "weakest"),
    [
        ({"64": 12.0, "32": 4.0, "16": 6.0}, 64),
        ({"64": 4.0, "32": 12.0, "16": 6.0}, 32),
        ({"64": 4.0, "32": 6.0, "16": 12.0}, 16),
        ({"64": 4.0, "32": 5.0, "16": 5.9}, None),
        ({"64": 40.0}, None),
    ],
)
def test_the_weakest_level_is_the_highest_multiple_of_its_floor(levels, weakest):
    found = weakest_level(swd_result(0, levels, {"64": 2.0, "32": 2.0, "16": 2.0}))
    assert (found[0] if found else None) == weakest


def test_the_weakest_level_is_judged_by_its_own_floor(folder):
    result = swd_result(400_000, {"32": 10.0, "16": 8.0}, {"32": 5.0, "16": 1.0})
    assert weakest_level(result) == (16, {32: 2.0, 16: 8.0})
    write_lines(folder / "metrics.jsonl", [result])
    assert (
        "Look at layout and colour first: at 16\u00d716 SWD is 8.0 times its floor, at the best level 2.0 times."
        in (what_to_change(read_run(folder)).sentences)
    )


def test_trend_is_the_least_squares_line_of_the_last_quarter():
    points = [(x, 100.0) for x in range(75)] + [(x, 100.0 - 2 * (x - 75)) for x in range(75, 101)]
    found = trend(points)
    assert (found.direction, found.since) == ("falling", 75)
    assert found.change == pytest.approx(-50)
    assert found.mean == pytest.approx(75)


def test_trend_agrees_with_an_independent_fit():
    random = np.random.default_rng(5)
    points = [(x, 5 + 0.1 * x + random.normal()) for x in range(40)]
    window = np.array([point for point in points if point[0] >= 39 - 39 / 4])
    (slope, _), residuals, *_ = np.polyfit(window[:, 0], window[:, 1], 1, full=True)
    found = trend(points)
    assert found.change == pytest.approx(slope * (window[-1, 0] - window[0, 0]))
    scatter = np.sqrt(residuals[0] / (len(window) - 2))
    assert (found.direction == "rising") == (found.change > 2 * scatter)


def test_trend_asks_for_more_than_scatter_and_more_than_the_least():
    noise = [1, -1, 1, -1, 1, -1, 1, -1]
    assert trend([(k, 10 + 3 * n) for k, n in enumerate(noise)]).direction == "flat"
    # Residuals (1, -1, -1, 1) are orthogonal to the line; over 4 - 2 degrees of freedom they scatter by sqrt(2).
    assert trend([(k, 0.9 * k + r) for k, r in enumerate([1, -1, -1, 1])]).direction == "flat"
    assert trend([(k, 0.97 * k + r) for k, r in enumerate([1, -1, -1, 1])]).direction == "rising"
    rising = [(k, 10 + 0.1 * k) for k in range(4)]
    assert trend(rising).direction == "rising"
    assert trend(rising, least=0.31).direction == "flat"
    assert trend(rising, least_share=0.05).direction == "flat"
    assert trend(rising[:3]) is None
