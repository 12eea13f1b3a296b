"""Statistics that NVIDIA's programs pickle: of StyleGAN2-ADA and StyleGAN3, and of EDM2. Nothing in them is run.

StyleGAN2-ADA (Karras et al., NeurIPS 2020) keeps sums: ``raw_mean`` and ``raw_cov`` over ``num_items`` images, and all
features if it was told to; its covariance is divided by n, ours by n - 1. EDM2 (Karras et al., CVPR 2024) keeps ``mu``
and ``sigma`` for each metric, those of FID under ``fid``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets import unpickle
from datasets.errors import InputError
from metrics.feature_sets import FeatureSet, feature_set, statistics

_PROTOCOLS = range(2, 6)  # of pickles


def open_pickled_statistics(path: Path) -> FeatureSet | None:
    """Statistics or features of a pickle; None if `path` is none.

    Raises
    ------
    InputError
        If it holds anything else, or is damaged.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(2)
    if len(start) < 2 or start[0] != 0x80 or start[1] not in _PROTOCOLS:
        return None
    found = unpickle.loads(path.read_bytes(), str(path))
    if isinstance(found, dict) and isinstance(found.get("fid"), dict):
        found = found["fid"]
    if _has_arrays(found, "mu", "sigma"):
        return statistics(found["mu"], found["sigma"], None, path)
    if isinstance(found, dict) and isinstance(found.get("all_features"), list) and found["all_features"]:
        parts = found["all_features"]
        if all(
            isinstance(part, np.ndarray) and part.ndim == 2 and part.shape[1] == parts[0].shape[1] for part in parts
        ):
            return feature_set({"features": np.concatenate(parts)}, path)
    if _has_arrays(found, "raw_mean", "raw_cov") and isinstance(count := found.get("num_items"), int) and count > 1:
        mean = np.asarray(found["raw_mean"], np.float64) / count
        if np.shape(found["raw_cov"]) == mean.shape * 2:
            covariance = (found["raw_cov"] / count - np.outer(mean, mean)) * (count / (count - 1))
            return statistics(mean, covariance, count, path)
    raise InputError(
        f"{path} is a pickle without raw_mean, raw_cov and num_items, or mu and sigma, or all_features; "
        "write them as arrays with numpy.savez"
    )


def _has_arrays(found: Any, *names: str) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(name), np.ndarray) for name in names)
