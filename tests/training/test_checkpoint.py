"""Checkpoints: whole or not there, and any damage is found."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from datasets.errors import InputError
from training import checkpoint
from training.checkpoint import Checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tensors = {
        "average/weight": torch.randn(3, 5),
        "average/bias": torch.zeros(3),
        "generator/weight": torch.arange(4.0),
        "optimizer_g/step/weight": torch.tensor(7.0),
    }
    path = checkpoint.path_of(tmp_path, 1234)
    checkpoint.save(path, Checkpoint(1234, {"level": 3, "config": {"seed": 1}}, tensors))
    return path


def test_round_trip(saved: Path) -> None:
    assert saved.name == "checkpoint-000001234.safetensors"
    whole = checkpoint.load(saved)
    assert whole.images == 1234
    assert whole.facts == {"level": 3, "config": {"seed": 1}}
    assert torch.equal(whole.tensors["generator/weight"], torch.arange(4.0))
    assert whole.tensors["optimizer_g/step/weight"].shape == ()
    assert set(whole.group("average")) == {"weight", "bias"}


def test_only_the_wanted_groups_are_read(saved: Path) -> None:
    assert set(checkpoint.load(saved, groups=["average"]).tensors) == {"average/weight", "average/bias"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="is not a whole checkpoint"):
        checkpoint.load(saved)


def test_every_flipped_bit_is_found(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    for position in range(8, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 16
        saved.write_bytes(flipped)
        with pytest.raises(InputError):
            checkpoint.load(saved)


def test_other_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    with pytest.raises(InputError, match="not a checkpoint of growgan"):
        checkpoint.load(foreign)
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(InputError, match="not a whole checkpoint"):
        checkpoint.load(text)
    with pytest.raises(InputError, match="is not a file"):
        checkpoint.load(tmp_path / "missing.safetensors")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(saved: Path) -> None:
    """The system itself refuses to let the file grow, as a full disk does."""
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*checkpoint-000001234.safetensors .*free room"):
            checkpoint.save(saved, Checkpoint(1234, {}, {"average/x": torch.zeros(10_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_others_may_read_a_checkpoint(saved: Path) -> None:
    plain = saved.with_name("plain")
    plain.touch()
    assert saved.stat().st_mode == plain.stat().st_mode


def test_listing_is_newest_first_and_skips_unfinished_files(tmp_path: Path) -> None:
    for name in (
        "checkpoint-000000010.safetensors",
        "checkpoint-1000000000.safetensors",
        "checkpoint-000000200.safetensors",
        ".checkpoint-000000300.safetensors.77.partial",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert [path.stem for path in checkpoint.listed(tmp_path)] == [
        "checkpoint-1000000000",
        "checkpoint-000000200",
        "checkpoint-000000010",
    ]
