"""Resize modes against plain statements of their rules, and against what separates one from another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import resize as oracle

from datasets.errors import InputError
from metrics.resize import as_images, check_mode, names, resize, stacks_of_one_size

SIZE = 13
SHAPES = [(5, 9), (13, 13), (26, 26), (31, 17), (1, 1), (2, 40)]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (2, 3, height, width), np.uint8)


def ours(images: NDArray[np.uint8], mode: str, size: int = SIZE) -> NDArray[np.float32]:
    return resize(torch.from_numpy(images), size, mode).numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_tf1_is_the_rule_to_the_bit(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    for image, found in zip(images, ours(images, "tf1"), strict=True):
        np.testing.assert_array_equal(found, oracle.tf1(image, SIZE))


@pytest.mark.parametrize("shape", SHAPES)
def test_torch_has_pixel_centres_at_halves(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    for image, found in zip(images, ours(images, "torch"), strict=True):
        np.testing.assert_allclose(found, oracle.half_pixel(image, SIZE), atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_is_antialiased_bicubic_of_floats(shape: tuple[int, int]) -> None:
    images = noise(*shape)
    for image, found in zip(images, ours(images, "clean"), strict=True):
        np.testing.assert_allclose(found, oracle.bicubic_antialiased(image, SIZE), atol=1e-4)


def test_clean_is_limited_and_not_rounded() -> None:
    edge = np.zeros((1, 3, 8, 8), np.uint8)
    edge[..., 4:] = 255  # bicubic overshoots at edges
    found = ours(edge, "clean", 29)
    assert found.min() == 0
    assert found.max() == 255
    assert (found % 1 != 0).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 600), st.integers(1, 300))
def test_tf1_starts_at_the_first_pixel_and_stays_inside(length: int, size: int) -> None:
    """Its samples are at k * length / size: never beyond the last pixel, and the first is the first pixel itself."""
    ramp = torch.arange(length).remainder(256).to(torch.uint8).expand(1, 3, 1, length)
    found = resize(ramp, size, "tf1")[0, 0, 0]
    assert found[0] == 0
    assert found.min() >= 0
    assert found.max() <= ramp.max()


@pytest.mark.parametrize("mode", names())
def test_what_every_mode_keeps(mode: str) -> None:
    grey = np.full((1, 3, 40, 20), 77, np.uint8)
    np.testing.assert_allclose(ours(grey, mode), 77, atol=1e-4)
    same = noise(SIZE, SIZE)
    np.testing.assert_allclose(ours(same, mode), same, atol=1e-4)
    images = noise(50, 30)
    found = ours(images, mode)
    assert found.dtype == np.float32
    assert found.shape == (2, 3, SIZE, SIZE)
    np.testing.assert_array_equal(found[1:], ours(images[1:], mode))  # each image by itself


def test_modes_differ() -> None:
    images = noise(26, 26)
    found = [ours(images, mode) for mode in names()]
    assert all(np.abs(found[a] - found[b]).mean() > 1 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_unknown_mode() -> None:
    with pytest.raises(InputError, match="no resize mode called lanczos; choose from tf1, torch, clean"):
        check_mode("lanczos")


def test_images_are_taken_one_by_one() -> None:
    images = noise(4, 6)
    assert [tuple(image.shape) for image in as_images(images)] == [(3, 4, 6)] * 2
    mixed = [images[0], torch.from_numpy(noise(5, 5)[0]), noise(5, 5)[1]]
    assert [tuple(stack.shape) for stack in stacks_of_one_size(as_images(mixed))] == [(1, 3, 4, 6), (2, 3, 5, 5)]
    images.flags.writeable = False
    assert torch.equal(as_images(images)[1], torch.tensor(images[1]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), "must be uint8 in 0..255, got float32; turn x in"),
        (torch.zeros(2, 3, 8, 8), "must be uint8 in 0..255, got float32"),
        (np.zeros((2, 1, 8, 8), np.uint8), r"RGB of shape \(3, height, width\) each, got \(1, 8, 8\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got \(8, 8, 3\); move the channels to the front"),
        (np.zeros((3, 8, 8), np.uint8), r"got \(8, 8\)"),
        (np.zeros((2, 3, 0, 8), np.uint8), r"got \(3, 0, 8\)"),
        (np.zeros((0, 3, 8, 8), np.uint8), "there are no images"),
        ([], "there are no images"),
    ],
)
def test_wrong_images_are_refused(images: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_images(images)
