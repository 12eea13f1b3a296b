"""Fréchet Inception distance (FID): the Fréchet distance of two Gaussians fitted to Inception features.

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter: "GANs Trained by a Two Time-Scale Update Rule Converge to a Local
Nash Equilibrium", NeurIPS 2017 (arXiv 1706.08500). FID = |mu_r - mu_g|^2 + Tr(S_r + S_g - 2 (S_r S_g)^(1/2)), after
Dowson and Landau 1982. Covariances are divided by n - 1, everything is in float64.

Programs that take a matrix square root of S_r S_g fail or turn complex when it is singular, which is whenever there are
fewer images than features. Here the trace of the root comes from the eigenvalues of the symmetric product
S_r^(1/2) S_g S_r^(1/2), which are real and not negative whatever the number of images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore
from metrics.gaussian import Gaussian
from metrics.scores import Progress, Side, no_progress
from metrics.subsampling import grouped

_GROUPS = 20  # of images, for the comparison of two results
_RANK = 1e-10  # eigenvalues below this share of the largest count as 0 where one divides by them


@dataclasses.dataclass(frozen=True)
class Frechet:
    """Fréchet distance of two Gaussians, and what its derivative is made of.

    Attributes
    ----------
    distance : float
        Squared, as everyone quotes it.
    from_means : float
        The part of it that the means make.
    transport : ndarray of float64, shape (d, d)
        The matrix T of the optimal transport x -> mu_g + T (x - mu_r) from real to generated features.
    """

    distance: float
    from_means: float
    transport: NDArray[np.float64]


def fid(real: NDArray[np.float32], fake: NDArray[np.float32]) -> float:
    """FID of two sets of features, shapes (n, d) and (m, d), n and m at least 2.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    check_features({"real": real, "fake": fake}, least=2)
    return frechet_distance(Gaussian.fit(real), Gaussian.fit(fake))


