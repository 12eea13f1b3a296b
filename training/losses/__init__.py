"""Adversarial losses: one module per loss, chosen by its file name (``--set loss=wgan_gp``).

A loss module has

``Config``
    Frozen keyword-only dataclass of the loss's constants.
``initial_state(config) -> dict of str to Tensor``
    Numbers that the loss carries from step to step, scalars on the CPU; empty for most losses.
``noise_strength(config, state) -> Tensor or None``
    Strength of the multiplicative noise in the discriminator; None: no noise.
``discriminator_terms(config, score_real, score_fake, context) -> Terms``
``generator_terms(config, score_fake) -> Terms``

All are pure, and terms are one number per image; only ``training/step.py`` reduces and steps. What concerns classes is
no business of these modules: see ``training/conditioning.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from training.layers.winograd import no_weight_gradients

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
    state : mapping of str to Tensor
        New values, detached scalars, of what the loss carries from step to step.
    then : callable, optional
        Gives more terms to be added, which need a large graph of their own: it is called when the gradients of `loss`
        are there and its graph is gone, so that the two are never in memory together.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    state: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    then: Callable[[], Terms] | None = None


@dataclasses.dataclass(frozen=True)
class Context:
    """What a loss may look at besides the scores.

    Attributes
    ----------
    discriminate : callable
        Images -> scores.
    reals, fakes : Tensor, shape (N, 3, r, r)
        In [-1, 1], float32; `fakes` carry no gradient.
    halvings : int
        Number of levels between the finest resolution and r.
    uniform : callable
        ``uniform(purpose)`` gives one draw from U(0, 1) per image, shape (N,).
    state : mapping of str to Tensor
        What the loss carries from step to step.
    gradient_scale : float
        Factor on the scores while their gradient by the images is taken, divided out again: keeps small gradients from
        vanishing in float16. 1 in other precisions.
    """

    discriminate: Discriminate
    reals: Tensor
    fakes: Tensor
    halvings: int
    uniform: Callable[[str], Tensor]
    state: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    gradient_scale: float = 1.0

    def input_gradient(self, images: Tensor) -> Tensor:
        """Gradient of each image's score by its pixels, shape (N, 3, r, r), float32, itself differentiable.

        Images of a batch do not see each other but through batch statistics, whose share the released codes also leave
        in: the sum of all scores is differentiated.
        """
        images = images.detach().requires_grad_()
        total = self.discriminate(images).sum() * self.gradient_scale
        with no_weight_gradients():
            (gradient,) = torch.autograd.grad(total, images, create_graph=True)
        return gradient.float() / self.gradient_scale


class LossModule(Protocol):
    """What the trainer asks of a module in this folder."""

    Config: type[Any]

    def initial_state(self, config: Any) -> dict[str, Tensor]:
        """Numbers carried from step to step, before the first."""
        ...

    def noise_strength(self, config: Any, state: Mapping[str, Tensor]) -> Tensor | None:
        """Strength of the multiplicative noise in the discriminator."""
        ...

    def discriminator_terms(self, config: Any, score_real: Tensor, score_fake: Tensor, context: Context) -> Terms:
        """Loss of the discriminator for a batch."""
        ...

    def generator_terms(self, config: Any, score_fake: Tensor) -> Terms:
        """Loss of the generator for a batch."""
        ...
