"""A run that was stopped and resumed gives, to the bit, the weights of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import several_ranks
import torch

from datasets.atomic import write_text
from datasets.errors import InputError
from datasets.formats import open_pyramid
from training import checkpoint, loop, provenance
from training.config import Config, load_preset
from training.evaluation import SnapshotMetrics
from training.settings import with_settings
from training.step import update

CPU = torch.device("cpu")
# 16x16 in three levels; fades of 64 images; snapshots fall into fades, stable parts and on a boundary
SETTINGS = [
    "network.fmap_base=64",
    "network.fmap_max=8",
    "growth.batch=16",
    "growth.batch_by_resolution={16: 8}",
    "growth.fade_kimg=0.064",
    "growth.stabilize_kimg=0.064",
    "growth.total_kimg=0.4",
    "snapshots.every_kimg=0.048",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=2",
    "snapshots.rows=1",
    "snapshots.metric_images=4",
    "snapshots.keep=100",
    "snapshots.keep_best=false",
    "snapshots.keep_levels=false",
    "snapshots.report=false",
    "data.mirror=true",
]


@pytest.fixture(scope="session")
def config() -> Config:
    return with_settings(load_preset("tiny"), SETTINGS)


@pytest.fixture(scope="session")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=30, resolution=16)


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(checkpoint.listed(run / "checkpoints")[0]).tensors)


def assert_same(first: Path, second: Path) -> None:
    one, two = tensors_of(first), tensors_of(second)
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)


def logged(run: Path, name: str) -> list[dict[str, object]]:
    """Lines of a log, without what depends on the clock."""
    timed = ("seconds", "images_per_sec", "peak_memory_mib")
    lines = (json.loads(line) for line in (run / name).read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


def stop_after(monkeypatch: pytest.MonkeyPatch, images: int, number: int | None) -> None:
    """Let the step that reaches `images` send this process a signal, or fail if `number` is None."""

    def stepping(state: object, *arguments: object) -> dict[str, torch.Tensor]:
        logs = update(state, *arguments)  # type: ignore[arg-type]
        if state.images >= images:  # type: ignore[attr-defined]
            if number is None:
                raise RuntimeError("the machine fails")
            os.kill(os.getpid(), number)
        return logs

    monkeypatch.setattr(loop, "update", stepping)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, config: Config, data: Path) -> Path:
    """A run that was not interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("reference") / "run"
    assert loop.train(config, open_pyramid(data), out, CPU)
    return out


@pytest.fixture
def whole(tmp_path: Path, reference: Path) -> Path:
    """A copy of that run, to be changed."""
    return Path(shutil.copytree(reference, tmp_path / "whole"))


@pytest.mark.parametrize(
    ("images", "number"),
    [
        (40, None),
        (72, signal.SIGTERM),
        (96, None),
        (130, signal.SIGINT),
        (168, None),
        (260, signal.SIGTERM),
        (399, None),
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, config: Config, data: Path, reference: Path, images: int, number: int | None
) -> None:
    """Stops in the first level, in fade-ins, at boundaries and in the last level; with a checkpoint and without."""
    out = tmp_path / "resumed"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, images, number)
        if number is None:
            with pytest.raises(RuntimeError, match="the machine fails"):
                loop.train(config, open_pyramid(data), out, CPU)
        else:
            assert not loop.train(config, open_pyramid(data), out, CPU)
    assert loop.train(config, open_pyramid(data), out, CPU)
    assert_same(reference, out)
    assert logged(out, "metrics.jsonl") == logged(reference, "metrics.jsonl")
    if number is None:  # a stop by a signal closes the log's window early, a failure does not
        assert logged(out, "log.jsonl") == logged(reference, "log.jsonl")
    for grid in sorted((reference / "samples").iterdir()):
        assert (out / "samples" / grid.name).read_bytes() == grid.read_bytes()


def test_the_run_covers_fades_and_levels(reference: Path) -> None:
    log = logged(reference, "log.jsonl")
    assert {line["resolution"] for line in log} == {4, 8, 16}
    assert any(0 < line["alpha"] < 1 for line in log)  # type: ignore[operator]
    assert [line["images"] for line in log] == sorted({line["images"] for line in log})


