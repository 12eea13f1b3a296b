"""Nearest real images of samples: equal to brute force, for pixels and for features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyramids
import pytest
import safetensors.torch
import torch

from datasets.errors import InputError
from datasets.levels import pyramid
from datasets.order import Order
from metrics import features
from metrics.images import ArrayImageSet
from training.neighbours import Nearest, Search, find_neighbours, open_reals, picture
from training.sample import cli

REALS = pyramids.noise(45, 16, seed=1)
REALS[31] = REALS[7]  # twice the same
SAMPLES = np.concatenate([pyramids.noise(3, 16, seed=2), REALS[[7]], 255 - REALS[[12]]])


def brute_force(queries: np.ndarray, points: np.ndarray, count: int, but: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rows, distances = [], []
    for query, own in zip(queries.astype(np.float64), but, strict=True):
        all_of = [(np.sqrt(np.sum((query - p) ** 2)), k) for k, p in enumerate(points.astype(np.float64)) if k != own]
        nearest = sorted(all_of)[:count]
        rows.append([k for _, k in nearest])
        distances.append([d for d, _ in nearest])
    return np.array(rows), np.array(distances)


@pytest.mark.parametrize("portion", [1, 7, 45])
def test_search_is_brute_force_in_any_portions(portion: int) -> None:
    queries, points = SAMPLES.reshape(5, -1), REALS.reshape(45, -1)
    but = [-1, -1, 4, -1, 12]
    search = Search(queries, 6, np.array(but))
    for start in range(0, 45, portion):
        rows = np.arange(start, min(start + portion, 45))
        search.add(rows, points[rows])
    rows, distances = brute_force(queries, points, 6, but)
    np.testing.assert_array_equal(search.found().rows, rows)
    np.testing.assert_array_equal(search.found().distances, distances)  # of pixels: exact
    assert rows[3, :2].tolist() == [7, 31]
    assert 12 not in search.found().rows[4]


@pytest.mark.parametrize("side", [None, 4])
def test_neighbours_by_pixels(side: int | None) -> None:
    done = []

    class Bar:
        def update(self, n: float) -> None:
            done.append(n)

    found = find_neighbours(SAMPLES, ArrayImageSet(REALS), 3, resolution=side, progress=Bar())
    points, queries = REALS, SAMPLES
    if side is not None:
        points, queries = pyramid(REALS)[2], pyramid(SAMPLES)[2]
    values = 3 * (side or 16) ** 2
    rows, distances = brute_force(queries.reshape(5, -1), points.reshape(45, -1), 3, [-1] * 5)
    np.testing.assert_array_equal(found.samples.rows, rows)
    np.testing.assert_allclose(found.samples.distances, distances / np.sqrt(values), rtol=1e-12)
    some = np.sort(Order(45, 0).rows(0, 5))
    rows, distances = brute_force(points[some].reshape(5, -1), points.reshape(45, -1), 3, some.tolist())
    np.testing.assert_array_equal(found.reals.rows, rows)
    np.testing.assert_allclose(found.reals.distances, distances / np.sqrt(values), rtol=1e-12)
    assert sum(done) == 45


def test_neighbours_by_features() -> None:
    found = find_neighbours(SAMPLES, ArrayImageSet(REALS), 4, by="random-projection")
    network = features.load("random-projection")()
    queries, points = (network(list(images)).pool.numpy() for images in (SAMPLES, REALS))
    rows, distances = brute_force(queries, points, 4, [-1] * 5)
    np.testing.assert_array_equal(found.samples.rows, rows)
    np.testing.assert_allclose(found.samples.distances, distances, atol=1e-6)
    assert found.samples.rows[3, :2].tolist() == [7, 31]


def test_weights_of_the_network(tmp_path: Path) -> None:
    reals = ArrayImageSet(REALS)
    shapes = features.load("random-projection")().shapes()
    generator = torch.Generator().manual_seed(3)
    own = tmp_path / "own.safetensors"
    safetensors.torch.save_file({k: torch.randn(s, generator=generator) / 8 for k, s in shapes.items()}, own)
    usual = find_neighbours(SAMPLES, reals, 4, by="random-projection")
    for text in (str(own), f"random-projection={own}"):
        found = find_neighbours(SAMPLES, reals, 4, by="random-projection", weights=[text])
        assert not np.allclose(found.samples.distances, usual.samples.distances)
    with pytest.raises(InputError, match="--weights needs --by and a network"):
        find_neighbours(SAMPLES, reals, 4, weights=[str(own)])
    with pytest.raises(InputError, match=r"--weights vgg16=.* is not of what is compared, --by random-projection"):
        find_neighbours(SAMPLES, reals, 4, by="random-projection", weights=[f"vgg16={own}"])
    assert any("--weights" in option.opts for option in cli.params)  # what the advice for missing weights names


def test_picture_shows_samples_left_and_neighbours_right() -> None:
    nearest = Nearest(np.array([[3, 9], [31, 0]]), np.zeros((2, 2)))
    found = picture(SAMPLES[:2], ArrayImageSet(REALS), nearest)
    assert found.shape == (32, 16 + 2 + 32, 3)
    np.testing.assert_array_equal(found[16:, :16], SAMPLES[1].transpose(1, 2, 0))
    assert found[:, 16:18].min() == 255
    np.testing.assert_array_equal(found[:16, 18:34], REALS[3].transpose(1, 2, 0))
    np.testing.assert_array_equal(found[16:, 34:], REALS[0].transpose(1, 2, 0))


def test_bad_input(tmp_path: Path) -> None:
    data = pyramids.write(tmp_path / "set.h5", REALS)
    assert open_reals(data, 16).resolution == 16
    assert open_reals(data, 8).resolution == 8
    with pytest.raises(InputError, match="has images of 16x16, the samples have 32x32"):
        open_reals(data, 32)
    with pytest.raises(InputError, match="does not exist"):
        open_reals(tmp_path / "nothing", 16)
    reals = ArrayImageSet(REALS)
    with pytest.raises(InputError, match="--nearest must be from 1 to 44, got 45"):
        find_neighbours(SAMPLES, reals, 45)
    with pytest.raises(InputError, match=r"--by inceptoin is unknown; choose pixels or a network: .*inception"):
        find_neighbours(SAMPLES, reals, 2, by="inceptoin")
    for by, side in (("pixels", 32), ("pixels", 5), ("random-projection", 8)):
        with pytest.raises(InputError, match="--compare-at"):
            find_neighbours(SAMPLES, reals, 2, by=by, resolution=side)
