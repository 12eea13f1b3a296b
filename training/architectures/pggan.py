"""The networks of "Progressive Growing of GANs" (Karras et al., ICLR 2018, arXiv 1710.10196, appendix A.1, Table 2).

Generator: latent -> pixel norm -> dense to 4x4 -> conv3, then per level nearest doubling, conv3, conv3; every layer is
followed by leaky ReLU and pixel norm; a linear 1x1 convolution per level leads to RGB. The discriminator mirrors it
without normalization, with 2x2 means for halving and the minibatch standard deviation at 4x4. At 1024x1024 they have
23.1 million parameters each.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL, level_of, resolution_of
from training.layers.equalized import HE_GAIN, EqualizedConv2d, EqualizedLinear
from training.layers.minibatch_stddev import minibatch_stddev
from training.layers.pixel_norm import pixel_norm
from training.layers.resample import double, halve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the networks; the defaults are the paper's.

    Attributes
    ----------
    fmap_base, fmap_decay, fmap_max
        Feature maps of the layers at 2^r x 2^r: ``min(fmap_base / 2^((r - 1) * fmap_decay), fmap_max)``.
    latent_size
        Width of the latent vector; None takes the width of a layer at r = 1 (512 with the paper's numbers).
    normalize_latents
        Pixel norm on the latent itself.
    pixel_norm
        Pixel norm after every layer of the generator (section 4.2).
    minibatch_stddev
        The discriminator's view of variation (section 3).
    stddev_group
        Group of the minibatch standard deviation; None is the whole minibatch (paper), 4 is the TensorFlow release.
    leak
        Slope of the leaky ReLU for negative values.
    """

    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    latent_size: int | None = None
    normalize_latents: bool = True
    pixel_norm: bool = True
    minibatch_stddev: bool = True
    stddev_group: int | None = None
    leak: float = 0.2

    def __post_init__(self) -> None:
        for name in ("fmap_base", "fmap_max", "latent_size", "stddev_group"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"network.{name} must be 1 or more, got {value}")
        if not 0 <= self.fmap_decay <= 16:
            raise InputError(f"network.fmap_decay must be from 0 to 16, got {self.fmap_decay}")

    def channels(self, level: int) -> int:
        """Feature maps of a layer that works at 2^level x 2^level."""
        return self._width(level - 1)

    @property
    def latent_width(self) -> int:
        """Width of the latent vector."""
        return self.latent_size if self.latent_size is not None else self._width(0)

    def _width(self, stage: int) -> int:
        return max(1, min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max))


