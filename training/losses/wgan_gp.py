"""WGAN-GP with drift: the loss of the paper (Karras et al. 2018, appendix A.1; Gulrajani et al. 2017).

D minimizes  D(fake) - D(real) + (lambda / gamma^2) (||grad D(mix)||_2 - gamma)^2 + drift * D(real)^2
G minimizes -D(fake)
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from datasets.errors import InputError
from training.losses import Discriminate, Terms


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


def discriminator_terms(
    config: Config, discriminate: Discriminate, reals: Tensor, fakes: Tensor, mixing: Tensor, halvings: int
) -> Terms:
    """Loss of the discriminator.

    Parameters
    ----------
    config : Config
        Constants.
    discriminate : callable
        Images -> scores.
    reals, fakes : Tensor, shape (N, 3, r, r)
        In [-1, 1]; `fakes` carry no gradient.
    mixing : Tensor, shape (N,)
        One draw from U(0, 1) per image: share of the fake in the point where the gradient is taken.
    halvings : int
        Number of levels between the finest resolution and r.

    Returns
    -------
    Terms
        Logs: ``score_real``, ``score_fake``, ``penalty``, ``drift``.
    """
    score_real, score_fake = discriminate(reals), discriminate(fakes)
    mixed = torch.lerp(reals, fakes, mixing.view(-1, 1, 1, 1)).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminate(mixed).sum(), mixed, create_graph=True)
    norm = gradient.float().square().sum(dim=(1, 2, 3)).sqrt()
    if config.penalty_space == "full":
        norm = norm / 2**halvings
    penalty = config.gradient_weight / config.target_norm**2 * (norm - config.target_norm).square()
    drift = config.drift * score_real.square()
    logs = {"score_real": score_real, "score_fake": score_fake, "penalty": penalty, "drift": drift}
    return Terms(score_fake - score_real + penalty + drift, {name: value.detach() for name, value in logs.items()})


def generator_terms(config: Config, discriminate: Discriminate, fakes: Tensor) -> Terms:  # noqa: ARG001 (the contract)
    """Loss of the generator: minus the score of its images, shape (N, 3, r, r)."""
    return Terms(-discriminate(fakes), {})
