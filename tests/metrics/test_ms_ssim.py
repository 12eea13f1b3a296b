"""MS-SSIM against golden values, a slow oracle and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import ms_ssim as oracle

from datasets.errors import InputError
from metrics.scores import Plan
from metrics.scores.ms_ssim import Score, ms_ssim, window

Images = NDArray[np.uint8]


# Measured by whoever wrote reference/metrics.md section 10 with the rule of the original program, printed there with
# six decimals. The program's own float32 arithmetic limits the agreement.
# The second values are those of pytorch-msssim.
@pytest.mark.parametrize(
    ("sigma", "joint", "separate"),
    [(5, 0.982888, 0.982858), (20, 0.848947, 0.847484), (50, 0.625118, 0.620047)],
)
def test_values_of_both_rules(sigma: float, joint: float, separate: float) -> None:
    y, x = np.mgrid[0:256, 0:256]
    red = 127.5 + 100 * np.sin(x / 17) * np.cos(y / 23)
    green = 127.5 + 90 * np.cos((x + y) / 31)
    base = np.stack([red, green, x ^ y])
    noise = np.random.RandomState(0).randn(3, 256, 256)
    distorted = np.clip(base + sigma * noise, 0, 255)
    for channels, expected in (("joint", joint), ("separate", separate)):
        (found,) = ms_ssim(base.astype(np.float32)[None], distorted.astype(np.float32)[None], channels)
        # pytorch-msssim takes E(x^2) - E(x)^2 in float32 of uncentred values, which costs it digits.
        assert found == pytest.approx(expected, abs=2e-6 if channels == "joint" else 4e-6)


@pytest.mark.parametrize("side", [16, 48, 64])
def test_agrees_with_the_oracle(side: int, scenes: Callable[..., Images]) -> None:
    a, b = scenes(2, side, seed=0), scenes(2, side, seed=1)
    b[1] = np.clip(a[1] + np.random.RandomState(0).randint(-20, 21, a[1].shape), 0, 255)
    expected = [oracle.ms_ssim(x, y) for x, y in zip(a, b, strict=True)]
    assert expected[0] != pytest.approx(expected[1], abs=0.1)
    assert ms_ssim(a, b) == pytest.approx(expected, abs=3e-6)


def test_equal_images_and_symmetry(scenes: Callable[..., Images]) -> None:
    a, b = scenes(4, 32, seed=0), scenes(4, 32, seed=1)
    np.testing.assert_allclose(ms_ssim(a, a), 1, rtol=1e-12)
    np.testing.assert_allclose(ms_ssim(a, b), ms_ssim(b, a), rtol=1e-6)


def test_flat_images_differ_in_luminance_alone() -> None:
    a, b = np.full((2, 1, 3, 32, 32), 0, np.uint8)
    a[:], b[:] = 60, 180
    luminance = (2 * 60 * 180 + 2.55**2) / (60**2 + 180**2 + 2.55**2)
    assert ms_ssim(a, b) == pytest.approx([luminance**0.1333], rel=1e-6)


def test_opposite_images_give_zero_not_nan() -> None:
    a = np.random.RandomState(0).randint(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    np.testing.assert_array_equal(ms_ssim(a, 255 - a), 0)


def test_all_channels_are_in_one_average(scenes: Callable[..., Images]) -> None:
    """An opposite channel lowers the average; with a product per channel it would only lose its own share."""
    a = np.random.RandomState(0).randint(0, 256, (1, 3, 32, 32)).astype(np.uint8)
    b = a.copy()
    b[:, 0] = 255 - a[:, 0]
    (found,) = ms_ssim(a, b)
    assert found == pytest.approx(oracle.ms_ssim(a[0], b[0]), abs=1e-5)
    assert found < 0.5


def test_window_shrinks_with_the_image() -> None:
    assert window(64).shape == window(11).shape == (11,)
    eight = window(8)
    np.testing.assert_allclose(np.outer(eight, eight), oracle.gaussian_window(8), atol=1e-7)
    assert eight[3] == eight[4] > eight[2]
    np.testing.assert_array_equal(window(1), [1])


@pytest.mark.parametrize("side", [8, 15, 24, 40])
def test_sides_that_cannot_be_halved_four_times(side: int) -> None:
    with pytest.raises(InputError, match=f"must be 16, 32, 48, .* not {side}"):
        Score.plan({"fake": 10}, side, None)
    images = np.zeros((1, 3, side, side), np.uint8)
    with pytest.raises(InputError, match="four times"):
        ms_ssim(images, images)


def test_value_is_the_mean_over_adjacent_pairs(scenes: Callable[..., Images]) -> None:
    images = scenes(6, 32)
    score = Score(Plan(6, {"fake": 6}), 32, seed=0)
    score.update("fake", images, 0)
    result = score.compute()
    pairs = [oracle.ms_ssim(images[k], images[k + 1]) for k in (0, 2, 4)]
    assert result["value"] == pytest.approx(np.mean(pairs), abs=2e-5)
    assert result["standard_error"] == pytest.approx(np.std(pairs, ddof=1) / 3**0.5, abs=2e-5)
    assert result["num_pairs"] == 3


@pytest.mark.parametrize("sizes", [[1] * 8, [3, 5], [8]])
def test_pairs_may_be_torn_between_batches(sizes: list[int], scenes: Callable[..., Images]) -> None:
    images = scenes(8, 32)
    score, whole = (Score(Plan(8, {"fake": 8}), 32, seed=0) for _ in range(2))
    first = 0
    for size in sizes:
        score.update("fake", images[first : first + size], first)
        first += size
    whole.update("fake", images, 0)
    assert score.compute()["value"] == pytest.approx(whole.compute()["value"], rel=1e-6)


def test_pairs_may_be_torn_between_ranks(scenes: Callable[..., Images]) -> None:
    images = scenes(8, 32)
    first, second, whole = (Score(Plan(8, {"fake": 8}), 32, seed=0) for _ in range(3))
    first.update("fake", images[:3], 0)
    second.update("fake", images[3:], 3)
    whole.update("fake", images, 0)
    with pytest.raises(ValueError, match="3 of 4 pairs were never given"):
        first.compute()
    first.merge(second)
    assert first.compute()["value"] == pytest.approx(whole.compute()["value"], rel=1e-6)


def test_variety_lowers_the_value(scenes: Callable[..., Images]) -> None:
    """A collapsed generator, whose images are nearly all alike, must score higher than a varied one."""

    def value(images: Images) -> float:
        score = Score(Plan(16, {"fake": 16}), 32, seed=0)
        score.update("fake", images, 0)
        found: float = score.compute()["value"]
        return found

    varied = scenes(16, 32)
    collapsed = np.clip(varied[:1] + np.random.RandomState(0).randint(-3, 4, (16, 3, 32, 32)), 0, 255).astype(np.uint8)
    assert value(collapsed) > 0.9 > 0.7 > value(varied)


@pytest.mark.parametrize(
    ("have", "asked", "expected"),
    [(30000, None, 20000), (101, None, 100), (None, None, 20000), (50, 21, 20), (None, 8, 8)],
)
def test_number_of_images(have: int | None, asked: int | None, expected: int) -> None:
    plan = Score.plan({"fake": have}, 32, asked)
    assert plan.num_images == plan.wanted["fake"] == expected
    assert bool(plan.warnings) == (expected < 20000)


@pytest.mark.parametrize(
    ("have", "asked", "message"), [(1, None, "two images or more, got 1"), (9, 1, "got 1"), (9, 10, "more than the 9")]
)
def test_too_few_images(have: int, asked: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Score.plan({"fake": have}, 32, asked)
