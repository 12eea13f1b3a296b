"""Exponential moving average of the generator's weights; the averaged generator makes all samples.

Karras et al. 2018, appendix A.1: decay 0.999 after every minibatch.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from datasets.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The average.

    Attributes
    ----------
    decay
        Share of the old average that an update keeps.
    unit
        ``step``: `decay` for every step, whatever its batch (paper, both released codes). ``images``: `decay` for
        every 16 images, so that the average spans the same number of images at every batch size (what the paper's
        comparison of batch sizes does, Table 1).
    after
        When it is updated. ``generator``: after every step of the generator (Theano release). ``discriminator``: after
        every step of the discriminator, before the generator's (TensorFlow release).
    """

    decay: float = 0.999
    unit: Literal["step", "images"] = "step"
    after: Literal["generator", "discriminator"] = "generator"

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise InputError(f"ema.decay must be at least 0 and below 1, got {self.decay}")

    def decay_of_step(self, images: int) -> float:
        """Decay of a step in which the discriminator saw `images` real images."""
        return self.decay if self.unit == "step" else self.decay ** (images / 16)


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, decay: float) -> None:
    """``average = decay * average + (1 - decay) * network`` for every parameter; buffers are copied."""
    averages: list[Tensor] = list(average.parameters())
    weights: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(averages, weights, 1.0 - decay)
    for mean, buffer in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(buffer)  # running statistics are averages already
