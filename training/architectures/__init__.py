"""Network architectures: one module per architecture, chosen by its file name (``--set arch=pggan``).

An architecture module has

``Config``
    Frozen keyword-only dataclass of the architecture's options.
``Generator(config, resolution, num_classes=0)``
    ``nn.Module`` with ``latent_size`` and ``forward(latents, level, alpha, labels=None)``: (N, latent_size) float ->
    (N, 3, r, r) float32 in [-1, 1] (not clipped), r = 2**level. ``labels`` is one-hot float (N, num_classes).
``Discriminator(config, resolution, num_classes=0)``
    ``nn.Module`` with ``forward(images, level, alpha, labels=None, perturb=None) -> Verdict``. ``labels`` is for
    networks that judge image and class together. ``perturb`` is applied to the input of every convolution wider than
    1x1 (for LSGAN's multiplicative noise).
    A discriminator with data-dependent initial values has also ``prepare(images, level, alpha)``, which is called
    once, before the first step, with real images in [-1, 1].

Growth is an argument: all levels exist from the start and (level, alpha) choose what is used; alpha is the share of the
newest level, from 0 to 1. A network holds no hidden level, so growing never rebuilds anything.

Under autocast feature maps are in the lower precision; images and verdicts are float32 in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from datasets.levels import resolution_of

Perturb = Callable[[Tensor], Tensor]
"""Feature maps (N, C, H, W) -> feature maps of the same shape."""


class Verdict(NamedTuple):
    """What a discriminator says about images.

    Attributes
    ----------
    scores : Tensor of float32, shape (N,)
        Higher means more real.
    class_logits : Tensor of float32, shape (N, num_classes), or None
        Of an auxiliary classifier; None without classes.
    """

    scores: Tensor
    class_logits: Tensor | None = None


def level_name(level: int) -> str:
    """Key of a level in a network's dictionaries of layers, and so in checkpoints: ``32x32``."""
    return f"{resolution_of(level)}x{resolution_of(level)}"


class ArchitectureModule(Protocol):
    """What the trainer asks of a module in this folder."""

    Config: type[Any]
    Generator: type[Any]
    Discriminator: type[Any]