class Generator(nn.Module):
    """Latents to images, growing from 4x4.

    Parameters
    ----------
    config : Config
        Widths and options.
    resolution : int
        The finest resolution the network can reach; all levels from 4x4 up to it are built.
    """

    def __init__(self, config: Config, resolution: int) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_width
        channels = config.channels
        width = channels(MIN_LEVEL)
        # sqrt(2)/4: the scale of a 4x4 'full' convolution on a 1x1 input, which is what this layer is in the Theano
        # original (fan-in 16 times as large); with 512 latents the run-time scale is exactly 1/64.
        self.dense = EqualizedLinear(self.latent_size, width * 16, gain=HE_GAIN / 4, bias=False)
        self.dense_bias = nn.Parameter(torch.zeros(width))
        self.conv = EqualizedConv2d(width, width, 3)
        self.blocks = nn.ModuleDict()
        self.to_rgb = nn.ModuleDict({_name(MIN_LEVEL): EqualizedConv2d(width, 3, 1, gain=1.0)})
        for level in range(MIN_LEVEL + 1, level_of(resolution) + 1):
            self.blocks[_name(level)] = nn.ModuleList(
                [
                    EqualizedConv2d(channels(level - 1), channels(level), 3),
                    EqualizedConv2d(channels(level), channels(level), 3),
                ]
            )
            self.to_rgb[_name(level)] = EqualizedConv2d(channels(level), 3, 1, gain=1.0)

    def forward(self, latents: Tensor, level: int, alpha: float) -> Tensor:
        """Images of a level.

        Parameters
        ----------
        latents : Tensor, shape (N, latent_size)
            Draws from N(0, I).
        level : int
            log2 of the resolution.
        alpha : float
            Share of the newest level, 0 to 1 (section 2, Figure 2).

        Returns
        -------
        Tensor, shape (N, 3, 2**level, 2**level)
            RGB, nominally in [-1, 1]; linear, so values may lie outside.
        """
        if self.config.normalize_latents:
            latents = pixel_norm(latents)
        x = self.dense(latents).view(len(latents), -1, 4, 4) + self.dense_bias.view(1, -1, 1, 1)
        x = self._activate(x)
        x = self._activate(self.conv(x))
        coarse = x
        for k in range(MIN_LEVEL + 1, level + 1):
            coarse = x
            first, second = cast("nn.ModuleList", self.blocks[_name(k)])
            x = self._activate(first(double(x)))
            x = self._activate(second(x))
        images: Tensor = self.to_rgb[_name(level)](x)
        if alpha < 1.0 and level > MIN_LEVEL:
            images = torch.lerp(double(self.to_rgb[_name(level - 1)](coarse)), images, alpha)
        return images

    def _activate(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(x, self.config.leak)
        return pixel_norm(x) if self.config.pixel_norm else x


class Discriminator(nn.Module):
    """Images to scores, growing from 4x4.

    Parameters
    ----------
    config : Config
        Widths and options.
    resolution : int
        The finest resolution the network can take; all levels from 4x4 up to it are built.
    """

    def __init__(self, config: Config, resolution: int) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        width = channels(MIN_LEVEL)
        self.from_rgb = nn.ModuleDict({_name(MIN_LEVEL): EqualizedConv2d(3, width, 1)})
        self.blocks = nn.ModuleDict()
        for level in range(MIN_LEVEL + 1, level_of(resolution) + 1):
            self.from_rgb[_name(level)] = EqualizedConv2d(3, channels(level), 1)
            self.blocks[_name(level)] = nn.ModuleList(
                [
                    EqualizedConv2d(channels(level), channels(level), 3),
                    EqualizedConv2d(channels(level), channels(level - 1), 3),
                ]
            )
        self.conv = EqualizedConv2d(width + int(config.minibatch_stddev), width, 3)
        self.dense = EqualizedLinear(width * 16, config.channels(1))
        self.score = EqualizedLinear(config.channels(1), 1, gain=1.0)

    def forward(self, images: Tensor, level: int, alpha: float) -> Tensor:
        """Scores of images of a level; higher means more real.

        Parameters
        ----------
        images : Tensor, shape (N, 3, 2**level, 2**level)
            RGB in [-1, 1].
        level, alpha
            As for the generator.

        Returns
        -------
        Tensor, shape (N,)
        """
        x = self._activate(self.from_rgb[_name(level)](images))
        for k in range(level, MIN_LEVEL, -1):
            first, second = cast("nn.ModuleList", self.blocks[_name(k)])
            x = self._activate(first(x))
            x = halve(self._activate(second(x)))  # activation before the mean: the paper's order
            if k == level and alpha < 1.0:
                coarse = self._activate(self.from_rgb[_name(level - 1)](halve(images)))
                x = torch.lerp(coarse, x, alpha)
        if self.config.minibatch_stddev:
            x = minibatch_stddev(x, self.config.stddev_group)
        x = self._activate(self.conv(x))
        x = self._activate(self.dense(x.flatten(1)))
        scores: Tensor = self.score(x)
        return scores.squeeze(1)

    def _activate(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.config.leak)


def _name(level: int) -> str:
    """Key of a level in the module dictionaries, and so in checkpoints: ``32x32``."""
    return f"{resolution_of(level)}x{resolution_of(level)}"
