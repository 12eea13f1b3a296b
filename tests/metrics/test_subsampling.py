"""Error bars by blocks of images: against the spread of repeated draws, and by how often equal generators differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metrics import subsampling
from metrics.comparison import compare
from metrics.scores import Plan, load
from metrics.subsampling import block_values, difference_error, errors_of, num_blocks, standard_errors

Features = NDArray[np.float32]


def measured(name: str, real: Features, fake: Features, **options: Any) -> dict[str, Any]:
    """Result of a metric on features, as far as a comparison looks at it."""
    count = len(fake)
    found = load(name)(Plan(count, {"real": len(real), "fake": count}), 0, seed=0, **options).measure(real, fake)
    return {"metric": name, "num_images": count, "seed": 0, "real": {"digest": "r"}, "fake": {}, "floor": {}, **found}


def curved(generator: np.random.Generator, count: int, spread: float = 1.0) -> Features:
    """Points of a bent surface of four dimensions in twelve."""
    mix = np.random.default_rng(99).standard_normal((4, 12))
    return np.tanh(spread * generator.standard_normal((count, 4)) @ mix).astype(np.float32)


def test_blocks_cover_every_image_once() -> None:
    seen: list[float] = []

    def measure(real: Features, fake: Features) -> Sequence[float]:
        seen.extend(real[:, 0].tolist())
        return len(real), len(fake)

    points = np.arange(42, dtype=np.float32)[:, None]
    values = block_values(points, points[:40], measure, least=2, seed=0)
    assert values is not None
    assert values.shape == (8, 4, 2)
    assert values.sum(axis=1).tolist() == [[42, 40]] * 8
    assert sorted(seen) == sorted(points[:, 0].tolist() * 8)
    assert (num_blocks(4000, 5), num_blocks(3999, 5), num_blocks(19, 5)) == (8, 4, 0)
    assert block_values(points[:19], points, measure, least=5, seed=0) is None
    assert errors_of(None, ["a", "b"]) == {"a": None, "b": None}


def test_error_of_a_mean_is_known() -> None:
    points = np.random.default_rng(0).normal(0, 3, (4000, 1)).astype(np.float32)
    values = block_values(points, points, lambda real, fake: [float(real.mean())], least=2, seed=1)
    assert values is not None
    assert standard_errors(values)[0] == pytest.approx(3 / 4000**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("name", "parts"), [("precision-recall", ("precision", "recall")), ("density-coverage", ("coverage", "density"))]
)
def test_errors_of_neighbours_are_the_spread_of_repeated_draws(name: str, parts: tuple[str, str]) -> None:
    """The binomial error, which takes manifolds as given, is a fifth to a third below these."""
    generator = np.random.default_rng(3)
    draws = [(curved(generator, 240), curved(generator, 240, 0.7)) for _ in range(40)]
    found = [measured(name, *pair) for pair in draws]
    for field in ("value", *parts):
        key = "standard_error" if field in ("value", "coverage") else f"{field}_error"
        errors = np.array([result[key] for result in found])
        assert np.sqrt(np.square(errors).mean()) == pytest.approx(np.std([r[field] for r in found]), rel=0.4), field


def test_error_of_prd_holds_the_draw_of_images() -> None:
    generator = np.random.default_rng(3)
    found = [measured("prd", curved(generator, 200), curved(generator, 200, 0.4), repeats=2) for _ in range(16)]
    for field, key in (("value", "standard_error"), ("f8", "f8_error"), ("f1_8", "f1_8_error")):
        ratio = np.sqrt(np.mean([r[key] ** 2 for r in found])) / np.std([r[field] for r in found])
        assert 0.6 < ratio < 2.2, field


@pytest.mark.parametrize("name", ["fid", "kid"])
def test_equal_generators_seldom_differ(name: str) -> None:
    """Two draws of one generator against the same reals: about 5 of 100 may differ, and a real difference shows."""
    generator = np.random.default_rng(5)
    options = {"kid": {"subsets": 4, "subset_size": 100}}.get(name, {})
    false, shown, trials = 0, 0, 60
    for _ in range(trials):
        real, first, second = (curved(generator, 200) for _ in range(3))
        shift = np.linspace(0, 0.4, 12, dtype=np.float32)
        a, b, c = (measured(name, real, x, **options) for x in (first + shift, second + shift, second + 1.3 * shift))
        false += "more than chance" in compare(a, b).verdict
        shown += "more than chance" in compare(a, c).verdict
    assert false <= 0.15 * trials  # binomial: 9 of 60 at 5% happen in 2 of 1000
    assert shown > 0.3 * trials


def test_replicates_that_do_not_fit() -> None:
    good = [[1.0, 2.0, 4.0]]
    assert difference_error(good, [[1.0, 3.0, 8.0]]) == (pytest.approx((13 / 3 / 3) ** 0.5), 2)
    for bad in (None, [[1.0, 2.0]], [1.0], "x", [[1.0], [2.0, 3.0]], [[1.0, 2.0, float("nan")]], {"a": 1}):
        assert difference_error(good, bad) is None
    eight = np.random.default_rng(0).normal(size=(8, 4))
    assert difference_error(eight.tolist(), np.zeros((8, 4)).tolist()) == (
        pytest.approx(float(standard_errors(eight[:, :, None])[0])),
        12,
    )
    assert subsampling.grouped(np.arange(5.0), 2).tolist() == [1.0, 3.5]
