"""Inception Score (IS): how sharply a classifier decides on single images, against how evenly over all of them.

Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen: "Improved Techniques for Training GANs", NeurIPS 2016 (arXiv
1606.03498). IS = exp(E_x KL(p(y|x) || p(y))), over 10 splits; p(y|x) is the softmax of the network's 1008 logits
*without* their bias, as the released code has it, and p(y) its mean over the split.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.feature_checks import check_features
from metrics.feature_score import FeatureScore, number_of
from metrics.scores import Option


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Logarithms of the class probabilities, in float64, shape (n, classes)."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def inception_score(logits: NDArray[np.floating[Any]], splits: int = 10) -> float:
    """Inception Score of logits without bias, shape (n, classes): the mean over consecutive splits.

    Parameters
    ----------
    logits : ndarray of float, shape (n, classes)
        At least as many rows as splits.
    splits : int
        The paper has 10; their value is lower than that of all images as one.

    Raises
    ------
    InputError
        See `metrics.feature_checks.check_features`.
    """
    return float(split_scores(logits, splits).mean())


def _of_one_split(logits: NDArray[np.floating[Any]]) -> float:
    """Inception Score of one split: 1 at least, the number of classes at most."""
    logs = log_softmax(logits)
    probabilities = np.exp(logs)
    marginal = np.log(np.maximum(probabilities.mean(axis=0), np.finfo(np.float64).tiny))
    return float(np.exp((probabilities * (logs - marginal)).sum(axis=1).mean()))


def split_scores(logits: NDArray[np.floating[Any]], splits: int) -> NDArray[np.float64]:
    """Inception Score of consecutive parts, number i being images [i n / splits, (i + 1) n / splits)."""
    check_features({"logits": logits}, least=splits)
    edges = [k * len(logits) // splits for k in range(splits + 1)]
    return np.array([_of_one_split(logits[first:end]) for first, end in itertools.pairwise(edges)])


class Score(FeatureScore):
    """Inception Score of one set."""

    title = "Inception Score"
    summary = (
        "Inception Score of SET: from 1 to the number of classes, higher for images that are clear and varied to an "
        "ImageNet classifier. It looks at no real image, so read it beside the reference's."
    )
    two_sets = False
    needs = "logits"
    alias = "is"
    fewest = 10
    few_means = "the Inception Score grows with the number of images (the protocol has 50000); compare equal numbers"
    options = (Option("splits", 10, "Parts of the set; the value is the mean of theirs.", at_least=1),)

    def __init__(self, *arguments: Any, splits: int = 10, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.splits = splits
        if splits > self.plan_of_images.num_images:
            raise InputError(
                f"--splits {splits} is more than the {number_of(self.plan_of_images.num_images)}; "
                "give more images or fewer splits"
            )

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Splits, and which logits."""
        return {"splits": self.splits, "logits": "without bias", "order": "as measured", "error": "over the splits"}

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Mean over the splits; ``split_std`` is the population deviation that papers print behind +-."""
        del real
        values = split_scores(fake, self.splits)
        several = len(values) > 1
        return {
            "value": float(values.mean()),
            "standard_error": float(values.std(ddof=1) / len(values) ** 0.5) if several else None,
            "split_std": float(values.std()),
        }
