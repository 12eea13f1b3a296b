"""Nearest neighbours against all distances in float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from metrics import neighbours


@pytest.mark.parametrize("offset", [0, 1000])  # far from the origin float32 products lose their digits
def test_against_all_distances(monkeypatch: pytest.MonkeyPatch, offset: float) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((50, 7)) + offset).astype(np.float32)
    y = (generator.standard_normal((41, 7)) + offset).astype(np.float32)
    own = cdist(x.astype(float), x.astype(float))
    for k in (1, 3, 49):
        expected = np.sort(own, axis=1)[:, k]
        assert neighbours.radii(x, k) == pytest.approx(expected, rel=1e-12)
    radius = np.sort(own, axis=1)[:, 3]
    inside = cdist(y.astype(float), x.astype(float)) <= radius
    found = neighbours.membership(y, x, radius, rim=True)
    np.testing.assert_array_equal(found.balls_of_point, inside.sum(axis=1))
    np.testing.assert_array_equal(found.points_of_ball, inside.sum(axis=0))


def test_ties_on_a_lattice() -> None:
    """Every distance is shared by many, and exact: the rim decides."""
    lattice = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3).astype(np.float32) * 0.125
    radius = neighbours.radii(lattice, 3)
    exact = cdist(lattice.astype(float), lattice.astype(float))
    assert radius == pytest.approx(np.sort(exact, axis=1)[:, 3], rel=1e-12)
    on_rim = neighbours.membership(lattice, lattice, radius, rim=True).points_of_ball
    within = neighbours.membership(lattice, lattice, radius, rim=False).points_of_ball
    np.testing.assert_array_equal(on_rim, (exact <= radius).sum(axis=1))
    np.testing.assert_array_equal(within, (exact < radius).sum(axis=1))
    assert (on_rim > within).all()


def test_points_equal_to_others() -> None:
    x = np.repeat(np.arange(5, dtype=np.float32)[:, None], 3, axis=0)
    assert neighbours.radii(x, 2).tolist() == [0] * 15
    assert neighbours.radii(x, 3).tolist() == [1] * 15
