"""WGAN-GP with drift: the loss of the paper (Karras et al. 2018, appendix A.1; Gulrajani et al. 2017).

D minimizes  D(fake) - D(real) + (lambda / gamma^2) (||grad D(mix)||_2 - gamma)^2 + drift * D(real)^2
G minimizes -D(fake)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from datasets.errors import InputError
from training.losses import Context, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Constants of the loss; the defaults are the paper's.

    Attributes
    ----------
    gradient_weight
        lambda, the weight of the gradient penalty.
    target_norm
        gamma, the gradient norm aimed at; 750 for CIFAR-10 in the paper, 1 elsewhere.
    drift
        Weight of D(real)^2, which keeps the critic's output from drifting away.
    penalty_space
        Pixels in which the gradient's norm is taken. ``full``: those of the finest resolution, as in both released
        codes, whose networks work there at all times (a low-resolution image is a nearest-neighbour enlargement, and
        each of the k halvings inside D divides the norm by 2). ``native``: those of the current level, as in most
        ports.
    """

    gradient_weight: float = 10.0
    target_norm: float = 1.0
    drift: float = 0.001
    penalty_space: Literal["full", "native"] = "full"

    def __post_init__(self) -> None:
        for name in ("gradient_weight", "drift"):
            if not getattr(self, name) >= 0:
                raise InputError(f"objective.{name} must be 0 or more, got {getattr(self, name)}")
        if not self.target_norm > 0:
            raise InputError(f"objective.target_norm must be above 0, got {self.target_norm}")


def initial_state(config: Config) -> dict[str, Tensor]:  # noqa: ARG001 (the contract)
    """Nothing is carried from step to step."""
    return {}


def noise_strength(config: Config, state: Mapping[str, Tensor]) -> Tensor | None:  # noqa: ARG001 (the contract)
    """No noise."""
    return None


def discriminator_terms(config: Config, score_real: Tensor, score_fake: Tensor, context: Context) -> Terms:
    """Loss of the discriminator.

    Parameters
    ----------
    config : Config
        Constants.
    score_real, score_fake : Tensor, shape (N,)
        What the discriminator says of the images in `context`.
    context : Context
        Images and discriminator, for the penalty. Mixing draws: share of the fake in the point where the gradient is
        taken, one per image.

    Returns
    -------
    Terms
        Logs: ``drift``; the penalty follows by itself, with ``penalty`` and ``gradient_norm`` (in its pixels).
    """
    drift = config.drift * score_real.square()

    def penalty_terms() -> Terms:
        mixing = context.uniform("mixing").view(-1, 1, 1, 1)
        gradient = context.input_gradient(torch.lerp(context.reals, context.fakes, mixing))
        norm = gradient.square().sum(dim=(1, 2, 3)).sqrt()
        if config.penalty_space == "full":
            norm = norm / 2**context.halvings
        penalty = config.gradient_weight / config.target_norm**2 * (norm - config.target_norm).square()
        return Terms(penalty, {"penalty": penalty.detach(), "gradient_norm": norm.detach()})

    return Terms(score_fake - score_real + drift, {"drift": drift.detach()}, then=penalty_terms)


def generator_terms(config: Config, score_fake: Tensor) -> Terms:  # noqa: ARG001 (the contract)
    """Loss of the generator: minus the score of its images."""
    return Terms(-score_fake)
