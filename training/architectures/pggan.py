"""The networks of "Progressive Growing of GANs" (Karras et al., ICLR 2018, arXiv 1710.10196, appendix A.1, Table 2).

Generator: latent -> pixel norm -> dense to 4x4 -> conv3, then per level nearest doubling, conv3, conv3; every layer is
followed by leaky ReLU and pixel norm; a linear 1x1 convolution per level leads to RGB. The discriminator mirrors it
without normalization, with 2x2 means for halving and the minibatch standard deviation at 4x4. At 1024x1024 they have
23.1 million parameters each. Options give the two released programs and the rows of Table 1.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, cast

import torch
from torch import Tensor, nn

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL, level_of
from training.architectures import Perturb, Verdict, level_name
from training.layers.activated import Activated, Style
from training.layers.equalized import HE_GAIN, Convolution, Dense, scale_as_drawn
from training.layers.minibatch_discrimination import MinibatchDiscrimination
from training.layers.minibatch_stddev import minibatch_stddev
from training.layers.pixel_norm import EPSILON, pixel_norm
from training.layers.precision import at_least_single, full_precision
from training.layers.resample import (
    convolve,
    convolve_and_halve,
    convolve_then_halve,
    double,
    double_and_convolve,
    double_then_convolve,
    halve,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the networks; the defaults are the paper's, where it has one.

    Attributes
    ----------
    fmap_base, fmap_decay, fmap_max
        Feature maps of the layers at 2^r x 2^r: ``min(fmap_base / 2^((r - 1) * fmap_decay), fmap_max)``.
    latent_size
        Width of the latent vector; None takes the width of a layer at r = 1 (512 with the paper's numbers).
    normalize_latents
        Pixel norm on the latent itself.
    normalize_labels
        Pixel norm over latent and label together (TensorFlow release); otherwise over the latent alone, and the label
        joins it afterwards (Theano release). The paper does not say.
    generator_norm
        ``pixel`` (section 4.2), ``batch`` (Table 1, rows a to c) or ``none`` (rows d and e).
    pixel_norm_epsilon
        Added to the mean square in pixel norm.
    first_layer
        The generator's dense layer. ``paper``: a bias per map, normalized like every other layer. For imported
        networks: ``pixel_biases``: a bias per pixel and map (pytorch_GAN_zoo); ``unnormalized``: no norm after it
        (pro_gan_pytorch).
    generator_leak, discriminator_leak
        Slope of the leaky ReLU for negative values; 0 is a ReLU (the generator in Table 1, rows a to c).
    tanh
        Hyperbolic tangent on the generator's images (Table 1, rows a to c).
    discriminator_norm
        ``none``, ``layer`` (Table 1, rows a to c) or ``batch``. Convolutions from and to RGB are never normalized.
    mean_before_activation
        In the second layer of every level of the discriminator: convolution, 2x2 mean, leaky ReLU, as in the
        TensorFlow release's default form, rather than convolution, leaky ReLU, 2x2 mean (paper, Theano release).
    fused_resampling
        Convolution and doubling, or halving, in one operation of fewer multiplications: the same function, up to
        rounding. In the discriminator only with `mean_before_activation`, for else an activation stands between them.
    equalized
        Equalized learning rate (section 4.1); otherwise He's initial weights, not scaled at run time.
    drawn_scale
        With it, scale by the root mean square of the initial weights (Theano release) rather than by the deviation that
        they are drawn with (paper, TensorFlow release).
    minibatch_stddev
        The discriminator's view of variation (section 3).
    stddev_group
        Group of the minibatch standard deviation; None is the whole minibatch (paper, Theano release), 4 is the
        TensorFlow release.
    minibatch_discrimination
        Number of kernels of minibatch discrimination (100 in Table 1, row e*); 0 is none.
    """

    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    latent_size: int | None = None
    normalize_latents: bool = True
    normalize_labels: bool = False
    generator_norm: Literal["pixel", "batch", "none"] = "pixel"
    pixel_norm_epsilon: float = EPSILON
    first_layer: Literal["paper", "pixel_biases", "unnormalized"] = "paper"
    generator_leak: float = 0.2
    tanh: bool = False
    discriminator_norm: Literal["none", "layer", "batch"] = "none"
    discriminator_leak: float = 0.2
    mean_before_activation: bool = False
    fused_resampling: bool = True
    equalized: bool = True
    drawn_scale: bool = False
    minibatch_stddev: bool = True
    stddev_group: int | None = None
    minibatch_discrimination: int = 0

    def __post_init__(self) -> None:
        for name in ("fmap_base", "fmap_max", "latent_size", "stddev_group"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"network.{name} must be 1 or more, got {value}")
        if not 0 <= self.fmap_decay <= 16:
            raise InputError(f"network.fmap_decay must be from 0 to 16, got {self.fmap_decay}")
        for name in ("generator_leak", "discriminator_leak"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"network.{name} must be from 0 to 1, got {getattr(self, name)}")
        if not self.pixel_norm_epsilon > 0:
            raise InputError(f"network.pixel_norm_epsilon must be above 0, got {self.pixel_norm_epsilon}")
        if self.minibatch_discrimination < 0:
            raise InputError(f"network.minibatch_discrimination must be 0 or more, got {self.minibatch_discrimination}")

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
    num_classes : int
        Width of the labels; 0: there are none.
    """

    def __init__(self, config: Config, resolution: int, num_classes: int = 0) -> None:
        super().__init__()
        self.config = config
        self.latent_size = config.latent_width
        self.num_classes = num_classes
        enlarge = double_and_convolve if config.fused_resampling else double_then_convolve
        layer = Style(
            normalization=config.generator_norm,
            leak=config.generator_leak,
            epsilon=config.pixel_norm_epsilon,
            equalized=config.equalized,
        )

        def to_rgb(channels: int) -> Convolution:
            return Convolution(channels, 3, 1, gain=1.0, equalized=config.equalized)

        width = config.channels(MIN_LEVEL)
        self.dense = _first_layer(config, layer, self.latent_size + num_classes, width)
        self.conv = layer.convolution(width, width)
        self.blocks = nn.ModuleDict()
        self.to_rgb = nn.ModuleDict({level_name(MIN_LEVEL): to_rgb(width)})
        for level in range(MIN_LEVEL + 1, level_of(resolution) + 1):
            before, width = width, config.channels(level)
            self.blocks[level_name(level)] = nn.Sequential(
                layer.convolution(before, width, operation=enlarge), layer.convolution(width, width)
            )
            self.to_rgb[level_name(level)] = to_rgb(width)
        if config.drawn_scale:
            scale_as_drawn(self)

    def forward(self, latents: Tensor, level: int, alpha: float, labels: Tensor | None = None) -> Tensor:
        """Images of a level.

        Parameters
        ----------
        latents : Tensor, shape (N, latent_size)
            Draws from N(0, I).
        level : int
            log2 of the resolution.
        alpha : float
            Share of the newest level, 0 to 1 (section 2, Figure 2).
        labels : Tensor, shape (N, num_classes), or None
            One-hot; needed if there are classes.

        Returns
        -------
        Tensor of float32, shape (N, 3, 2**level, 2**level)
            RGB, nominally in [-1, 1]; linear without `tanh`, so values may lie outside.
        """
        coarse = x = self.conv(self.dense(self._input(latents, labels)))
        for k in range(MIN_LEVEL + 1, level + 1):
            coarse, x = x, self.blocks[level_name(k)](x)
        images = at_least_single(self.to_rgb[level_name(level)](x))
        if alpha < 1.0 and level > MIN_LEVEL:
            images = torch.lerp(double(at_least_single(self.to_rgb[level_name(level - 1)](coarse))), images, alpha)
        return images.tanh() if self.config.tanh else images

    def _input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Latents and labels, normalized and joined in the configured order."""
        parts = [latents] if labels is None else [latents, labels.to(latents.dtype)]
        config = self.config
        if config.normalize_latents and not config.normalize_labels:
            parts[0] = pixel_norm(latents, config.pixel_norm_epsilon)
        joined = torch.cat(parts, dim=1)
        both = config.normalize_latents and config.normalize_labels
        return pixel_norm(joined, config.pixel_norm_epsilon) if both else joined


