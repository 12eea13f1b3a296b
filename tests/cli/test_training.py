"""`training/run.py` and `training/sample.py` as commands: what they print, their exit codes, and bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import console
from training import checkpoint, loop, run, sample, video
from training.config import load_preset
from training.settings import from_yaml, with_settings

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "network.fmap_base=64",
    "network.fmap_max=8",
    "growth.batch=8",
    "growth.fade_kimg=0.032",
    "growth.stabilize_kimg=0.032",
    "growth.total_kimg=0.2",
    "snapshots.every_kimg=0.1",
    "snapshots.log_every_kimg=0.05",
    "snapshots.columns=3",
    "snapshots.rows=2",
    "snapshots.metric_images=8",
]
SETTINGS = [f"--set={setting}" for setting in SMALL]

Outcome = tuple[int, str, str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: exit code, stdout, stderr."""

    def calling(module: object, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])  # type: ignore[attr-defined]
        with pytest.raises(SystemExit) as stop:
            console.run(module.cli)  # type: ignore[attr-defined]
        out, err = capsys.readouterr()
        code = stop.value.code
        if isinstance(code, str):  # sys.exit(text) prints the text when the process ends
            return 1, out, err + code + "\n"
        return int(code or 0), out, err

    return calling


@pytest.fixture(scope="session")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=40, resolution=16)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A finished run, made by the command; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = [sys.executable, "training/run.py", "--preset", "tiny", "--data", data, "--out", out, *SETTINGS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "done: " in done.stderr
    assert done.stdout == ""
    return out


def test_what_a_run_leaves(trained: Path, data: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "run.json",
        "log.jsonl",
        "metrics.jsonl",
        "samples/reals.png",
        "samples/fakes-000000000.png",
        "samples/fakes-000000104.png",
        "samples/fakes-000000200.png",
        "checkpoints/checkpoint-000000200.safetensors",
    } <= names
    assert not [name for name in names if "partial" in name]
    facts = json.loads((trained / "run.json").read_text())
    assert facts["total_images"] == 200
    assert facts["preset"] == "tiny"
    assert facts["data"]["num_images"] == 40
    assert facts["command"].startswith("python training/run.py --preset tiny --data ")
    assert [level["level"] for level in facts["levels"]] == [2, 3, 4]
    with Image.open(trained / "samples" / "fakes-000000000.png") as grid:
        assert grid.size == (3 * 16, 2 * 16)
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert log[-1]["images"] == 200
    assert {"loss_d", "loss_g", "penalty", "score_real", "score_fake", "images_per_sec", "lr_g"} <= set(log[0])
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(line["images"], line["metric"]) for line in metrics] == [
        (images, metric) for images in (0, 104, 200) for metric in ("swd", "ms-ssim")
    ]


def test_tensorboard_reads_the_run(trained: Path) -> None:
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))


def test_a_finished_run_is_left_as_it_is(call: Callable[..., Outcome], trained: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "checkpoints").iterdir()}
    code, _, err = call(run, "--preset", "tiny", "--data", data, "--out", trained, *SETTINGS)
    assert code == 0
    assert "going on from 200 images shown" in err
    assert {path: path.stat().st_mtime_ns for path in (trained / "checkpoints").iterdir()} == before


