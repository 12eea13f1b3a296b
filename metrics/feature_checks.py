"""The one check of features that users bring: every function on features and every metric asks it first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

_ROWS = 4096  # looked at in one go


def check_features(sets: Mapping[str, NDArray[Any]], *, least: int = 1, equal: bool = False) -> None:
    """Refuse features that would give a number without meaning, or an error of NumPy's.

    Parameters
    ----------
    sets : mapping of str to ndarray of numbers, shape (n, d)
        By the name that a message calls them, such as ``real``; d must be the same for all.
    least : int
        Fewest images of every set.
    equal : bool
        The sets must have equally many.

    Raises
    ------
    InputError
        If one is of another shape or type, has too few rows, or holds numbers that are not finite; or if they do not
        fit each other.
    """
    for name, features in sets.items():
        if features.ndim != 2 or not features.shape[1] or features.dtype.kind not in "fiu":
            raise InputError(
                f"{name} features must be numbers of shape (n, d), got {features.dtype} {features.shape}; "
                "give one row for every image"
            )
        if len(features) < least:
            raise InputError(f"{name} features must be of at least {least} images, got {len(features)}; give it more")
        bad = not_finite(features)
        if len(bad):
            raise InputError(
                f"{name} features are not finite in {len(bad)} of {len(features)} rows, the first is row {bad[0]}; "
                "the network, its weights or the images are at fault: compute them again"
            )
    widths = {features.shape[1] for features in sets.values()}
    if len(widths) > 1:
        found = " and ".join(f"{features.shape[1]} ({name})" for name, features in sets.items())
        raise InputError(f"features of {found} numbers an image cannot be compared; use one network for both sides")
    if equal and len({len(features) for features in sets.values()}) > 1:
        found = " and ".join(f"{len(features)} ({name})" for name, features in sets.items())
        raise InputError(f"this metric needs features of equally many images, got {found}; cut the larger set")


def not_finite(features: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of the rows that hold NaN or an infinity."""
    parts = [
        start + np.flatnonzero(~np.isfinite(features[start : start + _ROWS]).all(axis=1))
        for start in range(0, len(features), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
