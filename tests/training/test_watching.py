"""Watching a run: loggers, the report while it goes, metrics on features at the snapshots, gradient norms."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import metrics.report
from datasets.errors import InputError
from datasets.formats import open_pyramid
from metrics.evaluate import Evaluator
from metrics.features.random_projection import Network
from metrics.images import PyramidImageSet
from metrics.networks import Networks
from training import csv_log, live_report, loggers, loop
from training.conditioning import Labels
from training.config import Config, load_preset
from training.gradient_norms import GradientNorms
from training.growth import Schedule
from training.plan import LevelPlan, make_plan
from training.sampler import GeneratorImageSet, Sampler
from training.settings import with_settings
from training.step import update

CPU = torch.device("cpu")
SETTINGS = [
    "network.fmap_base=32",
    "network.fmap_max=4",
    "growth.batch=8",
    "growth.fade_kimg=0.032",
    "growth.stabilize_kimg=0.032",
    "growth.total_kimg=0.128",
    "snapshots.every_kimg=0.032",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=1",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
    "snapshots.report=false",
]
PLANS: dict[int, list[LevelPlan]] = {}


@pytest.fixture(scope="module")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=40, resolution=16)


@pytest.fixture(autouse=True)
def _planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is most of the work of such short runs, and the same for all of one length."""

    def known(config: Config, schedule: Schedule, labels: Labels) -> list[LevelPlan]:
        if schedule.total_images not in PLANS:
            PLANS[schedule.total_images] = make_plan(config, schedule, labels)
        return PLANS[schedule.total_images]

    monkeypatch.setattr(loop, "make_plan", known)


def config(*settings: str) -> Config:
    return with_settings(load_preset("tiny"), [*SETTINGS, *settings])


def train(data: Path, out: Path, *settings: str) -> bool:
    return loop.train(config(*settings), open_pyramid(data), out, CPU)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Listener:
    """A logger that keeps what it is told; its class keeps all sessions."""

    sessions: list[Listener] = []  # noqa: RUF012
    told: list[tuple[str, int]] = []  # noqa: RUF012

    def __init__(self, run: Path, config: Mapping[str, Any], resumed_at: int | None) -> None:
        self.config, self.resumed_at, self.closed = config, resumed_at, False
        self.sessions.append(self)
        if resumed_at is not None:
            self.rewind(resumed_at)

    def log(self, record: Mapping[str, Any]) -> None:
        self.told.append(("log", record["images"]))

    def metric(self, result: Mapping[str, Any]) -> None:
        self.told.append((result["metric"], result["images"]))

    def samples(self, images: int, grid: Path) -> None:
        assert grid.is_file()
        self.told.append(("samples", images))

    def rewind(self, images: int) -> None:
        self.told[:] = [(what, at) for what, at in self.told if at <= images]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> type[Listener]:
    Listener.sessions, Listener.told = [], []
    plug_in(monkeypatch, listener=Listener)
    return Listener


def plug_in(monkeypatch: pytest.MonkeyPatch, **openers: Callable[..., Any]) -> None:
    """Install packages whose entry points are these functions, in place of all loggers there are."""
    entries = [EntryPoint(name, f"{name}:open_logger", loggers.GROUP) for name in openers]
    monkeypatch.setattr(EntryPoint, "load", lambda self: openers[self.name])
    monkeypatch.setattr(loggers, "entry_points", lambda group: entries if group == loggers.GROUP else [])
    monkeypatch.setattr(loggers, "__path__", [])


