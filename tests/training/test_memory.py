"""Minibatches computed in parts: the same gradients, with less memory, and going on when memory runs out."""

from __future__ import annotations

import copy

import pytest
import torch

from datasets.errors import InputError
from training import step
from training.compute import Config as Compute
from training.compute import number_of_parts
from training.config import Config, load_preset
from training.feed import Shown
from training.growth import Stage
from training.memory import in_parts
from training.settings import with_settings
from training.state import TrainingState

STAGE = Stage(level=4, alpha=0.3, batch=8, learning_rate=0.01, phase=3)
SETTINGS = ["network.fmap_base=64", "network.fmap_max=8", "network.stddev_group=2", "data.mirror=true"]


def begin(*settings: str) -> tuple[Config, TrainingState, Shown]:
    config = with_settings(load_preset("tiny"), [*SETTINGS, *settings])
    state = TrainingState(config, 16, torch.device("cpu"))
    state.images, state.phase = 1000, STAGE.phase
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    return config, state, Shown(images.to(torch.uint8))


@pytest.mark.parametrize("loss", ["wgan_gp", "lsgan"])
@pytest.mark.parametrize("part", [4, 3, 2])
def test_parts_change_nothing_but_the_last_bits(loss: str, part: int) -> None:
    """Groups of the minibatch standard deviation are the same in parts that hold whole groups: see training.ranks."""
    config, whole, shown = begin(f"loss={loss}")
    if loss == "lsgan":
        whole.loss_state = {"lead": torch.tensor(0.9)}  # so that there is noise
    in_pieces = copy.deepcopy(whole)
    logs = step.update(whole, shown, STAGE, config, 0)
    smaller = with_settings(config, [f"compute.part_by_resolution.16={part}"])
    again = step.update(in_pieces, shown, STAGE, smaller, 0)
    for name, value in logs.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-5, msg=name)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(in_pieces.tensors()[name], tensor, rtol=2e-3, atol=2e-4, msg=name)


def test_number_of_parts() -> None:
    """Equal parts, as few as possible."""
    assert [number_of_parts(8, largest) for largest in (None, 100, 8, 7, 3, 1)] == [1, 1, 1, 2, 4, 8]
    assert [number_of_parts(14, largest) for largest in (13, 5, 1)] == [2, 7, 14]
    assert [number_of_parts(12, largest, 4) for largest in (12, 11, 6, 3, 2)] == [1, 3, 3, 4, 6]  # no 6 images
    assert number_of_parts(12, None, 4, least=2) == 3
    assert number_of_parts(4, None, least=9) == 4


def test_smaller_parts_hold_whole_groups() -> None:
    tried: list[int] = []

    def compute(parts: int) -> int:
        tried.append(parts)
        if 12 // parts > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return parts

    assert in_parts(compute, 12, 5, {}, Compute(), 4) == 4
    assert tried == [1, 3, 4]


def test_out_of_memory_is_answered_by_smaller_parts_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    config, whole, shown = begin()
    tight = copy.deepcopy(whole)
    expected = step.update(whole, shown, STAGE, config, 0)
    judge = step._Step._judge

    def short_of_memory(self: step._Step, images: torch.Tensor, *arguments: object) -> object:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return judge(self, images, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(step._Step, "_judge", short_of_memory)
    logs = step.update(tight, shown, STAGE, config, 0)
    assert tight.parts == {4: 4}
    for name, value in expected.items():
        torch.testing.assert_close(logs[name], value, rtol=1e-4, atol=1e-5, msg=name)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(tight.tensors()[name], tensor, rtol=2e-3, atol=2e-4, msg=name)


def test_one_image_that_does_not_fit_ends_the_run() -> None:
    tried: list[int] = []

    def compute(parts: int) -> None:
        tried.append(parts)
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(InputError, match=r"out of memory at 32x32 with one image at a time \(.*\); lower network"):
        in_parts(compute, 6, 5, {}, Compute())
    assert tried == [1, 2, 3, 6]


def test_networks_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("training.architectures.pggan.Discriminator", too_large)
    with pytest.raises(InputError, match=r"the networks do not fit into memory \(.*9 bytes\); lower the widths"):
        begin()


def test_other_errors_pass() -> None:
    def compute(parts: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_parts(compute, 6, 5, {}, Compute())
