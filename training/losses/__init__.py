"""Adversarial losses: one module per loss, chosen by its file name (``--set loss=wgan_gp``).

A loss module has

``Config``
    Frozen keyword-only dataclass of the loss's constants.
``discriminator_terms(config, discriminate, reals, fakes, mixing, halvings) -> Terms``
``generator_terms(config, discriminate, fakes) -> Terms``

They are pure and return one number per image; only ``training/step.py`` reduces and steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

Discriminate = Callable[[Tensor], Tensor]
"""Images (N, 3, r, r) in [-1, 1] -> scores (N,), at the level and alpha of the step."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a loss says about a batch.

    Attributes
    ----------
    loss : Tensor, shape (N,)
        To be minimized, one value per image.
    logs : mapping of str to Tensor, shape (N,)
        Detached parts of it, for the log.
    """

    loss: Tensor
    logs: Mapping[str, Tensor]


class LossModule(Protocol):
    """What the trainer asks of a module in this folder."""

    Config: type[Any]

    def discriminator_terms(
        self, config: Any, discriminate: Discriminate, reals: Tensor, fakes: Tensor, mixing: Tensor, halvings: int
    ) -> Terms:
        """Loss of the discriminator for a batch."""
        ...

    def generator_terms(self, config: Any, discriminate: Discriminate, fakes: Tensor) -> Terms:
        """Loss of the generator for a batch."""
        ...
