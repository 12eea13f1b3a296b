"""Counting the modes of MNIST-RGB: closed forms, a plain statement, the digit network and its training."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyramids
import pytest
import torch
from numpy.typing import NDArray
from oracles.networks import random_state
from safetensors.torch import load_file, save_file

from datasets.errors import InputError
from metrics import digit_training, scores
from metrics.as_torchmetrics import ImageMetric
from metrics.digit_training import Digits, error_rate, hold_out, open_digits, shifted, train, train_file
from metrics.features.digits import Network, parameter_shapes, write_weights
from metrics.measuring import Measurement, measure
from metrics.scores.modes import Score, mode_counts, modes_and_divergence, of_even_generator

DIGITS = np.array(list(itertools.product(range(10), repeat=3)))  # every mode once: red, green, blue


def one_hot(digits: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores by which a classifier would read these digits, shape (n, 30)."""
    noise = np.random.default_rng(0).uniform(-1, 1, (len(digits), 3, 10))
    return (noise + 3 * np.eye(10)[digits]).astype(np.float32).reshape(len(digits), 30)


def glyphs(classes: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint8]:
    """Printed digits of random place and strength on noise, shape (n, 32, 32)."""
    generator = np.random.default_rng(seed)
    planes = generator.integers(0, 30, (len(classes), 32, 32)).astype(np.uint8)
    for plane, digit in zip(planes, classes, strict=True):
        left, below, light = generator.integers((7, 25, 200), (10, 28, 250)).tolist()
        cv2.putText(plane, str(digit), (left, below), cv2.FONT_HERSHEY_SIMPLEX, 0.8, light, 3)
    return planes