def test_dry_run_prints_the_plan_and_writes_nothing(
    call: Callable[..., Outcome], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = ["growth.batch=1", "data.resolution=16"]
    code, out, err = call(run, "--preset", "celebahq", "--data", data, "--dry-run", *(f"--set={s}" for s in changed))
    assert code == 0
    assert from_yaml(out, "stdout") == with_settings(load_preset("celebahq"), changed)
    assert "4x4" in err
    assert "6,556,163" in err
    assert re.search(r"PFLOP in all .*: about \d+ d \d+ h on this machine", err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "function", "arguments", "number", "said"),
    [
        (run, "try_levels", ["--dry-run"], signal.SIGTERM, "interrupted"),
        (loop, "make_plan", [], signal.SIGINT, "interrupted"),
        (loop, "resume", [], signal.SIGTERM, "interrupted"),
        (loop, "prepare", [], signal.SIGINT, "stopped by SIGINT at 0 images shown; the same command goes on from here"),
    ],
)
def test_signals_before_the_first_step(
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    tmp_path: Path,
    module: ModuleType,
    function: str,
    arguments: list[str],
    number: signal.Signals,
    said: str,
) -> None:
    """While levels are tried, while the run is planned, before there is a checkpoint, and where the first is due."""
    signalled = getattr(module, function)

    def signalling(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), number)
        return signalled(*given, **named)

    monkeypatch.setattr(module, function, signalling)
    out = tmp_path / "run"
    code, _, err = call(run, "--preset", "tiny", "--data", data, "--out", out, *SETTINGS, *arguments)
    assert code == 130
    assert said in err
    assert "Traceback" not in err
    if function == "prepare":
        assert [path.stem for path in checkpoint.listed(out / "checkpoints")] == ["checkpoint-000000000"]
    else:
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize("module", [run, sample, video])
def test_help_has_examples(call: Callable[..., Outcome], module: object) -> None:
    code, out, _ = call(module, "--help")
    assert code == 0
    assert "Examples:\n    python training/" in out
    assert "\\b" not in out


def cut_in_half(path: Path, folder: Path) -> Path:
    target = folder / path.name
    data = path.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