def test_a_torn_checkpoint_is_skipped(tmp_path: Path, config: Config, data: Path, whole: Path) -> None:
    newest, previous = checkpoint.listed(whole / "checkpoints")[:2]
    expected = tensors_of(whole)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    assert loop.train(config, open_pyramid(data), whole, CPU)
    assert previous.exists()
    found = tensors_of(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_torn_checkpoint_never_outlives_a_whole_one(config: Config, data: Path, whole: Path) -> None:
    """With room for one checkpoint, the torn newest must not push out the one that the run goes on from."""
    newest = checkpoint.listed(whole / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:100])
    one = with_settings(config, ["snapshots.keep=1"])
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 392, signal.SIGTERM)
        assert not loop.train(one, open_pyramid(data), whole, CPU)
    (left,) = checkpoint.listed(whole / "checkpoints")
    assert checkpoint.load(left).images == 392


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_a_kill_before_the_run_has_begun_loses_nothing(
    tmp_path: Path, config: Config, data: Path, reference: Path, name: str
) -> None:
    """The first files of a run are torn off one by one; the same command starts anew in the same folder."""
    out = tmp_path / "run"

    def dying(path: Path, text: str) -> None:
        if path.name == name:
            path.with_name(f".{name}.1.partial").write_text(text[:10])
            raise KeyboardInterrupt
        write_text(path, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "write_text", dying)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, open_pyramid(data), out, CPU)
    assert loop.train(config, open_pyramid(data), out, CPU)
    assert_same(reference, out)
    assert not list(out.rglob(".*.partial"))


@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["SIGTERM", "failure"])
def test_a_snapshot_that_was_broken_off_is_made_up_for(
    tmp_path: Path, config: Config, data: Path, reference: Path, number: int | None
) -> None:
    """The measurement of the third snapshot is interrupted; its checkpoint is written already."""
    out = tmp_path / "run"
    measure, calls = SnapshotMetrics.measure, []

    def dying(self: SnapshotMetrics, sampler: object) -> object:
        calls.append(sampler)
        if len(calls) == 3:
            if number is None:
                raise RuntimeError("the machine fails")
            os.kill(os.getpid(), number)
        return measure(self, sampler)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnapshotMetrics, "measure", dying)
        if number is None:
            with pytest.raises(RuntimeError, match="the machine fails"):
                loop.train(config, open_pyramid(data), out, CPU)
        else:
            assert not loop.train(config, open_pyramid(data), out, CPU)
    assert checkpoint.load(checkpoint.listed(out / "checkpoints")[0]).images == 96
    assert not (out / "samples" / "fakes-000000096.png").exists()
    assert loop.train(config, open_pyramid(data), out, CPU)
    assert_same(reference, out)
    assert logged(out, "metrics.jsonl") == logged(reference, "metrics.jsonl")


def test_a_run_without_its_checkpoints_is_not_erased(config: Config, data: Path, whole: Path) -> None:
    for path in checkpoint.listed(whole / "checkpoints"):
        path.unlink()
    log = (whole / "log.jsonl").read_text()
    with pytest.raises(InputError, match="has a log but no checkpoint"):
        loop.train(config, open_pyramid(data), whole, CPU)
    assert (whole / "log.jsonl").read_text() == log


def test_damaged_records_do_not_stop_a_run(config: Config, data: Path, whole: Path, reference: Path) -> None:
    """run.json and the logs are for people and reports; all that training needs is in the checkpoint."""
    (whole / "run.json").write_bytes(b"\xff\xfe{")
    with (whole / "log.jsonl").open("ab") as log:
        log.write(b'{"images": 400, "lo\xff')
    assert loop.train(config, open_pyramid(data), whole, CPU)
    assert logged(whole, "log.jsonl") == logged(reference, "log.jsonl")
    assert json.loads((whole / "run.json").read_text())["total_images"] == 400


def test_no_whole_checkpoint_is_an_error_and_removes_nothing(config: Config, data: Path, whole: Path) -> None:
    for path in checkpoint.listed(whole / "checkpoints"):
        path.write_bytes(b"")
    log = (whole / "log.jsonl").read_text()
    with pytest.raises(InputError, match=r"no checkpoint of .* is whole"):
        loop.train(config, open_pyramid(data), whole, CPU)
    assert (whole / "log.jsonl").read_text() == log