def kill_at(monkeypatch: pytest.MonkeyPatch, images: int, error: type[BaseException]) -> None:
    def stepping(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        if state.images == images:
            raise error("the machine fails")
        return update(state, *arguments)

    monkeypatch.setattr(loop, "update", stepping)


def test_a_logger_is_told_everything_once_however_often_the_run_is_killed(
    tmp_path: Path, data: Path, listening: type[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "snapshots.metric_images=4"
    kill_at(monkeypatch, 88, RuntimeError)
    with pytest.raises(RuntimeError, match="the machine fails"):
        train(data, tmp_path, settings)
    monkeypatch.setattr(loop, "update", update)
    assert train(data, tmp_path, settings)
    assert [session.resumed_at for session in listening.sessions] == [None, 64]
    assert all(session.closed for session in listening.sessions)
    assert listening.sessions[0].config["growth"]["batch"] == 8
    snapshots = range(0, 129, 32)
    expected = [("log", line["images"]) for line in lines(tmp_path / "log.jsonl")]
    expected += [(name, images) for images in snapshots for name in ("swd", "ms-ssim", "samples")]
    assert sorted(listening.told) == sorted(expected)


def test_a_logger_is_rewound_with_the_run(
    tmp_path: Path, data: Path, listening: type[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = []

    def stepping(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        logs = update(state, *arguments)
        if state.images == 88 and not poisoned:
            poisoned.append(True)
            return logs | {"loss_g": torch.tensor(float("nan"))}
        return logs

    monkeypatch.setattr(loop, "update", stepping)
    assert train(data, tmp_path, "guards.non_finite=roll_back")
    assert poisoned
    logged = [images for what, images in listening.told if what == "log"]
    assert logged == [line["images"] for line in lines(tmp_path / "log.jsonl")] == list(range(16, 129, 16))
    (event,) = lines(tmp_path / "events.jsonl")
    assert (event["images"], event["back_to"]) == (96, 64)


@pytest.mark.parametrize("fails_in", ["open", "log", "samples", "close"])
def test_a_logger_that_fails_is_reported_once_and_switched_off(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails_in: str
) -> None:
    calls = []

    class Failing(Listener):
        def __getattribute__(self, name: str) -> Any:
            if name == fails_in:
                calls.append(name)
                raise ConnectionError("the service\nis away")
            return super().__getattribute__(name)

    def opening(*arguments: Any) -> Listener:
        if fails_in == "open":
            raise ImportError("no such thing")
        return Failing(*arguments)

    plug_in(monkeypatch, broken=opening, listener=Listener)
    Listener.told = []
    assert train(data, tmp_path)
    said = capsys.readouterr().err
    reason = "ImportError: no such thing" if fails_in == "open" else "ConnectionError: the service is away"
    assert said.count(f"warning: the logger broken failed ({reason}) and is switched off; the run goes on") == 1
    assert len(calls) <= 1
    assert ("samples", 128) in Listener.told  # the other one is told on


def test_tensorboard_is_a_logger_and_hides_what_was_undone(tmp_path: Path, data: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(data, tmp_path, "growth.total_kimg=0.064")
    assert train(data, tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    steps = [event.step for event in found.Scalars("train/loss_d")]
    assert steps == [line["images"] for line in lines(tmp_path / "log.jsonl")]
    assert {"train/grad_norm_d", "train/grad_norm_g", "train/penalty"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Images("samples")] == [0, 32, 64, 96, 128]


def test_the_report_is_rewritten_after_every_snapshot_and_says_how_the_run_stands(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_report, "_MOST_OF_TIME", 1e9)  # no report is too soon
    seen = []

    def watching(run: Path, **options: Any) -> Path:
        path = metrics.report.write_report(run, **options)
        text = path.read_text()
        grids = sorted((run / "samples").glob("fakes-*.png"))
        seen.append((len(grids), "Going on" in text, "Follow the run" in text))
        return path

    monkeypatch.setattr(live_report, "write_report", watching)
    kill_at(monkeypatch, 72, RuntimeError)
    with pytest.raises(RuntimeError):
        train(data, tmp_path, "snapshots.report=true")
    assert seen == [(0, True, True), (1, True, True), (2, True, True), (3, True, True), (3, False, False)]
    assert "Stopped at 50%" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(loop, "update", update)
    assert train(data, tmp_path, "snapshots.report=true")
    assert seen[5:] == [(3, True, True), (3, True, True), (4, True, True), (5, False, False), (5, False, False)]
    assert "Finished" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob(".report*"))


def table(run: Path) -> list[int]:
    """Images shown in every row of log.csv."""
    return [int(row["images"]) for row in csv.DictReader((run / "log.csv").read_text().splitlines())]


def test_the_table_is_as_long_as_the_log_however_a_session_ends(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_roll_back: list[list[int]] = []

    def stepping(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        logs = update(state, *arguments)
        if state.roll_backs:
            after_roll_back.append(table(tmp_path / "back"))
        if state.images == 88 and not state.roll_backs:
            return logs | {"loss_g": torch.tensor(float("nan"))}
        return logs

    kill_at(monkeypatch, 88, RuntimeError)
    with pytest.raises(RuntimeError):
        train(data, tmp_path / "killed")
    assert table(tmp_path / "killed") == [16, 32, 48, 64, 80]  # the last snapshot came at 64
    monkeypatch.setattr(loop, "update", stepping)
    with pytest.raises(InputError, match="not finite"):
        train(data, tmp_path / "guarded")
    assert table(tmp_path / "guarded") == [16, 32, 48, 64, 80, 96]
    assert train(data, tmp_path / "back", "guards.non_finite=roll_back")
    assert after_roll_back[0] == [16, 32, 48, 64]
    assert table(tmp_path / "back") == list(range(16, 129, 16))


def test_an_error_in_the_table_costs_no_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv_log, "write_csv", broken)
    assert train(data, tmp_path)
    assert capsys.readouterr().err.count("warning: no log.csv for now (OSError: [Errno 28] No space left on") == 1


def test_an_error_in_the_report_costs_no_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_report, "_MOST_OF_TIME", 1e9)
    monkeypatch.setattr(live_report, "write_report", broken)
    assert train(data, tmp_path, "snapshots.report=true")
    assert capsys.readouterr().err.count("warning: no report of the run for now (OSError: [Errno 28]") == 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that are nobody's."""
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    generator = torch.Generator().manual_seed(3)
    tensors = {name: torch.randn(shape, generator=generator) / 8 for name, shape in Network().shapes().items()}
    safetensors.torch.save_file(tensors, path)
    return path


def test_fid_at_the_snapshots_is_what_the_metric_says(
    tmp_path: Path, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of our own; the reals go through the network once, over two sessions, and fakes are not kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[int] = []
    through = Network._features_of_block

    def counting(self: Network, block: Any) -> torch.Tensor:
        seen.append(len(block))
        return through(self, block)

    monkeypatch.setattr(Network, "_features_of_block", counting)
    settings = [
        "snapshots.metrics=swd,fid",
        "snapshots.metric_images=16",
        "snapshots.extractor=random-projection",
        f"snapshots.weights={weights}",
    ]
    run = tmp_path / "run"
    assert train(data, run, *settings, "growth.total_kimg=0.064")
    assert sum(seen) == 2 * 16 + 3 * 16  # reals for value and floor, then three snapshots
    assert train(data, run, *settings)
    assert sum(seen) == 2 * 16 + 5 * 16
    found = [line for line in lines(run / "metrics.jsonl") if line["metric"] == "fd-random-projection"]
    assert [line["images"] for line in found] == [0, 32, 64, 96, 128]
    monkeypatch.setattr(Network, "_features_of_block", through)
    sampler, _ = Sampler.from_path(run)
    expected = Evaluator(
        ["fid"],
        PyramidImageSet(open_pyramid(data), 16),
        num_images=16,
        seed=load_preset("tiny").seed,
        networks=Networks(weights={"random-projection": weights}),
        extractor="random-projection",
    )(GeneratorImageSet(sampler, "run", load_preset("tiny").seed))[0]
    assert found[-1]["value"] == pytest.approx(expected["value"], rel=1e-5)
    assert found[-1]["floor"]["value"] == pytest.approx(expected["floor"]["value"], rel=1e-5)
    assert found[-1]["floor"]["num_images"] == 16
    report = metrics.report.write_report(run).read_text()
    assert "FD-RANDOM-PROJECTION went from" in report


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["snapshots.metrics=[swd, fdi]"], r"there is no metric fdi; did you mean fid\?"),
        (["snapshots.metrics=3"], r"snapshots.metrics must be a list such as \[a, b\], got 3"),
        (["snapshots.extractor=vgg61"], r"there is no network vgg61; did you mean vgg16\?"),
        (
            ["snapshots.metrics=fid", "snapshots.weights=none.pth"],
            r"fid: none.pth is not a file; name a file of weights",
        ),
        (["snapshots.metrics=fid", "snapshots.weights=OWN"], r"own.safetensors is not a file of weights of inception"),
        (["snapshots.weights=vgg16=OWN"], r"snapshots.weights has .* for the network vgg16, which no metric"),
        (["snapshots.metrics=fid", "snapshots.weights=vgg=OWN"], r"snapshots.weights vgg=.*: there is no network vgg;"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    tmp_path: Path, data: Path, weights: Path, settings: list[str], message: str
) -> None:
    given = [setting.replace("OWN", str(weights)) for setting in settings]
    with pytest.raises(InputError, match=message) as caught:
        train(data, tmp_path / "run", "snapshots.metric_images=4", *given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_gradient_norms_are_those_of_the_weights_in_use() -> None:
    first, second = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    unused = torch.nn.Parameter(torch.zeros(2))
    optimizers = {"a": torch.optim.SGD([first, unused], lr=0.1), "b": torch.optim.Adam([second], lr=0.1)}
    norms = GradientNorms(optimizers)
    first.grad = torch.tensor([3.0, 0.0, 4.0])
    optimizers["a"].step()
    first.grad = torch.tensor([0.0, -12.0, 5.0])
    optimizers["a"].step()
    first.grad = torch.tensor([float("inf"), 0.0, 0.0])  # such a step does not count
    optimizers["a"].step()
    assert {name: value.item() for name, value in norms.take().items()} == {"a": 9.0}
    assert norms.take() == {}
    norms.close()
    optimizers["a"].step()
    assert norms.take() == {}


def test_a_scaled_gradient_is_measured_without_its_scale() -> None:
    """A fused optimizer is handed the scaled gradient and the scale, see torch.amp.GradScaler.step."""
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    norms = GradientNorms({"a": optimizer})
    weight.grad = torch.tensor([3.0, 4.0]) * 1024
    optimizer.grad_scale = torch.tensor(1024.0)  # type: ignore[attr-defined]
    with contextlib.suppress(AssertionError):  # this optimizer does not take a scale
        optimizer.step()
    assert norms.take()["a"].item() == 5.0
