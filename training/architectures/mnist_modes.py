"""The small networks that count modes: coloured digits of MNIST, 1000 kinds (Karras et al. 2018, appendix E).

The set-up of Metz et al. 2017, with discriminators so small that modes get lost. Generator: latent -> dense to 4x4 of
64 maps, then per level nearest doubling and one conv3, to 32, 16 and 8 maps at 32x32; a conv3 leads to RGB.
Discriminator: per level one conv3 and a 2x2 mean, to 8/K, 16/K and 32/K maps; then one dense layer to the score. As in
the Theano release; 89,944 weights and, at K = 2 and 4, 1,861 and 571 parameters. Unlike theirs every level has a way
from and to RGB, so that the networks can grow; at the finest level that adds nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL, level_of
from training.architectures import Perturb, Verdict, level_name
from training.layers.activated import Style
from training.layers.equalized import HE_GAIN, Convolution, Dense
from training.layers.minibatch_stddev import minibatch_stddev
from training.layers.pixel_norm import pixel_norm
from training.layers.precision import at_least_single, full_precision
from training.layers.resample import double, double_and_convolve, halve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the networks; the defaults are those of the plain WGAN-GP row of the paper's Table 4.

    Attributes
    ----------
    fmap_base
        Feature maps of the generator at 4x4; half as many at every further level.
    discriminator_divisor
        K: the discriminator has 1/K of the generator's maps. 2 or 4 in the paper.
    latent_size
        Width of the latent vector.
    normalize_latents
        Pixel norm on the latent.
    generator_norm
        ``batch``, or ``pixel`` with the paper's own normalization.
    discriminator_norm
        ``batch``, ``layer`` or ``none``.
    equalized
        Equalized learning rate, part of the paper's own normalization.
    generator_leak, discriminator_leak
        Slope of the leaky ReLU for negative values.
    rgb_kernel
        Side of the convolution that leads to RGB: 3 (Metz et al. 2017), or 1, which the authors found to work better.
    tanh
        Hyperbolic tangent on the images.
    minibatch_stddev, stddev_group
        As in `training.architectures.pggan`, before the dense layer.
    """

    fmap_base: int = 64
    discriminator_divisor: int = 4
    latent_size: int = 64
    normalize_latents: bool = True
    generator_norm: Literal["batch", "pixel", "none"] = "batch"
    discriminator_norm: Literal["batch", "layer", "none"] = "batch"
    equalized: bool = False
    generator_leak: float = 0.3
    discriminator_leak: float = 0.2
    rgb_kernel: Literal[1, 3] = 3
    tanh: bool = True
    minibatch_stddev: bool = False
    stddev_group: int | None = None

    def __post_init__(self) -> None:
        for name in ("fmap_base", "discriminator_divisor", "latent_size", "stddev_group"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"network.{name} must be 1 or more, got {value}")
        for name in ("generator_leak", "discriminator_leak"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"network.{name} must be from 0 to 1, got {getattr(self, name)}")

    def channels(self, level: int) -> int:
        """Feature maps that the generator has at 2^level x 2^level."""
        return max(1, self.fmap_base >> (level - MIN_LEVEL))

    def discriminator_channels(self, level: int) -> int:
        """Feature maps of the discriminator at 2^level x 2^level; at 4x4, where it has no layer, as many as at 8x8."""
        return max(1, self.channels(max(level, MIN_LEVEL + 1)) // self.discriminator_divisor)


class Generator(nn.Module):
    """Latents to images, growing from 4x4. Parameters and calls are those of `pggan.Generator`."""

    def __init__(self, config: Config, resolution: int, num_classes: int = 0) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_size
        layer = Style(normalization=config.generator_norm, leak=config.generator_leak, equalized=config.equalized)
        width = config.channels(MIN_LEVEL)
        self.dense = layer.dense(self.latent_size + num_classes, width, side=4, gain=HE_GAIN / 4)
        self.blocks = nn.ModuleDict()
        self.to_rgb = nn.ModuleDict()
        for level in range(MIN_LEVEL, level_of(resolution) + 1):
            before, width = width, config.channels(level)
            if level > MIN_LEVEL:
                self.blocks[level_name(level)] = layer.convolution(before, width, operation=double_and_convolve)
            self.to_rgb[level_name(level)] = Convolution(
                width, 3, config.rgb_kernel, gain=1.0, equalized=config.equalized
            )

    def forward(self, latents: Tensor, level: int, alpha: float, labels: Tensor | None = None) -> Tensor:
        """Images of a level, float32."""
        if self.config.normalize_latents:
            latents = pixel_norm(latents)
        if labels is not None:
            latents = torch.cat([latents, labels.to(latents.dtype)], dim=1)
        coarse = x = self.dense(latents)
        for k in range(MIN_LEVEL + 1, level + 1):
            coarse, x = x, self.blocks[level_name(k)](x)
        images = at_least_single(self.to_rgb[level_name(level)](x))
        if alpha < 1.0 and level > MIN_LEVEL:
            images = torch.lerp(double(at_least_single(self.to_rgb[level_name(level - 1)](coarse))), images, alpha)
        return images.tanh() if self.config.tanh else images


class Discriminator(nn.Module):
    """Images to scores, growing from 4x4. Parameters and calls are those of `pggan.Discriminator`."""

    def __init__(self, config: Config, resolution: int, num_classes: int = 0) -> None:
        super().__init__()
        self.config = config
        layer = Style(
            normalization=config.discriminator_norm, leak=config.discriminator_leak, equalized=config.equalized
        )
        width = config.discriminator_channels(MIN_LEVEL)
        self.from_rgb = nn.ModuleDict({level_name(MIN_LEVEL): layer.convolution(3, width)})
        self.blocks = nn.ModuleDict()
        inputs = (width + int(config.minibatch_stddev)) * 16
        self.score = Dense(inputs, 1 + num_classes, gain=1.0, equalized=config.equalized)
        for level in range(MIN_LEVEL + 1, level_of(resolution) + 1):
            after, width = width, config.discriminator_channels(level)
            self.from_rgb[level_name(level)] = layer.convolution(3, width)
            if level > MIN_LEVEL + 1:
                self.blocks[level_name(level - 1)] = layer.convolution(width, after)

    def forward(
        self,
        images: Tensor,
        level: int,
        alpha: float,
        labels: Tensor | None = None,  # noqa: ARG002 (for networks that judge image and class together)
        perturb: Perturb | None = None,
    ) -> Verdict:
        """Scores of images of a level; `perturb` is applied to what goes into all layers but those from RGB."""
        x: Tensor = self.from_rgb[level_name(level)](images)
        for k in range(level - 1, MIN_LEVEL - 1, -1):
            x = halve(x)
            if k > MIN_LEVEL:
                x = self.blocks[level_name(k)](perturb(x) if perturb else x)
            if k == level - 1 and alpha < 1.0:
                x = torch.lerp(self.from_rgb[level_name(k)](halve(images)), x, alpha)
        if self.config.minibatch_stddev:
            x = minibatch_stddev(x, self.config.stddev_group)
        with full_precision(x.device):
            verdict = self.score(at_least_single(perturb(x) if perturb else x))
        return Verdict(verdict[:, 0], verdict[:, 1:] if verdict.shape[1] > 1 else None)