def test_other_options_are_refused_and_a_longer_run_goes_on(config: Config, data: Path, whole: Path) -> None:
    other = with_settings(config, ["growth.learning_rate=0.5"])
    with pytest.raises(InputError, match=r"other options: growth.learning_rate was 0.003 and is 0.5; give the same"):
        loop.train(other, open_pyramid(data), whole, CPU)
    longer = with_settings(config, ["growth.total_kimg=0.44"])
    assert loop.train(longer, open_pyramid(data), whole, CPU)
    assert checkpoint.listed(whole / "checkpoints")[0].stem == "checkpoint-000000440"


def test_other_data_are_refused(config: Config, make_pyramid: Callable[..., Path], whole: Path) -> None:
    other = open_pyramid(make_pyramid(count=30, resolution=16, seed=9))
    with pytest.raises(InputError, match=r"was trained on .*; give the same --data to go on, or another --out"):
        loop.train(config, other, whole, CPU)


def test_what_changes_the_last_bits_is_told(
    config: Config, data: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loop.train(config, open_pyramid(data), whole, CPU)
    assert "since the checkpoint" not in capsys.readouterr().err
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(provenance.winograd_kernels, "available", lambda: False)
    assert loop.train(config, open_pyramid(data), whole, CPU)
    told = "since the checkpoint threads was 1 and is 7, winograd was True and is False: the same images and random"
    assert told in " ".join(capsys.readouterr().err.split())


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, config: Config, data: Path) -> None:
    out = tmp_path / "run"
    loop.train(with_settings(config, ["snapshots.keep=2"]), open_pyramid(data), out, CPU)
    kept = [path.stem for path in checkpoint.listed(out / "checkpoints")]
    assert kept == ["checkpoint-000000400", "checkpoint-000000384"]


def test_seeds_matter_and_nothing_else_does(tmp_path: Path, config: Config, data: Path, reference: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    torch.manual_seed(123)  # the global generator must not matter
    loop.train(config, open_pyramid(data), again, CPU)
    assert_same(reference, again)
    loop.train(with_settings(config, ["seed=8"]), open_pyramid(data), other, CPU)
    weight = "average/dense.linear.weight"
    assert not torch.equal(tensors_of(other)[weight], tensors_of(reference)[weight])


def test_training_that_diverges_stops_with_the_name_and_keeps_the_last_good_state(
    tmp_path: Path, config: Config, data: Path
) -> None:
    out = tmp_path / "run"

    def poisoned(state: object, *arguments: object) -> dict[str, torch.Tensor]:
        logs = update(state, *arguments)  # type: ignore[arg-type]
        return logs | {"loss_g": torch.tensor(float("nan"))} if state.images > 200 else logs  # type: ignore[attr-defined]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", poisoned)
        with pytest.raises(InputError, match=r"diverged: loss_g not finite by \d+ images shown; the last good state"):
            loop.train(config, open_pyramid(data), out, CPU)
    assert checkpoint.load(checkpoint.listed(out / "checkpoints")[0]).images <= 200
    assert logged(out, "log.jsonl")[-1]["loss_g"] is None  # the report tells of it


@pytest.mark.slow
def test_sigkill_at_any_moment(tmp_path: Path, config: Config, data: Path, reference: Path) -> None:
    """The command itself, killed again and again at growing delays until it is through."""
    out = tmp_path / "killed"
    command = ["--preset", "tiny", "--data", data, "--out", out, *(f"--set={setting}" for setting in SETTINGS)]
    kills = 0
    for attempt in range(60):
        (process,) = several_ranks.start(1, command, tmp_path / "errors")
        deadline = time.monotonic() + 240
        before = len(list((out / "samples").glob("*"))) if out.exists() else 0
        # wait until it writes something, then a little longer each time, so that kills hit different instants
        while process.is_alive() and time.monotonic() < deadline:
            if out.exists() and len(list((out / "samples").glob("*"))) > before + 1:
                time.sleep(0.013 * attempt)
                break
            time.sleep(0.005)
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        if kills == 5:
            assert several_ranks.run(1, command, tmp_path / "errors") == [0]
            break
    assert kills >= 2
    assert_same(reference, out)
    # each measured once; numbers of another process may differ in the last bits of its matrix products
    found, expected = logged(out, "metrics.jsonl"), logged(reference, "metrics.jsonl")
    assert [(line["images"], line["metric"]) for line in found] == [
        (line["images"], line["metric"]) for line in expected
    ]
    assert [line["value"] for line in found] == pytest.approx([line["value"] for line in expected], rel=1e-3)
