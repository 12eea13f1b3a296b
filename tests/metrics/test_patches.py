"""Where patches lie, what is cut, and the statistics of a set."""

from __future__ import annotations

import errno
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.laplacian import laplacian_pyramid
from metrics.patches import Draws, PatchSet, Side, bytes_per_image, cut_patches, unit_length
from metrics.projections import sliced_wasserstein


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    first=st.integers(0, 1000),
    count=st.integers(1, 9),
    patches=st.sampled_from([1, 3, 128]),
)
def test_places_of_an_image_depend_on_its_number_alone(seed: int, first: int, count: int, patches: int) -> None:
    draws = Draws(seed)
    together = draws.positions("fake", 32, first, count, patches, 7)
    one_by_one = [draws.positions("fake", 32, first + k, 1, patches, 7)[0] for k in range(count)]
    np.testing.assert_array_equal(together, one_by_one)


def test_places_differ_by_seed_side_level_and_image() -> None:
    def places(seed: int = 0, side: str = "real", resolution: int = 64, image: int = 0) -> bytes:
        return (Draws(seed).positions(side, resolution, image, 1, 128, 7) / (resolution - 6)).tobytes()  # type: ignore[arg-type]

    variants = [places(), places(seed=1), places(side="fake"), places(resolution=32), places(image=1)]
    assert len(set(variants)) == 5


def test_places_are_uniform_and_reach_every_edge() -> None:
    places = Draws(0).positions("real", 16, 0, 400, 128, 7)
    rows, columns = places.reshape(-1, 2).T
    counts = np.histogram2d(rows, columns, bins=[np.arange(11), np.arange(11)])[0]
    assert counts.sum() == 400 * 128  # all within 0..9
    expected = 512
    # Chi-squared with 99 degrees of freedom: below 149 in 999 of 1000 cases; the draw is fixed by its seed.
    assert ((counts - expected) ** 2 / expected).sum() < 149


def spread(values: NDArray[np.float64], expected: NDArray[np.float64] | float) -> float:
    """Deviations by which the squared deviations of counts lie above what chance makes of them (chi-squared)."""
    return float((((values - expected) ** 2 / expected).sum() - values.size + 1) / np.sqrt(2 * (values.size - 1)))


@pytest.mark.parametrize("side", [64, 128])
def test_places_are_uniform_in_every_image_and_independent(side: int) -> None:
    """All bounds are 4 standard deviations of chance; the draws are fixed by their seeds.

    A range one place short, patches of an image that share a shift, and places that images, sets, levels or seeds have
    in common all show.
    """
    count, patches, places = 512, 128, side - 6
    drawn = {
        "real": Draws(11).positions("real", side, 0, count, patches, 7),
        "fake": Draws(11).positions("fake", side, 0, count, patches, 7),
        "next seed": Draws(12).positions("real", side, 0, count, patches, 7),
    }
    for found in drawn.values():
        for axis in (0, 1):
            counts = np.bincount(found[..., axis].ravel(), minlength=places)
            assert len(counts) == places
            assert abs(spread(counts.astype(float), count * patches / places)) < 4
        for image in found:
            assert abs(image.mean(axis=0) - (places - 1) / 2).max() < 5 * places / np.sqrt(12 * patches)
        squares = (found.mean(axis=1) - (places - 1) / 2) ** 2 / ((places**2 - 1) / 12 / patches)
        assert abs(squares.sum() - squares.size) < 4 * np.sqrt(2 * squares.size)
    real, fake, other = drawn.values()
    pairs = [
        (real, fake),
        (real, other),
        (real[1:], real[:-1]),
        (real[:, 1:], real[:, :-1]),
        (real[:, patches // 2 :], real[:, : patches // 2]),
        (real, real[..., ::-1]),
    ]
    for a, b in pairs:
        for u, v in ((a[..., 0], b[..., 0]), (a[..., 1], b[..., 1]), (a[..., 0], b[..., 1])):
            if not np.array_equal(u, v):
                assert abs(np.corrcoef(u.ravel(), v.ravel())[0, 1]) < 4 / np.sqrt(u.size)
    for a, b in pairs[:-1]:
        same, expected = (a == b).all(axis=-1).sum(), a.size / 2 / places**2
        assert abs(same - expected) < 4 * np.sqrt(expected) + 1


def test_values_are_those_of_a_plain_generator(scenes: Callable[..., NDArray[np.uint8]]) -> None:
    """Mean over many seeds, of ours and of places and directions drawn in the most ordinary way."""

    class PlainDraws(Draws):
        def positions(self, side: Side, resolution: int, *rest: int) -> NDArray[np.int64]:
            _, count, patches, patch_size = rest
            generator = np.random.default_rng((self.seed, side == "fake"))
            return generator.integers(0, resolution - patch_size, (count, patches, 2), endpoint=True)

        def directions(self, resolution: int, repeat: int, count: int, dimensions: int) -> NDArray[np.float32]:
            generator = np.random.default_rng((self.seed, 2))
            return unit_length(np.array([generator.normal(size=dimensions) for _ in range(count)]))

    def value(draws: Draws) -> float:
        parts = []
        for side, seed in (("real", 0), ("fake", 1)):
            patch_set = PatchSet(side, 6, 64, draws, patches=64, coarsest=64)  # type: ignore[arg-type]
            patch_set.update(scenes(6, 64, seed=seed), 0)
            parts.append(patch_set.descriptors(0, 0, 6))
        return sliced_wasserstein(*parts, draws.directions(64, 0, 32, 147))

    ours, plain = (np.array([value(kind(seed)) for seed in range(60)]) for kind in (Draws, PlainDraws))
    error = np.sqrt((ours.var(ddof=1) + plain.var(ddof=1)) / 60)
    assert error < 0.03 * plain.mean()
    assert abs(ours.mean() - plain.mean()) < 3 * error


def test_directions_are_uniform_on_the_sphere() -> None:
    """Second and fourth moments are those of the sphere: 1 / d and 3 / (d (d + 2)); no two directions are alike."""
    directions = np.concatenate([Draws(5).directions(64, repeat, 128, 147) for repeat in range(16)]).astype(np.float64)
    count, size = directions.shape
    covariance = directions.T @ directions * size / count
    beside = covariance[np.triu_indices(size, 1)]
    assert np.abs(beside).max() < 5.5 / np.sqrt(count)
    assert beside.std() == pytest.approx(1 / np.sqrt(count), rel=0.05)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=5 * np.sqrt(2 / count))
    assert (directions**4).mean() == pytest.approx(3 / (size * (size + 2)), rel=0.02)  # a cube gives 9 / 5, not 3
    products = (directions @ directions.T)[np.triu_indices(count, 1)]
    assert products.std() == pytest.approx(1 / np.sqrt(size), rel=0.01)
    assert np.abs(products).max() < 7 / np.sqrt(size)


def test_directions_are_unit_vectors_without_a_preference() -> None:
    directions = np.concatenate([Draws(3).directions(32, repeat, 128, 147) for repeat in range(8)])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert len(np.unique(directions[:, 0])) == 1024
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.011)  # deviation 1 / sqrt(147 * 1024) = 0.0026
    assert directions.dtype == np.float32
    assert (Draws(3).directions(16, 0, 128, 147) != directions[:128]).any()


