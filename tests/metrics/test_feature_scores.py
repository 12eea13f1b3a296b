"""Metrics on features against published golden values, closed forms, and slow statements of the papers.

The golden values are of X = RandomState(0).randn(2000, 64) as real and Y = RandomState(1).randn(2000, 64) * 1.1 + 0.1
as generated features, both float32, computed with torch-fidelity 0.4.0, pytorch-fid 0.3.0, prdc and the PRD code.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from metrics.gaussian import Gaussian
from metrics.scores import density_coverage, fid, fid_infinity, inception_score, kid, prd
from metrics.scores import precision_recall as pr

Features = NDArray[np.float32]


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

    def test_bias_of_two_equal_distributions(self) -> None:
        """Reference: about 2200 / n for d = 64."""
        generator = np.random.default_rng(5)
        sets = [generator.standard_normal((2, 1000, 64)).astype(np.float32) for _ in range(3)]
        values = [fid.frechet_distance(*map(Gaussian.fit, pair)) for pair in sets]
        assert np.mean(values) == pytest.approx(2200 / 1000, rel=0.1)

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


class TestKid:
    def test_golden_subsets(self, real: Features, fake: Features) -> None:
        values = kid.subset_values(real, fake, subsets=100, size=1000, seed=2020)
        assert values.mean() == pytest.approx(0.034431793670, abs=1e-11)
        assert values.std() == pytest.approx(0.003129110550, abs=1e-11)

    def test_golden_full_set(self, real: Features, fake: Features) -> None:
        assert kid.squared_mmd(real, fake) == pytest.approx(0.03472054381271983, abs=1e-14)

    def test_formula_pair_by_pair(self, real: Features, fake: Features) -> None:
        x, y = real[:7, :5].astype(float), fake[:9, :5].astype(float)

        def k(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
            return float((a @ b / 5 + 1) ** 3)

        expected = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
        expected += sum(k(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / 72
        expected -= 2 * sum(k(a, b) for a in x for b in y) / 63
        assert kid.squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)


class TestInceptionScore:
    def test_golden(self, logits: Features) -> None:
        scores = inception_score.split_scores(logits, 10)
        assert (scores.mean(), scores.std()) == pytest.approx((6.5043725642, 0.1084427195), abs=1e-9)
        shuffled = inception_score.split_scores(logits[np.random.RandomState(2020).permutation(5000)], 10)
        assert (shuffled.mean(), shuffled.std()) == pytest.approx((6.5014201109, 0.0620090489), abs=1e-9)
        assert inception_score.split_scores(logits, 1) == pytest.approx([6.6531159811], abs=1e-9)

    def test_bounds(self) -> None:
        assert inception_score.inception_score(np.zeros((40, 8))) == pytest.approx(1)
        assert inception_score.inception_score(np.eye(8).repeat(5, 0) * 1e4) == pytest.approx(8)

    def test_parts_are_consecutive(self) -> None:
        logits = np.random.default_rng(0).standard_normal((23, 5))
        expected = [inception_score.inception_score(logits[first:end]) for first, end in ((0, 7), (7, 15), (15, 23))]
        assert inception_score.split_scores(logits, 3).tolist() == expected


class TestManifolds:
    def test_golden(self, real: Features, fake: Features) -> None:
        assert pr.precision_recall(real, fake, 3) == pytest.approx((0.2705, 0.8870), abs=1e-12)
        assert pr.precision_recall(real, fake, 5) == pytest.approx((0.3620, 0.9310), abs=1e-12)
        assert density_coverage.density_coverage(real, fake, 3) == pytest.approx((0.205167, 0.4230), abs=1e-6)
        assert density_coverage.density_coverage(real, fake, 5) == pytest.approx((0.2108, 0.5925), abs=1e-12)

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
