"""Features that someone computed before, and Gaussians fitted to them: either side of a metric on features may be one.

``.npz`` files with ``mu`` and ``sigma`` are what TTUR, pytorch-fid and EDM write and read; with ``features`` (n, d)
they serve the metrics that look at single images as well. What network made the numbers is in our own files only, under
``network``: for others, whoever names one answers for it. NVIDIA's pickled statistics are read by
`metrics.pickled_statistics`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.atomic import check_writable, replacing
from datasets.errors import InputError
from metrics.gaussian import Gaussian
from metrics.images import ImageSet

_DECIDING = (
    "network",
    "weights",
    "resize",
    "dtype",
    "code_version",
)  # of `Extractor.cache_key`: equal, or not the same


class FeatureSet(ImageSet):
    """Features, or only their Gaussian, in place of images.

    Parameters
    ----------
    name : str
        As a rule the path.
    features : ndarray of float32, shape (n, d), or None
    gaussian : Gaussian or None
        Needed if there are no features.
    network : mapping, optional
        What made the features, as `metrics.features.Extractor.cache_key` has it, if that is known.
    """

    def __init__(
        self,
        name: str,
        features: NDArray[np.float32] | None,
        gaussian: Gaussian | None = None,
        network: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.kind = name, "statistics" if features is None else "features"
        self.resolution = None
        self.features, self.network, self._gaussian = features, network, gaussian
        if features is not None:
            self.num_images, self.feature_size = features.shape
        elif gaussian is not None:
            self.num_images, self.feature_size = gaussian.count, len(gaussian.mean)
        else:
            raise ValueError("neither features nor their Gaussian were given")

    @functools.cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance."""
        if self._gaussian is not None:
            return self._gaussian
        assert self.features is not None
        return Gaussian.fit(self.features)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the numbers."""
        parts = [self.gaussian.mean, self.gaussian.covariance] if self.features is None else [self.features]
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def check_fits(self, network: str, feature_size: int, made_by: Mapping[str, Any]) -> None:
        """Check that these can be compared with features of a network.

        Raises
        ------
        InputError
            If they have another size, or are known to come from another network or other weights.
        """
        if self.feature_size != feature_size:
            raise InputError(
                f"{self.name} holds features of {self.feature_size} numbers, the other side has {feature_size} "
                f"({network}); use one network for both, see --extractor"
            )
        for key, mine in (self.network or {}).items():
            if key in _DECIDING and made_by.get(key, mine) != mine:
                raise InputError(
                    f"{self.name} holds features made with {key} {mine}, the other side has {made_by[key]}; "
                    "make both alike (metrics statistics)"
                )

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Refuse: there are no pixels."""
        del rows
        raise self._refusal()

    def check_uniform(self) -> int:
        """Refuse: there are no pixels."""
        raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(f"{self.name} holds {self.kind} and no images; this metric needs the images")


def feature_set(arrays: Mapping[str, NDArray[np.generic]], path: Path) -> FeatureSet | None:
    """Features or statistics among the arrays of a file; None if there are none.

    Raises
    ------
    InputError
        If they do not fit each other, or are not finite.
    """
    if "features" not in arrays and not {"mu", "sigma"} <= set(arrays):
        return None
    network = _recorded_network(arrays, path)
    if "features" in arrays:
        features = _floats(arrays["features"], f"{path}: features")
        if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
            raise InputError(f"{path}: features must be of shape (n, d), n at least 2, got {features.shape}")
        with np.errstate(over="ignore"):
            rows = features.astype(np.float32)
        if not np.isfinite(rows).all():
            raise InputError(f"{path}: features holds numbers that are too large for float32; compute it again")
        return FeatureSet(str(path), rows, network=network)
    count = None
    if "num_images" in arrays:
        number = np.asarray(arrays["num_images"])
        if number.size != 1 or not np.issubdtype(number.dtype, np.integer) or int(number.reshape(())) < 2:
            raise InputError(f"{path}: num_images must be one whole number above 1; write the file again")
        count = int(number.reshape(()))
    return statistics(arrays["mu"], arrays["sigma"], count, path, network)


def statistics(
    mean: NDArray[np.generic],
    covariance: NDArray[np.generic],
    count: int | None,
    path: Path,
    network: Mapping[str, Any] | None = None,
) -> FeatureSet:
    """Feature set of mean, shape (d,), and covariance, shape (d, d), of `count` images.

    Raises
    ------
    InputError
        If they do not fit each other, or are not finite.
    """
    mu, sigma = _floats(mean, f"{path}: mu"), _floats(covariance, f"{path}: sigma")
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)):
        raise InputError(f"{path}: mu must be of shape (d,) and sigma (d, d), got {mu.shape} and {sigma.shape}")
    if not np.allclose(sigma, sigma.T, rtol=0, atol=1e-6 * float(np.abs(sigma).max(initial=0))):
        raise InputError(f"{path}: sigma is no covariance, it is not symmetric; write the file again")
    return FeatureSet(str(path), None, Gaussian(mu, sigma, count), network)


def write_statistics(
    out: Path,
    gaussian: Gaussian,
    features: NDArray[np.float32] | None,
    network: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write ``mu``, ``sigma``, ``num_images``, ``network`` and, if given, ``features`` into an ``.npz``, atomically."""
    check_writable(out, overwrite=overwrite)
    arrays: dict[str, NDArray[np.generic]] = {"mu": gaussian.mean, "sigma": gaussian.covariance}
    arrays["network"] = np.asarray(json.dumps(network, sort_keys=True))
    if gaussian.count is not None:
        arrays["num_images"] = np.asarray(gaussian.count)
    if features is not None:
        arrays["features"] = features
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _floats(array: NDArray[np.generic], where: str) -> NDArray[np.float64]:
    """The array in float64; refused unless it holds finite floats."""
    values = np.asarray(array)
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{where} must be floats, got {values.dtype}; write the file again")
    if not np.isfinite(values).all():
        raise InputError(f"{where} holds numbers that are not finite; compute it again")
    return values.astype(np.float64, copy=False)


def _recorded_network(arrays: Mapping[str, NDArray[np.generic]], path: Path) -> dict[str, Any] | None:
    if "network" not in arrays:
        return None
    try:
        found = json.loads(str(arrays["network"]))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(key in found for key in _DECIDING):
        raise InputError(f"{path}: network does not say what made the features; write it with metrics statistics")
    return found
