"""Modes of MNIST-RGB: how many of the 1000 combinations of three digits a generator draws, and how evenly.

Metz, Poole, Pfau, Sohl-Dickstein: "Unrolled Generative Adversarial Networks", ICLR 2017 (arXiv 1611.02163), as Karras
et al. 2018 (arXiv 1710.10196), appendix E and table 4, measure it: a classifier reads a digit from each colour plane of
25600 images, the three digits are one of 1000 modes, and the modes that occur are counted; KL is the divergence of
their shares from an even distribution. Both are averages over 10 such evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from datasets.errors import InputError
from metrics.feature_score import FeatureScore
from metrics.scores import Option, Plan, Side
from metrics.subsampling import errors_of

PLANES = 3
_PER_EVALUATION = 25_600
_EVALUATIONS = 10


def mode_counts(digit_scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Images of every mode.

    Parameters
    ----------
    digit_scores : ndarray of float, shape (n, 3 * classes)
        What the classifier gives every class of the red plane, then of the green one, then of the blue one.

    Returns
    -------
    ndarray of int64, shape (classes ** 3,)
        Mode r + classes * g + classes ** 2 * b: the red digit r counts units.

    Raises
    ------
    InputError
        If the numbers of an image are not those of three planes.
    """
    count, size = digit_scores.shape
    classes = size // PLANES
    if size % PLANES or classes < 2:
        raise InputError(
            f"{size} numbers an image are not the scores of digits in {PLANES} planes; give features of digits"
        )
    digits = digit_scores.reshape(count, PLANES, classes).argmax(axis=2)
    modes = digits @ classes ** np.arange(PLANES)
    return np.bincount(modes, minlength=classes**PLANES)


def modes_and_divergence(counts: NDArray[np.int64]) -> tuple[int, float]:
    """Number of modes that occur, and KL divergence of their shares from an even distribution, in nats.

    The divergence is sum p log(p * modes) over the modes that occur: 0 for even shares of all, log(1000 / m) for even
    shares of m of 1000.
    """
    shares = counts[counts > 0] / counts.sum()
    return len(shares), float(shares @ np.log(shares * len(counts)))


def of_even_generator(count: int, modes: int = 1000) -> tuple[float, float]:
    """What `modes_and_divergence` expects of `count` images if every mode is equally likely.

    The images of a mode are then binomial. Modes that occur: modes * (1 - (1 - 1 / modes) ** count).
    """
    images = np.arange(1, count + 1)
    chance = binom.pmf(images, count, 1 / modes)
    divergence = modes * float(chance @ (images / count * np.log(images / count * modes)))
    return modes * -math.expm1(count * math.log1p(-1 / modes)), divergence


class Score(FeatureScore):
    """Modes that a set holds; the value is their number."""

    title = "modes"
    summary = (
        "Modes of MNIST-RGB in SET: how many of the 1000 combinations of three digits occur (more is better), and KL, "
        "how unevenly (0 is best). Train its network first: metrics train-digits."
    )
    two_sets = False
    extractor = "digits"
    own_network_only = True
    protocol_images = _PER_EVALUATION * _EVALUATIONS
    options = (Option("per-evaluation", _PER_EVALUATION, "Images whose modes are counted at a time.", at_least=2),)

    def __init__(self, *arguments: Any, per_evaluation: int = _PER_EVALUATION, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        given = self.plan_of_images.num_images
        self.per_evaluation = min(per_evaluation, given)
        self.evaluations = given // self.per_evaluation

    @classmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose ten evaluations, or as many whole ones as there are images for, or one of all images."""
        whole = super().plan(available, resolution, num_images)
        count = whole.num_images
        if num_images is None and count > _PER_EVALUATION:
            count -= count % _PER_EVALUATION
        return Plan(count, {"fake": count})

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Evaluations, and what is counted."""
        return {
            "per_evaluation": self.per_evaluation,
            "evaluations": self.evaluations,
            "mode": "red + 10 green + 100 blue",
            "divergence": "sum p log(p * modes) over modes that occur",
            "error": "over the evaluations",
        }

    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Modes and KL, averages over the evaluations, and the same of an even generator.

        ``counts`` are the images of every mode in all evaluations together.
        """
        del real
        used = fake[: self.evaluations * self.per_evaluation]
        counts = np.stack([mode_counts(part) for part in np.split(used, self.evaluations)])
        values = np.array([modes_and_divergence(row) for row in counts])
        several = values[None] if self.evaluations > 1 else None
        value, divergence = values.mean(axis=0).tolist()
        even_modes, even_divergence = of_even_generator(self.per_evaluation, counts.shape[1])
        return {
            "value": value,
            "kl": divergence,
            **errors_of(several, ("standard_error", "kl_error")),
            "even_modes": even_modes,
            "even_kl": even_divergence,
            "counts": counts.sum(axis=0).tolist(),
            "warnings": self._about_the_number(len(fake) - len(used), counts.shape[1], even_modes),
        }

    def _about_the_number(self, unused: int, modes: int, even_modes: float) -> list[str]:
        """What a reader must know if an evaluation has other than the protocol's number of images."""
        found = []
        if self.per_evaluation != _PER_EVALUATION:
            found.append(
                f"{self.per_evaluation} images an evaluation, {_PER_EVALUATION} in the protocol: a perfectly even "
                f"generator would show {even_modes:.1f} of {modes} modes; compare equal numbers only"
            )
        if unused:
            found.append(f"the last {unused} images make no whole evaluation and were left out")
        return found
