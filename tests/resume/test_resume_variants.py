"""Resume to the bit for what a run may carry along besides weights: other losses, labels, precisions, optimizers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene
from pyramids import write

from datasets.formats import open_pyramid
from training import checkpoint, loop
from training.config import Config, load_preset
from training.settings import with_settings
from training.step import update

CPU = torch.device("cpu")
# 8x8, faded in from 48 to 96 images shown
SETTINGS = [
    "network.fmap_base=32",
    "network.fmap_max=4",
    "growth.batch=8",
    "growth.fade_kimg=0.048",
    "growth.stabilize_kimg=0.048",
    "growth.total_kimg=0.136",
    "snapshots.every_kimg=0.032",
    "snapshots.log_every_kimg=0.016",
    "snapshots.columns=1",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
    "snapshots.report=false",
]
VARIANTS = {
    # Multiplicative noise, whose strength follows a moving average; minibatches in parts; two steps of D
    "lsgan": ["loss=lsgan", "objective.noise=50", "objective.noise_limit=0", "objective.noise_source=loss",
              "optimizer.discriminator_steps=2", "growth.batch=4", "compute.part_by_resolution={8: 2}"],
    "acgan": ["conditioning.kind=acgan", "conditioning.discriminator_labels=random", "optimizer.updates=joint",
              "data.mirror=true", "compute.precision=bfloat16"],
    # Scales of the losses, which have changed before the kill
    "float16": ["compute.precision=float16", "optimizer.beta1=0.5"],
    # Buffers of batch normalization; initial values from data; moments that outlive the fade-in; warm-up
    "table1": ["network.generator_norm=batch", "network.discriminator_norm=layer", "network.minibatch_discrimination=3",
               "network.minibatch_stddev=false", "optimizer.reset=false", "ema.unit=images", "growth.warmup_kimg=0.1"],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = np.arange(20) % 3
    return write(
        tmp_path_factory.mktemp("labelled") / "set.h5", scene(20, 8), labels=labels, label_names=["a", "b", "c"]
    )


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.listed(run / "checkpoints")[0]
    assert checkpoint.images_of(newest) == 136
    return dict(checkpoint.load(newest).tensors)


def train(config: Config, data: Path, out: Path, stop_at: int = -1, number: int | None = None) -> None:
    """Train, with too little memory for a minibatch at 4x4 from 16 images on; the step after `stop_at` is the last."""

    def stepping(state: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        if state.images == 16:
            state.parts[2] = 2
        logs = update(state, *arguments)
        if state.images > stop_at >= 0:
            if number is None:
                raise RuntimeError("the machine fails")
            os.kill(os.getpid(), number)
        return logs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", stepping)
        done = loop.train(config, open_pyramid(data), out, CPU)
        assert done == (stop_at < 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, data: Path, variant: str) -> None:
    """Killed in the middle of the fade-in, then stopped by a signal after it."""
    config = with_settings(load_preset("tiny"), [*SETTINGS, *VARIANTS[variant]])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config, data, whole)
    with pytest.raises(RuntimeError, match="the machine fails"):
        train(config, data, broken, 79)
    assert checkpoint.images_of(checkpoint.listed(broken / "checkpoints")[0]) == 64
    train(config, data, broken, 110, signal.SIGTERM)
    train(config, data, broken)
    expected, found = tensors_of(whole), tensors_of(broken)
    assert set(expected) == set(found)
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    if variant == "lsgan":
        assert expected["loss/lead"] > 0
    if variant == "float16":
        assert expected["scaler_discriminator/scale"] != 65536 or expected["scaler_discriminator/_growth_tracker"] > 0
    facts = checkpoint.load(checkpoint.listed(broken / "checkpoints")[0]).facts
    assert facts["parts"] == {"2": 2}
