"""Class labels in training: AC-GAN, as in both released codes (Odena et al. 2017; Karras et al. 2018, section 6).

The generator is told the class beside the latent. The discriminator guesses it, and both networks are rewarded, by the
cross entropy, if the guess is right.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from datasets.errors import InputError
from datasets.formats import PyramidReader


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """How labels are used.

    Attributes
    ----------
    kind
        ``none``: labels of the data set are ignored. ``acgan``: see above.
    weight
        Of the cross entropy, in both losses.
    discriminator_labels
        Labels of the fakes in the discriminator's step. ``own``: those of the minibatch's reals (TensorFlow release).
        ``random``: drawn from the data set (Theano release). The generator's step always draws.
    """

    kind: Literal["none", "acgan"] = "none"
    weight: float = 1.0
    discriminator_labels: Literal["own", "random"] = "own"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"conditioning.weight must be 0 or more, got {self.weight}")


class Labels:
    """Labels of a data set, for the networks.

    Attributes
    ----------
    num_classes : int
        0: there are none.
    counts : list of int
        Number of images of every class.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,), optional
        Class of every image; None: no labels.
    num_classes : int
        How many classes there are.
    """

    def __init__(self, labels: NDArray[np.int64] | None = None, num_classes: int = 0) -> None:
        self._labels = labels
        self.num_classes = 0 if labels is None else num_classes
        self.counts: list[int] = [] if labels is None else np.bincount(labels, minlength=num_classes).tolist()

    @classmethod
    def of(cls, config: Config, reader: PyramidReader) -> Labels:
        """Labels that a run needs.

        Raises
        ------
        InputError
            If it needs some and the data set has none.
        """
        if config.kind == "none":
            return cls()
        labels = reader.labels()
        if labels is None:
            raise InputError(
                f"{reader.path} has no labels, which conditioning.kind={config.kind} needs; build it from a source "
                "with classes, or pass --set conditioning.kind=none"
            )
        return cls(labels, int(reader.manifest.num_classes or 0))

    def rows(self, rows: NDArray[np.int64]) -> Tensor | None:
        """One-hot labels of some images, float32, shape (n, num_classes); None without labels."""
        return None if self._labels is None else one_hot(torch.from_numpy(self._labels[rows]), self.num_classes)

    def draw(self, count: int, generator: torch.Generator) -> Tensor | None:
        """One-hot labels of images drawn from the data set, so that classes are as frequent as in it."""
        if self._labels is None:
            return None
        return self.rows(torch.randint(len(self._labels), (count,), generator=generator).numpy())


def one_hot(classes: Tensor, num_classes: int) -> Tensor:
    """Class numbers (n,) as float32 (n, num_classes)."""
    return functional.one_hot(classes, num_classes).float()


def class_terms(logits: Tensor | None, labels: Tensor | None) -> Tensor | float:
    """Cross entropy of what the discriminator guesses, one number per image, float32; 0 without labels.

    Parameters
    ----------
    logits : Tensor, shape (N, C), or None
        What the discriminator says.
    labels : Tensor, shape (N, C), or None
        One-hot.
    """
    if logits is None or labels is None:
        return 0.0
    return functional.cross_entropy(logits.float(), labels, reduction="none")