def _first_layer(config: Config, layer: Style, in_features: int, width: int) -> Activated:
    """From a vector to 4x4."""
    # sqrt(2)/4: the scale of a 4x4 'full' convolution on a 1x1 input, which is what this layer is in the Theano
    # original (fan-in 16 times as large); with 512 latents the run-time scale is exactly 1/64.
    gain = HE_GAIN / 4
    if config.first_layer == "pixel_biases":
        numbers = Dense(in_features, width * 16, gain=gain, equalized=config.equalized)
        return Activated(nn.Sequential(numbers, nn.Unflatten(1, (width, 4, 4))), width, layer)
    if config.first_layer == "unnormalized":
        layer = dataclasses.replace(layer, normalization="none")
    return layer.dense(in_features, width, side=4, gain=gain)


class Discriminator(nn.Module):
    """Images to scores, growing from 4x4.

    Parameters
    ----------
    config : Config
        Widths and options.
    resolution : int
        The finest resolution the network can take; all levels from 4x4 up to it are built.
    num_classes : int
        Number of classes that it tells apart; 0: none.
    """

    def __init__(self, config: Config, resolution: int, num_classes: int = 0) -> None:
        super().__init__()
        self.config = config
        shrink = convolve
        if config.mean_before_activation:
            shrink = convolve_and_halve if config.fused_resampling else convolve_then_halve
        plain = Style(leak=config.discriminator_leak, equalized=config.equalized)
        layer = dataclasses.replace(plain, normalization=config.discriminator_norm)
        width = config.channels(MIN_LEVEL)
        self.from_rgb = nn.ModuleDict({level_name(MIN_LEVEL): plain.convolution(3, width, 1)})
        self.blocks = nn.ModuleDict()
        for level in range(MIN_LEVEL + 1, level_of(resolution) + 1):
            after, width = width, config.channels(level)
            self.from_rgb[level_name(level)] = plain.convolution(3, width, 1)
            self.blocks[level_name(level)] = nn.ModuleList(
                [layer.convolution(width, width), layer.convolution(width, after, operation=shrink)]
            )
        width, features, kernels = config.channels(MIN_LEVEL), config.channels(1), config.minibatch_discrimination
        self.conv = layer.convolution(width + int(config.minibatch_stddev), width)
        self.dense = layer.dense(width * 16, features)
        self.discrimination = MinibatchDiscrimination(features, kernels) if kernels else None
        # One matrix for score and classes (TensorFlow); two on the same features (Theano) are the same thing.
        self.score = Dense(features + kernels, 1 + num_classes, gain=1.0, equalized=config.equalized)
        if config.drawn_scale:
            scale_as_drawn(self)

    def forward(
        self,
        images: Tensor,
        level: int,
        alpha: float,
        labels: Tensor | None = None,  # noqa: ARG002 (for networks that judge image and class together)
        perturb: Perturb | None = None,
    ) -> Verdict:
        """Scores of images of a level; higher means more real.

        Parameters
        ----------
        images : Tensor, shape (N, 3, 2**level, 2**level)
            RGB in [-1, 1].
        level, alpha
            As for the generator.
        labels : Tensor or None
            Not looked at.
        perturb : callable, optional
            Applied to what goes into every layer but those from RGB and to the score.

        Returns
        -------
        Verdict
        """
        x = self._features(images, level, alpha, perturb or _unchanged)
        if self.discrimination is not None:
            x = self.discrimination(x)
        with full_precision(x.device):
            verdict = self.score(at_least_single(x))
        return Verdict(verdict[:, 0], verdict[:, 1:] if verdict.shape[1] > 1 else None)

    @torch.no_grad()
    def prepare(self, images: Tensor, level: int, alpha: float) -> None:
        """Give minibatch discrimination the initial values that suit the data; call it once, before the first step.

        Parameters
        ----------
        images : Tensor, shape (N, 3, 2**level, 2**level)
            Real images in [-1, 1]; 500 in the Theano release.
        level, alpha
            Of the first step.
        """
        if self.discrimination is not None:
            self.discrimination.prepare(self._features(images, level, alpha, _unchanged))

    def _features(self, images: Tensor, level: int, alpha: float, perturb: Perturb) -> Tensor:
        """What the score is taken from: (N, C)."""
        x: Tensor = self.from_rgb[level_name(level)](images)
        for k in range(level, MIN_LEVEL, -1):
            first, second = cast("nn.ModuleList", self.blocks[level_name(k)])
            x = second(perturb(first(perturb(x))))
            if not self.config.mean_before_activation:
                x = halve(x)
            if k == level and alpha < 1.0:
                x = torch.lerp(self.from_rgb[level_name(level - 1)](halve(images)), x, alpha)
        if self.config.minibatch_stddev:
            x = minibatch_stddev(x, self.config.stddev_group)
        features: Tensor = self.dense(perturb(self.conv(perturb(x))))
        return features


def _unchanged(x: Tensor) -> Tensor:
    return x
