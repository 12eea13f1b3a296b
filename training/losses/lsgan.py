"""LSGAN with the adaptive multiplicative noise of the paper's appendix B (Karras et al. 2018; Mao et al. 2017).

D minimizes  D(real)^2 + fake_weight * (D(fake) + 1)^2
G minimizes  D(fake)^2

so D says 0 of reals and -1 of fakes. (The release says 1 of fakes. The sign makes no difference to the method, and this
way a higher score means more real, as with every other loss.) To keep D from becoming too confident, the input x of
each of its convolutions is multiplied by ``1 + n sigma sqrt(C)``, n drawn from N(0, 1) for every image and feature map,
C the number of feature maps, where ``sigma = strength max(0, d - limit)^2`` and d is a moving average that says how far
D is ahead.
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
    """Constants of the loss.

    Attributes
    ----------
    fake_weight
        Weight of the fakes' term in D's loss; 0.1 in the Theano release.
    noise
        Strength of the multiplicative noise, 0.2 (appendix B); 0: none, as the Theano release is shipped.
    noise_limit, noise_decay
        The average above which there is noise, and the share of its old value that a step keeps: 0.5 and 0.9.
    noise_source
        What is averaged, clipped to [0, 1]. ``output``: minus D's mean output for fakes, 1 if D knows them
        all (the paper's d, "the discriminator output"). ``loss``: D's loss (what the Theano release's code takes).
    """

    fake_weight: float = 0.1
    noise: float = 0.2
    noise_limit: float = 0.5
    noise_decay: float = 0.9
    noise_source: Literal["output", "loss"] = "output"

    def __post_init__(self) -> None:
        for name in ("fake_weight", "noise", "noise_limit"):
            if not getattr(self, name) >= 0:
                raise InputError(f"objective.{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.noise_decay < 1:
            raise InputError(f"objective.noise_decay must be at least 0 and below 1, got {self.noise_decay}")


def initial_state(config: Config) -> dict[str, Tensor]:  # noqa: ARG001 (the contract)
    """``lead``: the moving average d."""
    return {"lead": torch.zeros(())}


def noise_strength(config: Config, state: Mapping[str, Tensor]) -> Tensor | None:
    """Sigma, a scalar; None if the noise is turned off."""
    return config.noise * (state["lead"] - config.noise_limit).clamp(min=0).square() if config.noise else None


def discriminator_terms(config: Config, score_real: Tensor, score_fake: Tensor, context: Context) -> Terms:
    """Loss of the discriminator; see `training.losses`.

    Returns
    -------
    Terms
        With the new average.
    """
    loss = score_real.square() + config.fake_weight * (score_fake + 1).square()
    source = (-score_fake if config.noise_source == "output" else loss).detach().mean().clamp(0, 1)
    lead = torch.lerp(source, context.state["lead"], config.noise_decay)
    return Terms(loss, {}, {"lead": lead})


def generator_terms(config: Config, score_fake: Tensor) -> Terms:  # noqa: ARG001 (the contract)
    """Loss of the generator: the square of its images' distance from what D says of reals."""
    return Terms(score_fake.square())
