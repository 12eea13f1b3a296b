"""Several processes, as torchrun starts them, against one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datasets.errors import InputError
from training import checkpoint
from training.ranks import Ranks

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = [
    "network.fmap_base=64",
    "network.fmap_max=8",
    "network.stddev_group=2",
    "growth.batch=8",
    "growth.batch_by_resolution={16: 4}",
    "growth.fade_kimg=0.064",
    "growth.stabilize_kimg=0.064",
    "growth.total_kimg=0.4",
    "growth.learning_rate=0.001",
    "snapshots.every_kimg=0.128",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=2",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
    "snapshots.keep=100",
    "data.mirror=true",
]


def command(ranks: int, data: Path, out: Path, *settings: str) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    options = ["--preset", "tiny", "--data", str(data), "--out", str(out), "--device", "cpu"]
    return [sys.executable, *launcher, "training/run.py", *options, *(f"--set={s}" for s in (*SETTINGS, *settings))]


def run(ranks: int, data: Path, out: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(ranks, data, out, *settings), cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False
    )


def final(out: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(checkpoint.listed(out / "checkpoints")[0]).tensors)


def logged(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=30, resolution=16)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    done = run(1, data, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(tmp_path: Path, data: Path, alone: Path) -> None:
    """Growing included; sums in another order differ in their last bits, which training makes larger step by step."""
    out = tmp_path / "run"
    done = run(2, data, out)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("done: ", done.stderr)) == 1  # one rank speaks
    ours, theirs = logged(out), logged(alone)
    assert [line["images"] for line in ours] == [line["images"] for line in theirs]
    for mine, other in list(zip(ours, theirs, strict=True))[:4]:
        for name in ("loss_d", "loss_g", "score_real", "penalty"):
            assert mine[name] == pytest.approx(other[name], rel=1e-4, abs=1e-5), name
    expected = final(alone)
    for name, tensor in final(out).items():
        if name.startswith("average/"):
            torch.testing.assert_close(tensor, expected[name], rtol=0.02, atol=0.02, msg=name)


@pytest.mark.slow
def test_two_ranks_resume_to_the_bit_after_a_kill(tmp_path: Path, data: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(2, data, whole).returncode == 0
    process = subprocess.Popen(
        command(2, data, broken), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(checkpoint.listed(broken / "checkpoints")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached = checkpoint.images_of(checkpoint.listed(broken / "checkpoints")[0])
    assert 0 < reached < 400
    done = run(2, data, broken)
    assert done.returncode == 0, done.stderr
    expected = final(whole)
    for name, tensor in final(broken).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    ranks = Ranks()
    ranks.size = 4
    with pytest.raises(InputError, match=r"64x64: a batch of 6 cannot be shared by 4 ranks; choose a multiple of 4"):
        ranks.check_batch(6, "64x64")


def test_shares_make_up_the_whole_and_keep_groups_together() -> None:
    """Images of a group of the minibatch standard deviation (n modulo N / size) are on one rank, in the same order."""
    whole = torch.arange(24)
    shares = []
    for rank in range(3):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 3
        shares.append(ranks.own(whole))
    assert sorted(torch.cat(shares).tolist()) == whole.tolist()
    groups = {tuple(whole[group::6].tolist()) for group in range(6)}  # 24 images in groups of 4
    assert {tuple(share[group::2].tolist()) for share in shares for group in range(2)} == groups