def frechet_distance(real: Gaussian, fake: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians; it is symmetric and not negative."""
    return distance_to(real, square_root(real), fake)


def square_root(gaussian: Gaussian) -> NDArray[np.float64]:
    """Symmetric square root of the covariance."""
    values, vectors = np.linalg.eigh(gaussian.covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def distance_to(real: Gaussian, root: NDArray[np.float64], fake: Gaussian) -> float:
    """Squared Fréchet distance, given the `square_root` of the reals, which serves for many fakes."""
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ fake.covariance @ root), 0))
    return _squared_distance(real, fake, roots)[0]


def _squared_distance(real: Gaussian, fake: Gaussian, roots: NDArray[np.float64]) -> tuple[float, float]:
    """Distance, and the part of the means, from the eigenvalues of (S_r^(1/2) S_g S_r^(1/2))^(1/2)."""
    difference = real.mean - fake.mean
    from_means = float(difference @ difference)
    from_covariances = np.trace(real.covariance) + np.trace(fake.covariance) - 2 * roots.sum()
    return max(0.0, from_means + float(from_covariances)), from_means


def frechet(real: Gaussian, fake: Gaussian) -> Frechet:
    """Squared Fréchet distance of two Gaussians with the transport between them."""
    values, vectors = np.linalg.eigh(real.covariance)
    values = np.maximum(values, 0)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inner_values, inner_vectors = np.linalg.eigh(root @ fake.covariance @ root)
    inner_roots = np.sqrt(np.maximum(inner_values, 0))
    # T = S_r^(-1/2) (S_r^(1/2) S_g S_r^(1/2))^(1/2) S_r^(-1/2) on the span of the reals
    solid = values > _RANK * values.max(initial=0)
    inverse = (vectors[:, solid] / np.sqrt(values[solid])) @ vectors[:, solid].T
    transport = inverse @ ((inner_vectors * inner_roots) @ inner_vectors.T) @ inverse
    return Frechet(*_squared_distance(real, fake, inner_roots), transport)


def influence(
    features: NDArray[np.float32], own: Gaussian, other: Gaussian, transport: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much every image of one set moves the distance: its influence function, of mean 0.

    The derivative of the squared distance by the own mean is ``2 (mu_own - mu_other)``, by the own covariance
    ``I - T`` with T the transport from the own to the other Gaussian.

    Parameters
    ----------
    features : ndarray of float32, shape (n, d)
    own, other : Gaussian
        Of this set and of the other one.
    transport : ndarray of float64, shape (d, d)
        From the own to the other Gaussian, see `frechet`.
    """
    slope = np.eye(len(transport)) - transport
    towards = 2 * (own.mean - other.mean)
    values = np.empty(len(features))
    for start in range(0, len(features), 4096):
        centred = features[start : start + 4096] - own.mean
        values[start : start + 4096] = centred @ towards + np.einsum("ij,ij->i", centred @ slope, centred)
    centred_values: NDArray[np.float64] = values - values.mean()
    return centred_values


Sets = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
"""Real and generated features, each (n, d); None for a side that is known by its Gaussian alone, which is exact."""


def influences(sets: Sets, fits: tuple[Gaussian, Gaussian], forth: Frechet) -> list[NDArray[np.float64]]:
    """`influence` of the images of every side that there are features of; `forth` is from the reals to the fakes."""
    transports = forth.transport, frechet(fits[1], fits[0]).transport
    return [
        influence(features, own, other, transport)
        for features, own, other, transport in zip(sets, fits, fits[::-1], transports, strict=True)
        if features is not None
    ]


def standard_error(sets: Sets, fits: tuple[Gaussian, Gaussian], forth: Frechet) -> float:
    """Standard error of the distance by the infinitesimal jackknife: the sets drawn anew, in equal numbers.

    A bootstrap would be biased: a resample has fewer different images, and FID grows as images get fewer.
    """
    return _error_of(influences(sets, fits, forth))


def _error_of(found: list[NDArray[np.float64]]) -> float:
    return float(sum(float(np.var(values, ddof=1)) / len(values) for values in found) ** 0.5)


class Score(FeatureScore):
    """FID of fakes from reals."""

    title = "FID"
    stem = "fd"
    summary = (
        "Fréchet Inception distance of FAKE from REAL: 0 if the features have equal means and covariances. It falls as "
        "images are added, so compare equal numbers only."
    )
    two_sets = True
    takes_statistics = True
    enough = 10_000
    few_means = (
        "FID is too large by an amount that falls as 1/n (the protocol has 50000; at least 10000 are advised); compare "
        "equal numbers only, or use fid-infinity or kid"
    )

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._known: dict[Side, Gaussian] = {}

    def use_statistics(self, side: Side, gaussian: Gaussian) -> None:
        """Take a Gaussian in place of the features of a side."""
        self._known[side] = gaussian

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Covariance divisor and method."""
        return {"covariance_divisor": "n - 1", "root": "eigenvalues", "error": "infinitesimal jackknife"}

    def clear(self, side: Side) -> None:
        """Forget the features or the Gaussian of a side."""
        self._known.pop(side, None)
        if side in self.plan_of_images.wanted:
            super().clear(side)

    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Distance, error and floor, from features or statistics on either side."""
        if not self._known:
            return super().compute(progress)
        real = None if "real" in self._known else self.reals
        found = self._distance(real, None if "fake" in self._known else self.features("fake"))
        counts = [gaussian.count for gaussian in self._known.values()]
        few = min((count for count in counts if count is not None), default=self.enough)
        unknown = "how many images the statistics are of is not recorded in their file: FID depends on it"
        thin = found.pop("warnings")
        return {
            **found,
            "floor": None if real is None else self._floor(),
            "num_images": self._known["fake"].count if "fake" in self._known else self.plan_of_images.num_images,
            "protocol": dict(self.protocol),
            "warnings": [
                *self.plan_of_images.warnings,
                *self.warnings_about(few),
                *thin,
                *([unknown] if None in counts else []),
            ],
        }

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Distance with its standard error."""
        return self._distance(real, fake)

    def _distance(self, real: NDArray[np.float32] | None, fake: NDArray[np.float32] | None) -> dict[str, Any]:
        fits = self._fit("real", real), self._fit("fake", fake)
        if fits[0].mean.shape != fits[1].mean.shape:
            raise InputError(
                f"features of {len(fits[0].mean)} and of {len(fits[1].mean)} numbers cannot be compared; "
                "use one network for both sides"
            )
        found = frechet(*fits)
        moved = influences((real, fake), fits, found)
        groups = min([_GROUPS, *map(len, moved)])
        by_group = found.distance + sum((grouped(values, groups) for values in moved), np.zeros(groups))
        size, counts = len(fits[0].mean), [fit.count for fit in fits if fit.count is not None]
        thin = min(counts, default=size + 1) <= size
        return {
            "value": found.distance,
            "standard_error": _error_of(moved),
            "from_means": found.from_means,
            "warnings": [f"more images than the {size} features are needed for a covariance of full rank"] * thin,
            **({"replicates": [by_group.tolist()]} if moved and groups > 1 else {}),
        }

    def _fit(self, side: Side, features: NDArray[np.float32] | None) -> Gaussian:
        return self._known[side] if features is None else Gaussian.fit(features)
