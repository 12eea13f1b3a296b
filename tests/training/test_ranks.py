"""Several processes, as torchrun starts them, against one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import several_ranks
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
    "growth.batch_by_resolution={8: 4}",
    "growth.fade_kimg=0.064",
    "growth.stabilize_kimg=0.064",
    "growth.total_kimg=0.192",
    "growth.learning_rate=0.001",
    "snapshots.every_kimg=0.032",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=2",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
    "snapshots.keep=100",
    "snapshots.report=false",
    "data.mirror=true",
]
FADING = 96  # images shown in the middle of a fade-in, where there is a checkpoint


def arguments(data: Path, out: Path, *settings: str) -> list[object]:
    changed = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    return ["--preset", "tiny", "--data", data, "--out", out, "--device", "cpu", *changed]


def at(out: Path, images: int) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(checkpoint.path_of(out / "checkpoints", images)).tensors)


def logged(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def data(make_pyramid: Callable[..., Path]) -> Path:
    return make_pyramid(count=30, resolution=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Callable[[int, str], Path]:
    """Function that gives the run of so many ranks at a precision, made once; not to be changed."""
    made: dict[tuple[int, str], Path] = {}

    def train(ranks: int, precision: str = "float32") -> Path:
        if (ranks, precision) not in made:
            out = tmp_path_factory.mktemp("ranks") / "run"
            errors = out.with_name("errors")
            codes = several_ranks.run(ranks, arguments(data, out, f"compute.precision={precision}"), errors)
            assert codes == [0] * ranks, Path(f"{errors}0").read_text()
            assert "done: " in Path(f"{errors}0").read_text()
            assert all("done: " not in Path(f"{errors}{rank}").read_text() for rank in range(1, ranks))
            made[ranks, precision] = out
        return made[ranks, precision]

    return train


def assert_learnt_the_same(out: Path, other: Path, tolerance: float) -> None:
    """The distance between the weights is small beside the way that they have come."""
    ours, theirs, begun = at(out, 192), at(other, 192), at(other, 0)
    for network in ("generator/", "discriminator/", "average/"):
        names = [name for name in begun if name.startswith(network)]
        apart = sum(float((ours[name] - theirs[name]).square().sum()) for name in names) ** 0.5
        learnt = sum(float((theirs[name] - begun[name]).square().sum()) for name in names) ** 0.5
        assert apart < tolerance * learnt, (network, apart / learnt)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "first", "tolerance"), [("float32", 1e-4, 0.01), ("bfloat16", 0.1, 0.25)])
def test_two_ranks_learn_what_one_learns(
    trained: Callable[..., Path], precision: str, first: float, tolerance: float
) -> None:
    """Growing included; sums in another order differ in their last bits, which training makes larger step by step."""
    ours, theirs = logged(trained(2, precision)), logged(trained(1, precision))
    assert [line["images"] for line in ours] == [line["images"] for line in theirs]
    for mine, other in list(zip(ours, theirs, strict=True))[:4]:
        for name in ("loss_d", "loss_g", "score_real", "penalty"):
            assert mine[name] == pytest.approx(other[name], rel=first, abs=first), name
    assert_learnt_the_same(trained(2, precision), trained(1, precision), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(
    tmp_path: Path, data: Path, trained: Callable[..., Path], before: int, after: int
) -> None:
    """From the middle of a fade-in, with the images that it would have been shown."""
    out = Path(shutil.copytree(trained(before), tmp_path / "run"))
    for path in checkpoint.listed(out / "checkpoints"):
        if checkpoint.images_of(path) > FADING:
            path.unlink()
    assert several_ranks.run(after, arguments(data, out), tmp_path / "errors") == [0] * after
    said = (tmp_path / "errors0").read_text()
    assert f"going on from {FADING} images shown" in said
    assert f"ranks was {before} and is {after}: the same images" in said
    assert_learnt_the_same(out, trained(1), 0.01)


def killed_early(data: Path, out: Path, errors: Path) -> int:
    """Images of the newest checkpoint of two ranks that are killed when there are two."""
    ranks = several_ranks.start(2, arguments(data, out), errors)
    deadline = time.monotonic() + 120
    while len(checkpoint.listed(out / "checkpoints")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    for rank in ranks:
        rank.kill()
    for rank in ranks:
        rank.join()
    return checkpoint.images_of(checkpoint.listed(out / "checkpoints")[0])


@pytest.mark.slow
def test_two_ranks_resume_to_the_bit_after_a_kill(tmp_path: Path, data: Path, trained: Callable[..., Path]) -> None:
    """Killed as a whole, and gone on with by torchrun."""
    for attempt in range(5):  # on a busy machine a run may end before the kill
        out = tmp_path / f"run{attempt}"
        reached = killed_early(data, out, tmp_path / "errors")
        if reached < 192:
            break
    assert 0 < reached < 192
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "training/run.py", *map(str, arguments(data, out))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"going on from {reached} images shown" in done.stderr
    expected = at(trained(2), 192)
    for name, tensor in at(out, 192).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "rank", "said"),
    [
        ("asleep", 1, "error: rank 1 of 3 did not answer for 0:00:05: it hangs or has ended, see its output; the same"),
        (
            "killed",
            2,
            "error: rank 2 of 3 has ended, see its output; the same command goes on from the last checkpoint",
        ),
        ("asleep", 0, "error: rank 0 of 3 did not answer for 0:00:10: it hangs or has ended, see its output; the same"),
    ],
)
def test_a_rank_that_is_lost_ends_the_run_with_its_name(
    tmp_path: Path, data: Path, fault: str, rank: int, said: str
) -> None:
    settings = ["growth.batch=6", "growth.batch_by_resolution={}", "guards.hung_after=5"]
    given = arguments(data, tmp_path / "run", *settings)
    processes = several_ranks.start(3, given, tmp_path / "errors", **{fault: rank})
    others = [number for number in range(3) if number != rank]
    for number in others:
        processes[number].join(120)
    processes[rank].kill()
    for number in others:
        assert processes[number].exitcode == 1
    texts = [(tmp_path / f"errors{number}").read_text() for number in others]
    assert said in texts[0]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("error: ")]
    assert not [line for line in lines if f"rank {rank} " not in line and "rank 0 of 3 has ended" not in line]
    assert not [text for text in texts if "Traceback" in text]
    newest = checkpoint.listed(tmp_path / "run" / "checkpoints")[0]
    assert checkpoint.load(newest).images == 36  # whole, and the last one before
    assert not list((tmp_path / "run").rglob("*.partial"))


@pytest.mark.slow
def test_the_first_rank_may_be_busy_for_long() -> None:
    """With a measurement, say: five times as long as a rank that hangs."""
    assert several_ranks.wait_for_the_first(2, hung_after=0.5, busy=2.5) == [0, 0]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    ranks = Ranks()
    ranks.size = 4
    with pytest.raises(InputError, match=r"64x64: a batch of 6 cannot be shared by 4 ranks; choose a multiple of 4"):
        ranks.check_batch(6, "64x64")
    ranks.check_batch(24, "64x64", 3)
    ranks.check_batch(8, "64x64", 3)  # less than a group on each
    with pytest.raises(InputError, match=r"4 ranks 4 images, which are not whole groups of 3 .* multiple of 12"):
        ranks.check_batch(16, "64x64", 3)


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
