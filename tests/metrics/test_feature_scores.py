"""Metrics on features against published golden values, closed forms, and slow statements of the papers.

The golden values are of X = RandomState(0).randn(2000, 64) as real and Y = RandomState(1).randn(2000, 64) * 1.1 + 0.1
as generated features, both float32, computed with torch-fidelity 0.4.0, pytorch-fid 0.3.0, prdc and the PRD code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from metrics.gaussian import Gaussian
from metrics.scores import Plan, density_coverage, fid, fid_infinity, inception_score, kid, mind, prd
from metrics.scores import precision_recall as pr

Features = NDArray[np.float32]


PRDC_OF_CLOUDS = (0.635, 0.558, 1.1506, 0.979)  # precision, recall, density, coverage by prdc 0.2, k = 5


@pytest.fixture(scope="module")
def real() -> Features:
    return np.random.RandomState(0).randn(2000, 64).astype(np.float32)


@pytest.fixture(scope="module")
def fake() -> Features:
    return (np.random.RandomState(1).randn(2000, 64) * 1.1 + 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def logits() -> Features:
    return (np.random.RandomState(2).randn(5000, 1008) * 2).astype(np.float32)


class TestFid:
    def test_golden(self, real: Features, fake: Features) -> None:
        """pytorch-fid and torch-fidelity say 2.5372191786608 with float32 means, 2.5372191816 with float64 ones."""
        distance = fid.frechet_distance(Gaussian.fit(real), Gaussian.fit(fake))
        assert distance == pytest.approx(2.5372191816, abs=1e-10)

    def test_golden_of_torch_fidelity(self, real: Features, fake: Features) -> None:
        """Its float32 means move the value by 3e-9; summed in another order they move it by up to 6e-8."""
        assert fid.fid(real, fake) == pytest.approx(2.5372191786608, abs=4e-9)

    def test_population_covariance_gives_nvidia_value(self, real: Features, fake: Features) -> None:
        fits = [Gaussian.fit(features) for features in (real, fake)]
        population = [Gaussian(fit.mean, fit.covariance * 1999 / 2000) for fit in fits]
        assert fid.frechet_distance(*population) == pytest.approx(2.5363190656650, abs=5e-9)

    def test_equals_the_matrix_square_root(self, real: Features, fake: Features) -> None:
        x, y = real[:300, :20].astype(np.float64), fake[:500, :20].astype(np.float64)
        root = scipy.linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
        expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
        found = fid.frechet_distance(Gaussian.fit(real[:300, :20]), Gaussian.fit(fake[:500, :20]))
        assert found == pytest.approx(expected, rel=1e-9)

    def test_closed_form_of_commuting_covariances(self) -> None:
        a = Gaussian(np.array([1.0, 2, 3]), np.diag([4.0, 1, 9]))
        b = Gaussian(np.array([1.0, 0, 0]), np.diag([1.0, 16, 9]))
        assert fid.frechet_distance(a, b) == pytest.approx(4 + 9 + 1 + 9 + 0)

    def test_fewer_images_than_features_give_a_real_finite_value(self, real: Features, fake: Features) -> None:
        x, y = real[:30].astype(np.float64), fake[:40].astype(np.float64)
        found = fid.frechet(Gaussian.fit(real[:30]), Gaussian.fit(fake[:40]))
        # Tr sqrt(S_r S_g) is the sum of the singular values of A^T B with S_r = A A^T, S_g = B B^T.
        a, b = ((z - z.mean(0)).T / (len(z) - 1) ** 0.5 for z in (x, y))
        nuclear = np.linalg.svd(a.T @ b, compute_uv=False).sum()
        expected = np.square(x.mean(0) - y.mean(0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * nuclear
        assert found.distance == pytest.approx(expected, rel=1e-6)
        assert np.isfinite(found.transport).all()

    def test_note_on_the_rank_has_the_width_of_the_features(self) -> None:
        for size, thin in ((6, True), (5, True), (4, False)):
            x, y = np.random.default_rng(0).standard_normal((2, 5, size)).astype(np.float32)
            warnings = fid.Score(Plan(5, {"real": 5, "fake": 5}), 0, seed=0).measure(x, y)["warnings"]
            assert warnings == [f"more images than the {size} features are needed for a covariance of full rank"] * thin

    def test_bias_of_two_equal_distributions(self) -> None:
        """Reference: about 2200 / n for d = 64."""
        generator = np.random.default_rng(5)
        sets = [generator.standard_normal((2, 1000, 64)).astype(np.float32) for _ in range(3)]
        values = [fid.frechet_distance(*map(Gaussian.fit, pair)) for pair in sets]
        assert np.mean(values) == pytest.approx(2200 / 1000, rel=0.1)

    def test_bias_of_two_equal_distributions_of_more_features(self) -> None:
        """Reference: 33.5 for d = 256 and n = 1000."""
        x, y = np.random.default_rng(5).standard_normal((2, 1000, 256)).astype(np.float32)
        assert fid.fid(x, y) == pytest.approx(33.5, rel=0.03)

    def test_standard_error_is_the_spread_of_repeated_draws(self) -> None:
        generator = np.random.default_rng(0)
        mix = generator.standard_normal((6, 6)) / 2
        values, errors = [], []
        for _ in range(200):
            x = generator.standard_normal((400, 6)).astype(np.float32)
            y = (generator.standard_normal((300, 6)) @ mix + 0.5).astype(np.float32)
            fits = Gaussian.fit(x), Gaussian.fit(y)
            found = fid.frechet(*fits)
            values.append(found.distance)
            errors.append(fid.standard_error((x, y), fits, found))
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)  # 200 draws know a spread to 5%

    def test_extrapolation_removes_the_bias(self) -> None:
        counts = fid_infinity.sizes(2000, 15)
        assert (counts[0], counts[-1], len(counts)) == (200, 2000, 15)
        value, error = fid_infinity.extrapolate(counts, 7 + 500 / counts)
        assert value == pytest.approx(7)
        assert error == pytest.approx(0, abs=1e-9)
        generator = np.random.default_rng(1)
        noise = generator.normal(0, 0.3, (400, 15))
        found = [fid_infinity.extrapolate(counts, 7 + 500 / counts + some) for some in noise]
        assert np.mean([error for _, error in found]) == pytest.approx(np.std([value for value, _ in found]), rel=0.15)


Numbers = NDArray[np.float64]


@pytest.fixture
def subset_values(real: Features, fake: Features, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Numbers]:
    """Values of the 100 x 1000 subsets that the function under test draws, by sums over tables of the kernel.

    A table holds all pairs, and one product with the subsets as columns of zeros and ones gives all sums: a hundred
    times as fast as `kid.squared_mmd`, which is proven below.
    """

    def values(kernel: kid.Kernel, seed: int, *, fakes_first: bool = False) -> Numbers:
        x, y = (features.astype(np.float64) for features in ((fake, real) if fakes_first else (real, fake)))
        monkeypatch.setattr(kid, "squared_mmd", lambda one, other, kernel: (one[:, 0], other[:, 0]))
        numbers = np.arange(2000, dtype=np.float32)[:, None]
        drawn = kid.subset_values(numbers, numbers, subsets=100, size=1000, seed=seed).astype(int)
        chosen = np.zeros((2, 2000, 100))
        for k, sides in enumerate(drawn):
            for side, rows in enumerate(sides):
                chosen[side, rows, k] = 1
        assert (chosen.sum(axis=1) == 1000).all()

        def sums(table: Numbers, left: Numbers, right: Numbers) -> Numbers:
            return np.asarray(np.einsum("ik,ik->k", left, table @ right))

        within = np.zeros(100)
        for points, columns in ((x, chosen[0]), (y, chosen[1])):
            table = kernel(points, points)
            np.fill_diagonal(table, 0)
            within += sums(table, columns, columns) / (1000 * 999)
        return np.asarray(within - 2 * sums(kernel(x, y), chosen[0], chosen[1]) / 1000**2)

    return values


class TestKid:
    def test_golden_subsets(self, subset_values: Callable[..., Numbers]) -> None:
        values = subset_values(kid.polynomial, 2020)
        assert values.mean() == pytest.approx(0.034431793670, abs=1e-11)
        assert values.std() == pytest.approx(0.003129110550, abs=1e-11)
        # torch-fidelity evaluates the kernel in float32, which moves both by about 1e-6 of themselves
        assert values.mean() == pytest.approx(0.034431838989, rel=1.4e-6)
        assert values.std() == pytest.approx(0.003129112994, rel=1.4e-6)

    def test_golden_gaussian_kernel(self, subset_values: Callable[..., Numbers]) -> None:
        values = subset_values(kid.gaussian, 2020)
        assert values.mean() == pytest.approx(0.005454582, abs=1e-9)
        assert values.std() == pytest.approx(0.000317121, abs=1e-9)

    def test_golden_of_nvidia_draws_fakes_first(self, subset_values: Callable[..., Numbers]) -> None:
        values = subset_values(kid.polynomial, 0, fakes_first=True)
        assert values.mean() == pytest.approx(0.0346132, abs=1e-7)

    def test_golden_full_set(self, real: Features, fake: Features) -> None:
        assert kid.squared_mmd(real, fake) == pytest.approx(0.03472054381271983, abs=1e-14)

    def test_option_chooses_the_kernel(self, real: Features, fake: Features) -> None:
        found = []
        for kernel in ("poly", "rbf"):
            score = kid.Score(Plan(60, {"real": 60, "fake": 60}), 0, seed=1, subsets=3, kernel=kernel)
            found.append(score.measure(real[:60], fake[:60])["value"])
        assert found[0] == pytest.approx(kid.kid(real[:60], fake[:60], subsets=3, seed=1))
        assert found[1] == pytest.approx(kid.kid(real[:60], fake[:60], subsets=3, seed=1, kernel=kid.gaussian))
        assert found[0] != found[1]

    def test_formula_pair_by_pair(self, real: Features, fake: Features) -> None:
        x, y = real[:7, :5].astype(float), fake[:9, :5].astype(float)

        def k(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
            return float((a @ b / 5 + 1) ** 3)

        expected = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
        expected += sum(k(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / 72
        expected -= 2 * sum(k(a, b) for a in x for b in y) / 63
        assert kid.squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)

    def test_note_names_the_size_of_the_subsets(self, real: Features, fake: Features) -> None:
        for options, expected in (({}, "60 images"), ({"subset_size": 7}, "7 images")):
            score = kid.Score(Plan(60, {"real": 60, "fake": 60}), 0, seed=1, subsets=2, **options)
            assert score.measure(real[:60], fake[:60])["warnings"] == [
                f"subsets are of {expected}; the protocol has 1000"
            ]
        score = kid.Score(Plan(1000, {"real": 1000, "fake": 1000}), 0, seed=1, subsets=1)
        assert score.measure(real[:1000, :3], fake[:1000, :3])["warnings"] == []


class TestMind:
    def test_golden(self, real: Features, fake: Features) -> None:
        """torch-fidelity sorts and subtracts in float32: 4.577881693840027."""
        assert mind.mind(real, fake, seed=2020) == pytest.approx(4.577881693840027, rel=1e-6)

    def test_shift_along_one_axis(self) -> None:
        """Every direction moves its projections by its own component: squares of these have mean 1 / d."""
        points = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
        moved = points + np.array([0, 0, 2, 0, 0], np.float32)
        components = mind.directions(1000, 5, 0)[:, 2].astype(np.float64)
        assert mind.mind(points, moved) == pytest.approx(3 * 5 * np.mean((2 * components) ** 2), rel=1e-4)
        assert mind.mind(points, moved, projections=70) != mind.mind(points, moved)

    def test_definition(self, real: Features, fake: Features) -> None:
        vectors = mind.directions(60, 64, 3)
        expected = np.mean([np.square(np.sort(real @ v) - np.sort(fake @ v)).mean() for v in vectors])
        assert mind.mind(real, fake, projections=60, seed=3) == pytest.approx(3 * 64 * expected, rel=1e-5)


class TestInceptionScore:
    def test_golden(self, logits: Features) -> None:
        scores = inception_score.split_scores(logits, 10)
        assert (scores.mean(), scores.std()) == pytest.approx((6.5043725642, 0.1084427195), abs=1e-9)
        shuffled = inception_score.split_scores(logits[np.random.RandomState(2020).permutation(5000)], 10)
        assert (shuffled.mean(), shuffled.std()) == pytest.approx((6.5014201109, 0.0620090489), abs=1e-9)
        assert inception_score.inception_score(logits) == pytest.approx(6.5043725642, abs=1e-9)  # ten splits by default
        assert inception_score.split_scores(logits, 1) == pytest.approx([6.6531159811], abs=1e-9)

    def test_bounds(self) -> None:
        assert inception_score.inception_score(np.zeros((40, 8))) == pytest.approx(1)
        assert inception_score.inception_score(np.eye(8).repeat(5, 0) * 1e4, splits=1) == pytest.approx(8)

    def test_parts_are_consecutive(self) -> None:
        logits = np.random.default_rng(0).standard_normal((23, 5))
        parts = ((0, 7), (7, 15), (15, 23))
        expected = [inception_score.inception_score(logits[first:end], splits=1) for first, end in parts]
        assert inception_score.split_scores(logits, 3).tolist() == expected


class TestManifolds:
    def test_golden(self, real: Features, fake: Features) -> None:
        assert pr.precision_recall(real, fake, 3) == pytest.approx((0.2705, 0.8870), abs=1e-12)
        assert pr.precision_recall(real, fake, 5) == pytest.approx((0.3620, 0.9310), abs=1e-12)
        assert density_coverage.density_coverage(real, fake, 3) == pytest.approx((0.205167, 0.4230), abs=1e-6)
        assert density_coverage.density_coverage(real, fake, 5) == pytest.approx((0.2108, 0.5925), abs=1e-12)

    def test_golden_f_score(self) -> None:
        assert pr.f_score(0.2705, 0.8870) == pytest.approx(0.414572, abs=1e-6)
        assert pr.f_score(0, 0) == 0

    def test_normal_clouds_of_a_thousand_dimensions(self) -> None:
        """prdc's own check has 10000 points: P .477 R .471 D 1.056 C .974 there, .461 .486 .938 .963 on other draws."""
        x, y = np.random.default_rng(0).standard_normal((2, 1000, 1000)).astype(np.float32)
        # Of 1000 points as prdc 0.2 says of these very ones.
        assert pr.precision_recall(x, y, 5) == pytest.approx(PRDC_OF_CLOUDS[:2], abs=1e-12)
        assert density_coverage.density_coverage(x, y, 5) == pytest.approx(PRDC_OF_CLOUDS[2:], abs=1e-12)

    def test_sides_are_not_swapped(self) -> None:
        """Fakes on a part of the reals are precise and miss the rest; fakes all over are imprecise and miss nothing."""
        generator = np.random.default_rng(0)
        wide = generator.uniform(-10, 10, (400, 2)).astype(np.float32)
        narrow = generator.uniform(-1, 1, (400, 2)).astype(np.float32)
        precision, recall = pr.precision_recall(wide, narrow)
        assert precision > 0.8
        assert recall < 0.1
        assert pr.precision_recall(narrow, wide) == (recall, precision)
        assert density_coverage.density_coverage(wide, narrow)[1] < 0.1
        assert density_coverage.density_coverage(narrow, wide)[0] < 0.1

    def test_equal_and_far_sets(self, real: Features) -> None:
        some = real[:100]
        assert pr.precision_recall(some, some) == (1, 1)
        assert density_coverage.density_coverage(some, some) == pytest.approx((1, 1))
        assert pr.precision_recall(some, some + 1e4) == (0, 0)
        assert density_coverage.density_coverage(some, some + 1e4) == (0, 0)

    def test_duplicates_lie_on_their_rim(self) -> None:
        """Balls of radius 0: with <= a copy is inside, with < it is not."""
        points = np.repeat(np.arange(6, dtype=np.float32)[:, None] * 3, 4, axis=0)
        assert pr.precision_recall(points, points, 3) == (1, 1)
        assert density_coverage.density_coverage(points, points, 3) == (0, 0)

    def test_realism(self) -> None:
        real = np.array([[0.0], [1], [2], [4], [8], [100]], np.float32)  # radii for k = 1: 1 1 1 2 4 92; median 1.5
        fake = np.array([[0.5], [1.5], [6], [3]], np.float32)
        expected = [1 / 0.5, 1 / 0.5, 1 / 4, 1 / 1]
        assert pr.realism(real, fake, 1) == pytest.approx(expected, rel=1e-4)


