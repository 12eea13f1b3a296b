"""Class labels: in the feed, in the losses, in samples."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from datasets import formats
from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import pyramid
from datasets.order import Order
from training import checkpoint, conditioning, loop, step
from training.conditioning import Labels, class_terms
from training.config import Config, load_preset
from training.feed import Feed
from training.growth import Schedule
from training.ranks import Ranks
from training.sampler import Sampler
from training.settings import with_settings
from training.state import TrainingState

CPU = torch.device("cpu")
SETTINGS = [
    "network.fmap_base=32",
    "network.fmap_max=8",
    "conditioning.kind=acgan",
    "growth.batch=8",
    "growth.fade_kimg=0.064",
    "growth.stabilize_kimg=0.064",
    "growth.total_kimg=0.256",
    "snapshots.every_kimg=0.128",
    "snapshots.log_every_kimg=0.032",
    "snapshots.columns=2",
    "snapshots.rows=1",
    "snapshots.metric_images=0",
]
CLASSES = np.array([0, 2, 2, 2, 1, 2, 0, 2, 2, 2])  # 2 of one, 1 of another, 7 of the last


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "set.h5"
    images = np.empty((10, 3, 8, 8), np.uint8)
    images[...] = (60 * CLASSES + 30)[:, None, None, None]  # the class is the brightness
    with formats.create(path, 10, 8) as writer:
        writer.write(range(10), writer.pack(pyramid(images)))
        writer.finish([f"{k}.png" for k in range(10)], CLASSES, ["a", "b", "c"], {}, {})
    return path


@pytest.fixture(scope="module")
def config() -> Config:
    return with_settings(load_preset("tiny"), SETTINGS)


def test_cross_entropy_per_image() -> None:
    logits, labels = torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    expected = torch.tensor([math.log(2), math.log(1 + math.exp(-1))])
    torch.testing.assert_close(class_terms(logits, labels), expected)
    assert class_terms(None, labels) == class_terms(logits, None) == 0.0


def test_labels_come_with_their_images(data: Path, config: Config) -> None:
    reader = open_pyramid(data)
    schedule = Schedule(config.growth, 3)
    labels = Labels.of(config.conditioning, reader)
    assert (labels.num_classes, labels.counts) == (3, [2, 1, 7])
    for rank in range(2):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 2
        with Feed(reader, schedule, 5, 2, CPU, labels, ranks) as feed:
            for start in (0, 16, 0):
                shown = feed.batch(start)
                rows = Order(10, 5).rows(start, 16).reshape(2, 8)[:, rank::2].reshape(-1)
                assert shown.labels is not None
                assert shown.labels.argmax(1).tolist() == CLASSES[rows].tolist()
                assert shown.images.amax((1, 2, 3)).tolist() == (60 * CLASSES[rows] + 30).tolist()
                halves = list(shown.split(2))
                assert [len(half.images) for half in halves] == [4, 4]
                torch.testing.assert_close(torch.cat([half.labels for half in halves]), shown.labels)


def test_drawn_labels_are_as_frequent_as_in_the_data() -> None:
    drawn = Labels(CLASSES, 3).draw(20_000, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert drawn.mean(0).tolist() == pytest.approx([0.2, 0.1, 0.7], abs=0.01)
    assert Labels().draw(3, torch.Generator()) is None


def test_a_data_set_without_labels_is_refused(make_pyramid: object, config: Config) -> None:
    plain = open_pyramid(make_pyramid(count=4, resolution=8))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"has no labels, which conditioning.kind=acgan needs; build it from a source"):
        Labels.of(config.conditioning, plain)
    assert Labels.of(conditioning.Config(), plain).num_classes == 0


@pytest.mark.parametrize("which", ["own", "random"])
@pytest.mark.parametrize("updates", ["alternating", "joint"])
def test_class_terms_are_in_both_losses(data: Path, config: Config, which: str, updates: str) -> None:
    """Against the terms of the discriminator as it is before the step, with the weight 10 to be seen."""
    changed = [f"conditioning.discriminator_labels={which}", "conditioning.weight=10", f"optimizer.updates={updates}"]
    config = with_settings(config, changed)
    reader, schedule = open_pyramid(data), Schedule(config.growth, 3)
    labels = Labels.of(config.conditioning, reader)
    state = TrainingState(config, 8, CPU, labels)
    stage = schedule.stage(0)
    with Feed(reader, schedule, config.seed, 1, CPU, labels) as feed:
        shown = feed.batch(0)
    before = {name: value.clone() for name, value in state.discriminator.state_dict().items()}
    with torch.no_grad():
        verdict = state.discriminator(shown.images.float() / 127.5 - 1, 2, 1.0)
        guess = functional.cross_entropy(verdict.class_logits, shown.labels)
    logs = step.update(state, shown, stage, config, 1)
    parts = logs["score_fake"] - logs["score_real"] + logs["penalty"] + logs["drift"]
    torch.testing.assert_close(logs["loss_d"], parts + 10 * logs["class_loss_d"])
    assert float(logs["class_loss_d"]) > float(guess) > 0  # that of the fakes comes on top
    assert float(logs["class_loss_g"]) > 0
    head = state.discriminator.score.state_dict()
    assert any(not torch.equal(value, before[f"score.{name}"]) for name, value in head.items())


def test_a_conditional_run_trains_resumes_and_samples(tmp_path: Path, data: Path, config: Config) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert loop.train(config, open_pyramid(data), whole, CPU)
    assert loop.train(with_settings(config, ["growth.total_kimg=0.128"]), open_pyramid(data), parted, CPU)
    assert loop.train(config, open_pyramid(data), parted, CPU)
    ends = [checkpoint.load(checkpoint.listed(run / "checkpoints")[0]) for run in (whole, parted)]
    assert ends[0].facts["class_counts"] == [2, 1, 7]
    for name, tensor in ends[0].tensors.items():
        assert torch.equal(tensor, ends[1].tensors[name]), name
    sampler, _ = Sampler.from_path(whole)
    images = sampler.images(3, np.arange(70))
    np.testing.assert_array_equal(sampler.images(3, np.arange(69, -1, -1))[::-1], images)
    drawn = sampler.classes(0, np.arange(2560))
    assert drawn is not None
    assert (np.bincount(drawn) / 2560).tolist() == pytest.approx([0.2, 0.1, 0.7], abs=0.05)
    chosen = sampler.images(0, np.arange(9), drawn[:9])
    assert int(np.abs(chosen.astype(int) - sampler.images(0, np.arange(9))).max()) <= 1
    assert not np.array_equal(sampler.images(0, np.arange(9), (drawn[:9] + 1) % 3), chosen)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_other_precisions_resume_to_the_bit(tmp_path: Path, data: Path, config: Config, precision: str) -> None:
    """The scale of float16's losses is part of the state."""
    config = with_settings(config, [f"compute.precision={precision}", "loss=lsgan"])
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert loop.train(config, open_pyramid(data), whole, CPU)
    assert loop.train(with_settings(config, ["growth.total_kimg=0.096"]), open_pyramid(data), parted, CPU)
    assert loop.train(config, open_pyramid(data), parted, CPU)
    ends = [checkpoint.load(checkpoint.listed(run / "checkpoints")[0]).tensors for run in (whole, parted)]
    assert "loss/lead" in ends[0]
    assert ("scaler_generator/scale" in ends[0]) == (precision == "float16")
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name
