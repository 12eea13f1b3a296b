"""Network architectures: one module per architecture, chosen by its file name (``--set arch=pggan``).

An architecture module has

``Config``
    Frozen keyword-only dataclass of the architecture's options.
``Generator(config, resolution)``
    ``nn.Module`` with ``latent_size`` and ``forward(latents, level, alpha)``: (N, latent_size) float -> (N, 3, r, r)
    float in [-1, 1] (not clipped), r = 2**level.
``Discriminator(config, resolution)``
    ``nn.Module`` with ``forward(images, level, alpha)``: (N, 3, r, r) -> scores (N,).

Growth is an argument: all levels exist from the start and (level, alpha) choose what is used; alpha is the share of the
newest level, from 0 to 1. A network holds no hidden level, so growing never rebuilds anything.
"""

from __future__ import annotations

from typing import Any, Protocol


class ArchitectureModule(Protocol):
    """What the trainer asks of a module in this folder."""

    Config: type[Any]
    Generator: type[Any]
    Discriminator: type[Any]