class TestPrd:
    def test_golden(self, real: Features, fake: Features) -> None:
        """Clusterings differ by their seeds: the reference values are good to 0.002, ours to as much."""
        assert prd.prd(real, fake) == pytest.approx((0.98258, 0.98187), abs=0.004)

    def test_unit_facts(self) -> None:
        precision, recall = prd.curve(np.array([1.0, 0]), np.array([0.5, 0.5]), 11)
        assert precision[:4] == pytest.approx([0, 0.158, 0.325, 0.5], abs=5e-4)
        assert recall[:6] == pytest.approx([1, 1, 1, 0.981, 0.688, 0.5], abs=5e-4)
        assert prd.largest_f(precision, recall, 8) == pytest.approx(0.969, abs=5e-4)
        assert prd.largest_f(precision, recall, 1 / 8) == pytest.approx(0.504, abs=5e-4)

    def test_half_of_the_modes(self) -> None:
        all_modes, half = np.full(20, 0.05), np.repeat([0.1, 0], 10)
        for real, fake, expected in ((all_modes, half, (0.5039, 0.9848)), (half, all_modes, (0.9848, 0.5039))):
            found = [prd.largest_f(*prd.curve(real, fake), beta) for beta in (8, 1 / 8)]
            assert found == pytest.approx(expected, abs=5e-5)

    def test_equal_and_disjoint(self) -> None:
        p, q = np.array([0.25, 0.75, 0, 0]), np.array([0, 0, 0.5, 0.5])
        assert [prd.largest_f(*prd.curve(p, p), beta) for beta in (8, 1 / 8)] == pytest.approx([1, 1], abs=1e-6)
        assert [prd.largest_f(*prd.curve(p, q), beta) for beta in (8, 1 / 8)] == [0, 0]