def test_bad_input_of_the_training_command(
    call: Callable[..., Outcome], data: Path, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    out = tmp_path / "new"
    base = ["--preset", "tiny", "--data", data, "--out", out]
    cases: list[tuple[list[object], int, str]] = [
        (["--preset", "tinny", "--data", data, "--out", out], 1, "preset 'tinny' does not exist"),
        (["--preset", "tiny", "--data", tmp_path / "missing.h5", "--out", out], 1, "does not exist"),
        (["--preset", "tiny", "--data", tmp_path / "empty.h5", "--out", out], 1, "is not a pyramid"),
        (["--preset", "tiny", "--data", tmp_path / "notes.txt", "--out", out], 1, "is not a pyramid"),
        (["--preset", "tiny", "--data", cut_in_half(data, tmp_path), "--out", out], 1, "build it again"),
        (["--preset", "tiny", "--data", data], 2, "Missing option '--out'"),
        (["--preset", "tiny", "--out", out], 2, "Missing option '--data'"),
        ([*base, "--set", "growth.btch=3"], 1, "did you mean growth.batch?"),
        ([*base, "--set", "batch=3"], 1, "did you mean growth.batch?"),
        (
            [*base, "--set", "optimizer.discriminator_steps=1001"],
            1,
            "discriminator_steps must be from 1 to 1000, got 1001",
        ),
        ([*base, "--set", "growth.batch=many"], 1, "growth.batch must be a whole number, got 'many'"),
        (
            [*base, "--set", "data.resolution=32"],
            1,
            "it has 4, 8, 16; build a finer one, or pass --set data.resolution=16",
        ),
        (
            ["--preset", "cifar10", "--data", data, "--out", out],
            1,
            "data.resolution 32 (the preset's, or --set) is not in",
        ),
        ([*base, "--set", "growth.initial_resolution=64"], 1, "finer than the data set's 16"),
        ([*base, "--set", "network.stddev_group=5"], 1, "8 images does not divide into minibatch-stddev groups of 5"),
        ([*base, "--device", "tpu9"], 1, "--device tpu9 cannot be used"),
        (["--preset", "tiny", "--data", data, "--out", tmp_path / "full"], 1, "holds files but no run"),
        (["--preset", "tiny", "--data", data, "--out", tmp_path / "notes.txt"], 1, "is a file"),
        (
            ["--preset", "tiny", "--data", data, "--out", tmp_path / "notes.txt" / "run"],
            1,
            "cannot write the run directory",
        ),
        (["--preset", "tiny", "--data", data, "--out", trained], 1, "holds a run with other options"),
        (["--bogus"], 2, "No such option"),
    ]
    for arguments, code, message in cases:
        found, stdout, err = call(run, *arguments)
        assert (found, stdout) == (code, ""), (arguments, err)
        assert message in err, (arguments, err)
        assert "Traceback" not in err
        assert code == 2 or err.count("\n") == 1, err
        assert not out.exists(), arguments


def test_two_processes_cannot_train_in_one_folder(call: Callable[..., Outcome], trained: Path, data: Path) -> None:
    from training.folder import RunFolder

    with RunFolder(trained):
        code, _, err = call(run, "--preset", "tiny", "--data", data, "--out", trained, *SETTINGS)
    assert code == 1
    assert "another process is training in" in err


def pictures(folder: Path) -> list[np.ndarray]:
    found = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            found.append(np.asarray(image))
    return found


def test_sampling(call: Callable[..., Outcome], trained: Path, tmp_path: Path) -> None:
    """Image k of a seed is the same from a run and from its checkpoint, whatever the number of images."""
    newest = checkpoint.listed(trained / "checkpoints")[0]
    assert call(sample, trained, tmp_path / "a", "--num", 70, "--seed", 3)[0] == 0
    assert call(sample, newest, tmp_path / "b", "--num", 5, "--seed", 3)[0] == 0
    assert call(sample, trained, tmp_path / "c", "--num", 5, "--seed", 4)[0] == 0
    a, b, c = (pictures(tmp_path / name) for name in "abc")
    assert len(a) == 70
    assert a[0].shape == (16, 16, 3)
    assert all(np.array_equal(one, two) for one, two in zip(a, b, strict=False))
    assert not np.array_equal(a[0], c[0])
    assert sorted(path.name for path in (tmp_path / "b").iterdir())[:2] == ["000000.png", "000001.png"]


def test_bad_input_of_the_sampling_command(call: Callable[..., Outcome], trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    out = tmp_path / "new"
    half = cut_in_half(checkpoint.listed(trained / "checkpoints")[0], tmp_path)
    cases: list[tuple[list[object], int, str]] = [
        ([tmp_path / "missing", out], 1, "does not exist; name a run directory or a checkpoint"),
        ([tmp_path / "empty", out], 1, "holds no checkpoints"),
        ([half, out], 1, "is not a whole checkpoint"),
        ([trained / "run.json", out], 1, "is no checkpoint of growgan"),
        ([trained, tmp_path / "taken"], 1, "exists already"),
        ([trained, tmp_path / "no" / "where"], 1, "does not exist; create it first"),
        ([trained, out, "--num", 0], 2, "--num"),
        ([trained, out, "--grid", "4x4"], 1, "makes one picture; let"),
        ([trained, out, "--neighbours", trained], 1, "makes one picture; let"),
        ([trained, tmp_path / "x.png", "--neighbours", trained], 1, "draws its images; --neighbours needs the real"),
        ([trained, out, "--at", 1], 1, "has no checkpoint at 1 images shown"),
        ([trained, out, "--class-rows"], 1, "--class-rows needs a generator that is told the class"),
        ([trained, out, "--numbers", "9-1"], 2, "is not a list of numbers"),
        ([trained], 2, "Missing argument"),
    ]
    for arguments, code, message in cases:
        found, _, err = call(sample, *arguments)
        assert found == code, (arguments, err)
        assert message in err, (arguments, err)
        assert code == 2 or err.count("\n") == 1, err
        assert not out.exists()
        assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_pictures_of_a_run(call: Callable[..., Outcome], trained: Path, data: Path, tmp_path: Path) -> None:
    """Chosen numbers, grids, earlier moments and nearest reals: all from the same images as the folder's."""
    assert call(sample, trained, tmp_path / "all", "--num", 9)[0] == 0
    assert call(sample, trained, tmp_path / "some", "--numbers", "8,2-3")[0] == 0
    whole, some = pictures(tmp_path / "all"), pictures(tmp_path / "some")
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["000002.png", "000003.png", "000008.png"]
    assert np.array_equal(some[2], whole[8])
    assert call(sample, trained, tmp_path / "grid.png", "--grid", "3x2", "--numbers", "4-8")[0] == 0
    (grid,) = (np.asarray(Image.open(tmp_path / "grid.png")),)
    assert grid.shape == (32, 48, 3)
    assert np.array_equal(grid[16:, 16:32], whole[8])
    assert call(sample, trained, tmp_path / "early.png", "--resolution", 4, "--num", 1)[0] == 0
    early = np.asarray(Image.open(tmp_path / "early.png"))
    assert np.array_equal(early, early[::4, ::4].repeat(4, axis=0).repeat(4, axis=1))
    code, out, err = call(sample, trained, tmp_path / "near.png", "--neighbours", data, "--num", 2, "--nearest", 3)
    assert (code, out) == (0, "")
    assert "pixels at 16x16, rms in grey levels: a sample's nearest real is at" in err
    near = np.asarray(Image.open(tmp_path / "near.png"))
    assert near.shape == (32, 16 + 2 + 48, 3)
    assert np.array_equal(near[16:, :16], whole[1])


def test_films_of_a_run(call: Callable[..., Outcome], trained: Path, tmp_path: Path) -> None:
    walk, growing = tmp_path / "walk.gif", tmp_path / "growing"
    code, out, err = call(video, "interpolation", trained, walk, "--grid", "2x1", "--frames", 5, "--fps", 10)
    assert (code, out) == (0, "")
    assert "5 frames, 0.5 s, from " in err
    with Image.open(walk) as film:
        assert film.n_frames == 5  # type: ignore[attr-defined]
        assert film.size == (320, 160)
    assert call(video, "timelapse", trained, growing, "--zoom", 1)[0] == 0
    assert len(pictures(growing)) == 3
    cases: list[tuple[list[object], int, str]] = [
        (["interpolation", trained, walk], 1, "exists already"),
        (["interpolation", trained, tmp_path / "x.mov"], 1, "name a file that ends in .mp4"),
        (["interpolation", tmp_path / "no", tmp_path / "x.gif"], 1, "does not exist"),
        (["interpolation", trained, tmp_path / "x.gif", "--label", 1], 1, "needs a generator that is told the class"),
        (["interpolation", trained, tmp_path / "x.gif", "--grid", "0x1"], 2, "is not a layout"),
        (["interpolation", trained, tmp_path / "x.gif", "--at", 7], 1, "no checkpoint at 7 images shown"),
        (["timelapse", trained / "samples", tmp_path / "x.gif"], 1, "is not a run directory"),
        (["timelapse", trained, tmp_path / "x.gif", "--seconds", 0.001], 1, "is too short for 3 grids"),
    ]
    for arguments, code, message in cases:
        found, _, err = call(video, *arguments)
        assert found == code, (arguments, err)
        assert message in err, (arguments, err)
        assert code == 2 or err.count("\n") == 1, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing", "walk.gif"]


def test_metrics_read_a_run_through_the_plug_in(trained: Path) -> None:
    opened = sample.open_image_set(trained, num_images=None, seed=5)
    assert opened is not None
    assert opened.resolution == 16
    whole = opened.read(np.arange(70))
    rows = np.array([69, 3, 64])
    assert np.array_equal(opened.read(rows), whole[rows])
    again = sample.open_image_set(checkpoint.listed(trained / "checkpoints")[0], num_images=None, seed=5)
    other = sample.open_image_set(trained, num_images=None, seed=6)
    assert again is not None
    assert other is not None
    assert again.digest == opened.digest != other.digest
    assert sample.open_image_set(trained / "samples", num_images=None, seed=5) is None