def write_glyphs(path: Path, count: int, seed: int = 0, **options: Any) -> Path:
    classes = np.arange(count) % 10
    return pyramids.write(path, glyphs(classes, seed)[:, None].repeat(3, 1), labels=classes.tolist(), **options)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that reads the glyphs."""
    classes = np.arange(160) % 10
    out = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    weights = train(Digits(glyphs(classes), classes), epochs=4, batch=8, seed=4)
    write_weights(out, weights, {"held_out_error": 0.0, "seed": 4})
    return out


def composite(count: int, seed: int = 5) -> tuple[NDArray[np.uint8], list[tuple[int, ...]]]:
    """Images of three glyphs each, and their digits: red is odd, green is small, blue is anything."""
    generator = np.random.default_rng(seed)
    digits = np.stack([1 + 2 * generator.integers(0, 5, count), *generator.integers(0, [[3], [10]], (2, count))], 1)
    planes = [glyphs(digits[:, plane], seed + plane) for plane in range(3)]
    return np.stack(planes, axis=1), [tuple(row) for row in digits.tolist()]


def of(digits: NDArray[np.int64]) -> tuple[int, float]:
    return modes_and_divergence(mode_counts(one_hot(digits)))


@pytest.mark.parametrize("modes", [1, 2, 37, 500, 1000])
def test_even_shares_of_some_modes(modes: int) -> None:
    found, divergence = of(np.random.default_rng(1).permutation(DIGITS)[:modes].repeat(3, axis=0))
    assert found == modes
    assert divergence == pytest.approx(math.log(1000 / modes), abs=1e-12)


def test_uneven_shares_against_a_plain_statement() -> None:
    generator = np.random.default_rng(2)
    chances = generator.dirichlet(np.full(10, 0.4), 3)
    digits = np.stack([generator.choice(10, 5000, p=chance) for chance in chances], 1)
    times = Counter(f"{blue}{green}{red}" for red, green, blue in digits.tolist())
    expected = sum(n / 5000 * math.log(n / 5000 * 1000) for n in times.values())
    assert of(digits) == (len(times), pytest.approx(expected, abs=1e-12))
    counts = mode_counts(one_hot(digits))
    assert {f"{mode:03d}": n for mode, n in enumerate(counts.tolist()) if n} == times


def test_red_counts_units() -> None:
    assert mode_counts(one_hot(np.array([[1, 2, 3]]))).nonzero()[0].tolist() == [321]
    assert mode_counts(one_hot(np.array([[9, 0, 4], [0, 7, 0]]))).nonzero()[0].tolist() == [70, 409]


def test_other_features_are_refused() -> None:
    for size in (64, 3, 1280):
        with pytest.raises(InputError, match="are not the scores of digits"):
            mode_counts(np.zeros((4, size)))


def test_even_generator() -> None:
    assert of_even_generator(1, 2) == pytest.approx((1, math.log(2)))
    # Two draws of two: the same mode half of the time (1 and log 2), both otherwise (2 and 0).
    assert of_even_generator(2, 2) == pytest.approx((1.5, math.log(2) / 2))
    generator = np.random.default_rng(3)
    for count in (500, 3000):
        draws = [modes_and_divergence(generator.multinomial(count, np.full(1000, 1e-3))) for _ in range(60)]
        means, deviations = np.mean(draws, axis=0), np.std(draws, axis=0) / 60**0.5
        expected = of_even_generator(count)
        assert expected[0] == pytest.approx(1000 * (1 - 0.999**count), rel=1e-12)
        assert (np.abs(means - expected) < 4 * deviations).all()


@pytest.mark.parametrize(
    ("have", "asked_for", "count"),
    [
        (None, None, 256_000),
        (10**6, None, 256_000),
        (60_000, None, 51_200),
        (25_600, None, 25_600),
        (900, None, 900),
        (None, 30_000, 30_000),
        (60_000, 30_000, 30_000),
    ],
)
def test_number_of_images(have: int | None, asked_for: int | None, count: int) -> None:
    plan = Score.plan({"fake": have}, 32, asked_for)
    assert (plan.num_images, plan.wanted) == (count, {"fake": count})
    score = Score(plan, 32, seed=0)
    assert (score.evaluations, score.per_evaluation) == (max(1, count // 25_600), min(count, 25_600))


def test_average_over_evaluations() -> None:
    """The first 50 images hold 10 modes, the next 50 hold 50, and 30 are left over."""
    digits = np.concatenate([DIGITS[:10].repeat(5, axis=0), DIGITS[100:150], DIGITS[500:530]])
    score = Score(Score.plan({"fake": 130}, 32, None), 32, seed=0, per_evaluation=50)
    score.update("fake", one_hot(digits), 0)
    found = score.compute()
    assert (found["value"], found["standard_error"]) == (30, pytest.approx(20))
    assert found["kl"] == pytest.approx((math.log(100) + math.log(20)) / 2)
    assert found["kl_error"] == pytest.approx(math.log(5) / 2)
    assert found["replicates"] == [[10, 50]]
    assert sum(found["counts"]) == 100
    assert found["even_modes"] == pytest.approx(1000 * (1 - 0.999**50))
    assert found["protocol"]["evaluations"] == 2
    few, rest = found["warnings"]
    assert few.startswith(
        "50 images an evaluation, 25600 in the protocol: a perfectly even generator would show 48.8 of"
    )
    assert rest == "the last 30 images make no whole evaluation and were left out"


def test_the_protocol_gives_no_warning() -> None:
    generator = np.random.default_rng(0)
    score = Score(Score.plan({"fake": None}, 32, 51_200), 32, seed=0)
    score.update("fake", one_hot(generator.integers(0, 10, (51_200, 3))), 0)
    found = score.compute()
    assert found["warnings"] == []
    assert (found["value"], found["even_modes"]) == (1000, pytest.approx(1000, abs=1e-6))
    assert found["kl"] == pytest.approx(found["even_kl"], rel=0.15)


def test_a_trained_network_reads_planes_in_order(reader: Path, tmp_path: Path) -> None:
    images, digits = composite(60)
    np.save(tmp_path / "fake.npy", images)
    found = measured(tmp_path / "fake.npy", weights=[str(reader)])
    (result,) = found.results
    expected = Counter(red + 10 * green + 100 * blue for red, green, blue in digits)
    assert {mode: n for mode, n in enumerate(result["counts"]) if n} == expected
    assert result["metric"] == "modes"
    assert result["value"] == len(expected)
    assert result["extractor"]["network"] == "digits"
    assert result["extractor"]["weights"] == Network(reader).weights_digest
    assert result["extractor"]["training"] == {"held_out_error": 0.0, "seed": 4}
    assert not [warning for warning in result["warnings"] if "misreads" in warning]


def measured(fake: Path, real: Path | None = None, **options: Any) -> Measurement:
    return measure(["modes"], real, fake, no_cache=True, **options)


def test_what_cannot_be_measured(reader: Path, tmp_path: Path, scenes: Callable[..., NDArray[np.uint8]]) -> None:
    small, right, mixed = tmp_path / "16.npy", tmp_path / "32.npy", tmp_path / "other.npz"
    np.save(small, scenes(8, 16))
    np.save(right, scenes(8, 32))
    np.savez(mixed, features=np.ones((8, 64), np.float32))
    with pytest.raises(
        InputError, match=r"images of 16x16; modes are measured on images of 32x32 by the digit network"
    ):
        measured(small, weights=[str(reader)])
    with pytest.raises(InputError, match="no published weights; train it once with metrics train-digits"):
        measured(right)
    with pytest.raises(InputError, match="features of 64 numbers, the other side has 30"):
        measured(mixed)
    assert measured(right, extractor="vgg16", weights=[str(reader)]).results[0]["extractor"]["network"] == "digits"


def test_all_metrics_leave_it_out_unless_asked(
    reader: Path, tmp_path: Path, scenes: Callable[..., NDArray[np.uint8]]
) -> None:
    sets = {side: (tmp_path / f"r{side}.npy", tmp_path / f"f{side}.npy") for side in (16, 32)}
    for side, pair in sets.items():
        for seed, path in enumerate(pair):
            np.save(path, scenes(24, side, seed=seed))
    some = ["fid", "modes"]
    options: dict[str, Any] = {"extractor": "random-projection", "no_cache": True, "all_that_apply": True}
    without = measure(some, *sets[32], **options)
    assert len(without.results) == 1
    assert list(without.skipped) == ["modes"]
    assert without.skipped["modes"].endswith("add --weights digits=FILE")
    other = measure(some, *sets[16], weights=[f"digits={reader}"], **options)
    assert list(other.skipped) == ["modes"]
    both = measure(some, *sets[32], weights=[f"digits={reader}"], **options)
    assert [result["metric"] for result in both.results] == ["fd-random-projection", "modes"]
    assert both.results[1]["reference"]["value"] >= 1
    assert "modes" in scores.names()
    assert "modes" not in scores.general_names()


def test_fed_by_and_by(reader: Path) -> None:
    images, digits = composite(20)
    metric = ImageMetric("modes", weights=reader)
    metric.update(images[:7])
    metric.update(torch.from_numpy(images[7:]))
    assert int(metric.compute()) == len(set(digits))
    with pytest.raises(InputError, match="modes takes images of 32x32 alone"):
        metric.update(images[:, :, ::2, ::2])


def test_the_record_of_the_weights_is_told(tmp_path: Path) -> None:
    state = random_state(parameter_shapes())
    write_weights(tmp_path / "bad.safetensors", state, {"held_out_error": 0.0731})
    assert any(
        "misreads 7.31% of held-out images" in warning for warning in Network(tmp_path / "bad.safetensors").warnings
    )
    for name, metadata in (("none", None), ("odd", {"growgan.digits": "[1"}), ("list", {"growgan.digits": "[1]"})):
        save_file(state, tmp_path / f"{name}.safetensors", metadata=metadata)
        network = Network(tmp_path / f"{name}.safetensors")
        assert network.protocol["training"] == {}
        assert "is not recorded" in network.warnings[-1]
    torch.save(state, tmp_path / "state.pth")
    assert Network(tmp_path / "state.pth").weights_digest == network.weights_digest


def test_training_is_decided_by_its_seed() -> None:
    classes = np.arange(20) % 10
    digits = Digits(glyphs(classes), classes)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr, index, call-overload]
    first, again, other = (train(digits, epochs=2, batch=8, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr, index, call-overload]
    assert {name: tuple(value.shape) for name, value in first.items()} == parameter_shapes()


def test_it_learns_what_it_was_not_shown(reader: Path) -> None:
    classes = np.arange(100) % 10
    unseen = Digits(glyphs(classes, seed=77), classes)
    weights = load_file(reader)
    assert error_rate(weights, unseen) <= 0.02
    assert error_rate(weights, Digits(unseen.planes, (classes + 1) % 10)) >= 0.98


def test_shifts() -> None:
    planes = glyphs(np.arange(10))
    moved = shifted(planes, np.random.default_rng(0), 2)
    for plane, found in zip(planes, moved, strict=True):
        padded = np.pad(plane, 2)
        windows = [padded[y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
        assert sum(np.array_equal(found, window) for window in windows) == 1
    assert not np.array_equal(planes, moved)


def test_held_out_images_are_not_shown() -> None:
    digits = Digits(np.zeros((61, 32, 32), np.uint8), np.arange(61))
    shown, kept = hold_out(digits, 0)
    assert (len(shown), len(kept)) == (51, 10)
    assert sorted([*shown.classes, *kept.classes]) == list(range(61))
    assert kept.classes.tolist() != list(range(10))


def test_train_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, test = write_glyphs(tmp_path / "shown.h5", 20), write_glyphs(tmp_path / "test.h5", 10, seed=9)
    record = train_file(shown, tmp_path / "a.safetensors", test=test, epochs=1, seed=3)
    assert (record["training_images"], record["held_out_images"], record["seed"]) == (20, 10, 3)
    assert record["training_set"] == open_digits(shown)[1] != record["held_out_set"] == open_digits(test)[1]
    network = Network(tmp_path / "a.safetensors")
    assert network.training_record == record
    assert json.loads(json.dumps(network.protocol)) == network.protocol
    assert error_rate(load_file(tmp_path / "a.safetensors"), open_digits(test)[0]) == record["held_out_error"]
    assert train_file(shown, tmp_path / "b.safetensors", epochs=1)["held_out_images"] == 3

    def fail(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    before = pyramids.listing(tmp_path)
    monkeypatch.setattr(digit_training, "error_rate", fail)
    with pytest.raises(KeyboardInterrupt):
        train_file(shown, tmp_path / "c.safetensors", epochs=1)
    assert pyramids.listing(tmp_path) == before


def test_sets_that_cannot_be_learned_from(tmp_path: Path) -> None:
    out, good = tmp_path / "out.safetensors", write_glyphs(tmp_path / "good.h5", 20)
    grey = glyphs(np.arange(20) % 10)[:, None].repeat(3, 1)
    classes = (np.arange(20) % 10).tolist()
    bad = {
        "has no classes; the digit network learns the ten": pyramids.write(tmp_path / "none.h5", grey),
        "has 7 classes": pyramids.write(tmp_path / "7.h5", grey, labels=(np.arange(20) % 7).tolist()),
        "holds coloured images": pyramids.write(tmp_path / "rgb.h5", pyramids.noise(20, 32), labels=classes),
        "32": pyramids.write(tmp_path / "16.h5", pyramids.noise(20, 16), labels=classes),
        "does not exist": tmp_path / "missing.h5",
    }
    for reason, path in bad.items():
        with pytest.raises(InputError, match=reason):
            train_file(path, out)
    with pytest.raises(InputError, match="give images that are not trained on"):
        train_file(good, out, test=good)
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        train_file(good, out)
    assert out.read_text() == "mine"
