"""Guards: what they find, and what is done then, in a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.errors import InputError
from datasets.formats import open_pyramid
from training import checkpoint, guards, loop
from training.config import Config, load_preset
from training.guards import look_at_results, look_at_window
from training.settings import with_settings
from training.step import update

CPU = torch.device("cpu")
FINE = {"loss_d": 1.0, "loss_g": -1.0, "penalty": 10.0, "score_real": 3.0, "score_fake": -3.0}


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({}, None, ""),
        ({"loss_g": float("nan"), "penalty": float("inf")}, "non_finite", "diverged: loss_g, penalty not finite"),
        ({"penalty": 1000.1}, "explosion", "gradient penalty exploded: 1000.1, guards.penalty_limit is 1000"),
        ({"score_fake": 10004.0}, "explosion", "scores exploded: 10001 apart, guards.score_gap_limit is 10000"),
    ],
)
def test_windows(changed: dict[str, float], kind: str | None, text: str) -> None:
    alarm = look_at_window(guards.Config(), FINE | changed)
    assert (alarm.kind if alarm else None) == kind
    if alarm:
        assert text in alarm.text


def swd(*values: float) -> list[dict[str, Any]]:
    return [{"metric": "swd", "images": 100 * k, "value": value} for k, value in enumerate(values)]


def ms_ssim(*values: float) -> list[dict[str, Any]]:
    rows = enumerate(values)
    return [{"metric": "ms-ssim", "images": 100 * k, "value": v, "reference": {"value": 0.3}} for k, v in rows]


@pytest.mark.parametrize(
    ("results", "good_until"),
    [
        ([], None),
        (swd(5, 300, 100, 50), None),  # the untrained generator does not count, however well it does
        (swd(300, 50, 160), None),  # once may be chance
        (swd(300, 50, 160, 149), None),
        (swd(300, 80, 50, 151, 160), 200),
        (ms_ssim(0.9, 0.9, 0.3), None),
        (ms_ssim(0.3, 0.3, 0.46), None),
        (ms_ssim(0.3, 0.31, 0.46, 0.46), 100),
        (ms_ssim(0.1, 0.1, 0.1, 0.1), None),
    ],
)
def test_results(results: list[dict[str, Any]], good_until: int | None) -> None:
    alarm = look_at_results(guards.Config(), results)
    assert (alarm.good_until if alarm else None) == good_until
    assert alarm is None or alarm.kind == "collapse"


def test_best_result() -> None:
    assert guards.best_of(swd(1, 60, 50, 55)) == (200, 50)
    assert guards.best_of([]) is None


SETTINGS = [
    "network.fmap_base=32",
    "network.fmap_max=4",
    "growth.batch=8",
    "growth.fade_kimg=0.064",
    "growth.stabilize_kimg=0.064",
    "growth.total_kimg=0.256",
    "snapshots.every_kimg=0.064",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=1",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
    "snapshots.report=false",
    "snapshots.keep=1",
]


@pytest.fixture(scope="module")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=20, resolution=8)


def train(data: Path, out: Path, *settings: str) -> bool:
    return loop.train(config(*settings), open_pyramid(data), out, CPU)


def config(*settings: str) -> Config:
    return with_settings(load_preset("tiny"), [*SETTINGS, *settings])


def poison(monkeypatch: pytest.MonkeyPatch, times: int, values: Mapping[str, float]) -> list[float]:
    """Let the update after 160 images report these values, so many times; the learning rates that were used then."""
    rates: list[float] = []

    def poisoned(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        at = state.images
        logs = update(state, *arguments)
        if at != 160:
            return logs
        rates.append(state.optimizers["generator"].param_groups[0]["lr"])
        return logs | {name: torch.tensor(value) for name, value in values.items()} if len(rates) <= times else logs

    monkeypatch.setattr(loop, "update", poisoned)
    return rates


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_roll_back_goes_on_with_lower_rates(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = poison(monkeypatch, 2, {"loss_g": float("nan")})
    assert train(data, tmp_path / "run", "guards.non_finite=roll_back")
    assert rates == pytest.approx([0.003, 0.0015, 0.00075])
    last = checkpoint.load(checkpoint.listed(tmp_path / "run" / "checkpoints")[0])
    assert last.images == 256
    assert (last.facts["caution"], last.facts["roll_backs"]) == (0.25, 2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == list(range(16, 257, 16))  # what was rolled back is forgotten
    assert [line["lr_g"] for line in lines] == pytest.approx([0.003] * 8 + [0.00075] * 8)
    assert [event["done"] for event in events(tmp_path / "run")] == [
        "back to 128 images shown, learning rates times 0.5 from now on",
        "back to 128 images shown, learning rates times 0.25 from now on",
    ]


def test_a_kill_after_a_roll_back_does_not_forget_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    poison(monkeypatch, 1, {"penalty": 1e9})
    assert train(data, whole, "guards.explosion=roll_back")
    poison(monkeypatch, 1, {"penalty": 1e9})
    poisoned = loop.update

    def killed(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        if state.caution < 1 and state.images == 136:
            raise KeyboardInterrupt
        return poisoned(state, *arguments)

    monkeypatch.setattr(loop, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, broken, "guards.explosion=roll_back")
    monkeypatch.setattr(loop, "update", update)
    assert train(data, broken, "guards.explosion=roll_back")
    newest = [checkpoint.load(checkpoint.listed(run / "checkpoints")[0]).tensors for run in (whole, broken)]
    for name, tensor in newest[0].items():
        assert torch.equal(tensor, newest[1][name]), name


def test_too_many_roll_backs_stop_the_run(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 9, {"loss_d": float("inf")})
    with pytest.raises(
        InputError,
        match=r"loss_d not finite by 176 images shown after 2 roll-backs; the last good .* larger guards.max_roll",
    ):
        train(data, tmp_path / "run", "guards.non_finite=roll_back", "guards.max_roll_backs=2")


def let(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Let something go wrong: in the update after 88 images, once, or in the measurements after 64 and 96 images."""
    done: list[int] = []
    logs_of = {
        "loss": {"loss_g": float("nan")},
        "penalty": {"penalty": 5e3},
        "scores": {"score_real": 9e4, "score_fake": -1e4},
    }
    measured = {"swd": [300.0, 50.0, 200.0, 200.0], "ms-ssim": [0.3, 0.3, 0.6, 0.6]}

    def faulty(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        if state.images != 88 or done:
            return update(state, *arguments)
        done.append(state.images)
        if fault != "gradient":
            logs = {name: torch.tensor(value) for name, value in logs_of.get(fault, {}).items()}
            return update(state, *arguments) | logs
        weight = state.generator.dense.linear.weight
        hook = weight.register_hook(lambda gradient: gradient * float("inf"))
        logs = update(state, *arguments)
        hook.remove()
        return logs

    def measure(self: object, sampler: object) -> list[dict[str, Any]]:
        if fault not in measured:
            return []
        value = measured[fault].pop(0) if measured[fault] else {"swd": 60.0, "ms-ssim": 0.3}[fault]
        return [{"metric": fault, "value": value, "reference": {"value": 0.3}}]

    monkeypatch.setattr(loop, "update", faulty)
    monkeypatch.setattr(loop.SnapshotMetrics, "measure", measure)


@pytest.mark.parametrize(
    ("fault", "guard", "text", "back_to"),
    [
        ("loss", "non_finite", "training diverged: loss_g not finite by 96", 64),
        ("gradient", "non_finite", r"training diverged: \d+ tensors not finite \(generator/.*\) by 96", 64),
        ("penalty", "explosion", r"penalty exploded: \d{4}\.?\d*, guards.penalty_limit is 1000 by 96", 64),
        ("scores", "explosion", r"scores exploded: \d+\.?\d* apart, guards.score_gap_limit is 10000 by 96", 64),
        (
            "swd",
            "collapse",
            "much worse: SWD 200.0, 50.0 at 32 images shown, guards.swd_limit is 3 times that by 96",
            32,
        ),
        ("ms-ssim", "collapse", "variation: MS-SSIM 0.30 above the reals', guards.ms_ssim_limit is 0.15 by 96", 32),
    ],
)
def test_every_fault_has_every_answer(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], fault: str, guard: str, text: str, back_to: int
) -> None:
    short = ["growth.fade_kimg=0.032", "growth.stabilize_kimg=0.032", "growth.total_kimg=0.128"]
    short += ["snapshots.every_kimg=0.032", "snapshots.keep=9"]

    def run(answer: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            let(patch, fault)
            assert train(data, tmp_path / answer, *short, f"guards.{guard}={answer}")

    with pytest.raises(InputError, match=rf"{text} images shown; the last good state .* guards.{guard}=roll_back, or"):
        run("stop")
    assert [event["done"] for event in events(tmp_path / "stop")] == ["stopped"]
    run("roll_back")
    assert f"back to {back_to} images shown, learning rates times 0.5" in events(tmp_path / "roll_back")[0]["done"]
    assert len(events(tmp_path / "roll_back")) == 1
    capsys.readouterr()
    run("go_on")
    warned = 0 if fault == "gradient" else 1  # to go on is to leave out that update
    said = capsys.readouterr().err
    assert len(re.findall(rf"warning: .*{text} images shown; going on, as guards.{guard} says", said)) == warned
    rates = {answer: checkpoint.load(newest(tmp_path / answer)).facts["caution"] for answer in ("roll_back", "go_on")}
    assert rates == {"roll_back": 0.5, "go_on": 1.0}
    assert {checkpoint.images_of(newest(tmp_path / answer)) for answer in rates} == {128}


def test_a_warning_is_given_once_until_all_is_well(tmp_path: Path, data: Path) -> None:
    """Windows of several steps, all of which alarm."""
    settings = ["growth.total_kimg=0.096", "snapshots.log_every_kimg=0.016", "growth.batch=4", "snapshots.every_kimg=1"]
    assert train(data, tmp_path / "run", *settings, "guards.penalty_limit=1e-9", "guards.explosion=go_on")
    assert len(events(tmp_path / "run")) == 1


def test_updates_that_overflow_in_float16_are_left_out_in_any_case(tmp_path: Path, data: Path) -> None:
    short = ["growth.total_kimg=0.032", "compute.precision=float16", "guards.non_finite=go_on"]
    assert train(data, tmp_path / "run", *short)


def newest(out: Path) -> Path:
    return checkpoint.listed(out / "checkpoints")[0]


def test_updates_without_finite_gradients_can_be_left_out(tmp_path: Path, data: Path) -> None:
    """A rate that makes the weights overflow at once."""
    settings = ["growth.learning_rate=1e30", "guards.explosion=go_on"]
    with pytest.raises(InputError, match="training diverged"):
        train(data, tmp_path / "stopped", *settings)
    assert train(data, tmp_path / "run", *settings, "guards.non_finite=go_on")
    tensors = checkpoint.load(checkpoint.listed(tmp_path / "run" / "checkpoints")[0]).tensors
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_last_checkpoint_of_every_level_and_the_best_are_kept(
    tmp_path: Path, data: Path, make_pyramid: Callable[..., Path]
) -> None:
    """4x4 ends after 64 images and 8x8 at the end; fade-ins are part of the finer level."""
    train(data, tmp_path / "run")
    kept = [checkpoint.images_of(path) for path in checkpoint.listed(tmp_path / "run" / "checkpoints")]
    assert kept == [256, 64]
    train(data, tmp_path / "few", "snapshots.keep_levels=false")
    kept = [checkpoint.images_of(path) for path in checkpoint.listed(tmp_path / "few" / "checkpoints")]
    assert kept == [256]
    run = tmp_path / "measured"
    measured = make_pyramid(count=20, resolution=16)
    loop.train(config("snapshots.metric_images=4", "snapshots.keep_levels=false"), open_pyramid(measured), run, CPU)
    results = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = min((r["value"], r["images"]) for r in results if r["metric"] == "swd" and 0 < r["images"] < 256)[1]
    kept = [checkpoint.images_of(path) for path in checkpoint.listed(run / "checkpoints")]
    assert set(kept) == {256, best}
