"""Mean and covariance of features: the Gaussian that FID fits to them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features, and of how many.

    Attributes
    ----------
    mean : ndarray of float64, shape (d,)
    covariance : ndarray of float64, shape (d, d)
        Divided by n - 1.
    count : int or None
        Number of images; None if it is not known.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int | None = None

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Gaussian:
        """Mean and covariance of features, shape (n, d), n at least 2."""
        count, size = features.shape
        mean = features.mean(axis=0, dtype=np.float64)
        products = np.zeros((size, size))
        for start in range(0, count, 4096):  # float64 copies of a part at a time
            centred = features[start : start + 4096] - mean
            products += centred.T @ centred
        return cls(mean, products / (count - 1), count)