def test_cut_patches() -> None:
    band = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    cut = cut_patches(band, np.array([[0, 1], [5, 2]]), 3)
    np.testing.assert_array_equal(cut[0], band[:, 0:3, 1:4])
    np.testing.assert_array_equal(cut[1], band[:, 5:8, 2:5])


@pytest.mark.parametrize("in_memory", [True, False])
def test_statistics_are_those_of_the_part(scenes: Callable[..., NDArray[np.uint8]], in_memory: bool) -> None:
    images = scenes(5, 32)
    patch_set = PatchSet("real", 5, 32, Draws(1), patches=16, in_memory=in_memory)
    patch_set.update(images[:2], 0)
    patch_set.update(images[2:], 2)
    for band, side in enumerate((32, 16)):
        places = Draws(1).positions("real", side, 0, 5, 16, 7)
        cut = [cut_patches(laplacian_pyramid(image)[band], at, 7) for image, at in zip(images, places, strict=True)]
        part = np.concatenate(cut[1:4])
        found = patch_set.descriptors(band, 1, 4)
        np.testing.assert_array_equal(found.patches, part.reshape(48, 147))
        np.testing.assert_allclose(found.mean, part.mean(axis=(0, 2, 3), dtype=np.float64), atol=1e-9)
        np.testing.assert_allclose(found.deviation, part.std(axis=(0, 2, 3), dtype=np.float64), rtol=1e-9)


def test_merge(scenes: Callable[..., NDArray[np.uint8]]) -> None:
    images = scenes(4, 32)
    whole, even, odd = (PatchSet("fake", 4, 32, Draws(0), patches=8) for _ in range(3))
    whole.update(images, 0)
    for k in range(4):
        (even, odd)[k % 2].update(images[k : k + 1], k)
    for piece in odd.pieces():
        even.take(piece)
    for band in range(2):
        merged, expected = even.descriptors(band, 0, 4), whole.descriptors(band, 0, 4)
        np.testing.assert_array_equal(merged.patches, expected.patches)
        np.testing.assert_array_equal(merged.mean, expected.mean)


def test_room() -> None:
    assert bytes_per_image(1024) == 7 * 128 * 147 * 4  # 527 kB; 16384 of them take 8.6 GB


def test_no_room_for_the_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(InputError, match=r"no room for 0.7 GiB of patches in .*set TMPDIR"):
        PatchSet("real", 10000, 16, Draws(0), in_memory=False)
