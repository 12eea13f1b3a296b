"""NVIDIA's TorchScript Inception, by a synthetic file of the same layout: it must give what the state dict gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import nvidia
from oracles.networks import random_state
from torch import Tensor

from metrics.features import Extractor
from metrics.features.inception import CONVOLUTIONS, Network
from metrics.weights import is_torchscript


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    made = random_state(Network.shapes(Network.__new__(Network)), seed=7)
    return {name: torch.ones_like(value) if name.endswith("bn.weight") else value for name, value in made.items()}


def test_names_are_those_of_the_reference() -> None:
    names = {nvidia.name_of(unit) for unit in CONVOLUTIONS}
    assert len(names) == 94
    assert {"conv", "conv_4", "mixed.conv", "mixed.tower.conv_1", "mixed_2.tower_1.conv_2"} < names
    assert {"mixed_3.tower.conv_2", "mixed_7.tower_1.conv_4", "mixed_8.tower_1.conv_3"} < names
    assert {"mixed_10.tower.mixed.conv_1", "mixed_10.tower_1.mixed.conv", "mixed_9.tower_2.conv"} < names


@pytest.mark.slow
def test_program_and_state_dict_agree(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes above and below the network's, in one call; both logits, though the file has the classifier alone."""
    monkeypatch.setattr(Extractor, "block_size", 1)
    path = nvidia.save(state, tmp_path / "inception.pt")
    assert is_torchscript(path)
    images = [
        torch.from_numpy(np.random.default_rng(size).integers(0, 256, (3, size, size + 9)).astype(np.uint8))
        for size in (48, 310)
    ]
    program, plain = Network(path, trust_torchscript=True), Network(state)
    assert program.protocol["resize"] == "nvidia"
    with torch.jit.optimized_execution(False):  # which takes longer than these few images
        found, expected = program(images), plain(images)
    for name in ("pool", "logits", "logits_unbiased"):
        one, other = getattr(found, name), getattr(expected, name)
        assert float((one - other).norm() / other.norm()) < 1e-4, name  # white noise, resized in another order
    assert program._script is not None
    with torch.jit.optimized_execution(False):
        said = program._script._program(images[0][None], no_output_bias=True)
    torch.testing.assert_close(found.logits_unbiased[:1].softmax(1), said, rtol=1e-3, atol=1e-6)
