"""The generators of three other programs in NumPy, each by its own rules, in float64: what an import must equal.

Written from the rules those programs compute by (where scales apply, in which order axes lie, which norm is missing),
not by way of our network: doubling convolutions of TensorFlow, for one, scatter as transposed convolutions do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracles.pggan import correlate, leaky, up

Array = NDArray[np.float64]
Weights = Mapping[str, Any]


def normalize(x: Array, epsilon: float = 1e-8) -> Array:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + epsilon)


def add(x: Array, bias: Any) -> Array:
    return x + np.asarray(bias, np.float64).reshape(1, -1, 1, 1)


def transposed(x: Array, kernel: Array) -> Array:
    """Transposed convolution 4x4 of stride 2, padding 1; kernel (row, column, out, in)."""
    n, _, height, width = x.shape
    wide = np.zeros((n, kernel.shape[2], 2 * height + 2, 2 * width + 2))
    for row in range(height):
        for column in range(width):
            spread = np.einsum("nc,yxoc->noyx", x[:, :, row, column], kernel)
            wide[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += spread
    return wide[:, :, 1:-1, 1:-1]


def tensorflow(named: Weights, arguments: Mapping[str, Any], z: Array, labels: Array | None = None) -> Array:
    """G_paper at its `lod`, enlarged to no more than the level that it has reached."""
    top = int(np.log2(arguments["resolution"]))
    epsilon = arguments.get("pixelnorm_epsilon", 1e-8)
    equalized = arguments.get("use_wscale", True)

    def scaled(name: str, fan_in: int, gain: float) -> Array:
        weight = np.asarray(named[f"{name}/weight"], np.float64)
        return weight * gain / np.sqrt(fan_in) if equalized else weight

    def finish(x: Array, name: str) -> Array:
        x = leaky(add(x, named[f"{name}/bias"]), 0.2 if arguments.get("use_leakyrelu", True) else 0.0)
        return normalize(x, epsilon) if arguments.get("use_pixelnorm", True) else x

    def conv(x: Array, name: str, gain: float = np.sqrt(2)) -> Array:
        side, _, inputs, _ = named[f"{name}/weight"].shape
        return correlate(x, scaled(name, side**2 * inputs, gain).transpose(3, 2, 0, 1))

    def to_rgb(x: Array, level: int) -> Array:
        name = f"ToRGB_lod{top - level}"
        return add(conv(x, name, gain=1.0), named[f"{name}/bias"])

    x = z if labels is None else np.concatenate([z, labels], axis=1)
    if arguments.get("normalize_latents", True):
        x = normalize(x, epsilon)
    x = x @ scaled("4x4/Dense", x.shape[1], np.sqrt(2) / 4)
    x = finish(x.reshape(len(z), -1, 4, 4), "4x4/Dense")
    x = finish(conv(x, "4x4/Conv"), "4x4/Conv")
    lod = float(named["lod"])
    coarse, images = None, to_rgb(x, 2)
    for level in range(3, top - int(np.floor(lod)) + 1):
        block = f"{2**level}x{2**level}"
        if arguments.get("fused_scale", True):
            kernel = scaled(f"{block}/Conv0_up", 9 * x.shape[1], np.sqrt(2))
            padded = np.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
            x = transposed(x, padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1])
            x = finish(x, f"{block}/Conv0_up")
        else:
            x = finish(conv(up(x), f"{block}/Conv0"), f"{block}/Conv0")
        x = finish(conv(x, f"{block}/Conv1"), f"{block}/Conv1")
        coarse, images = images, to_rgb(x, level)
    share = lod % 1.0
    return images if coarse is None else (1 - share) * images + share * up(coarse)


def gan_zoo(named: Weights, config: Mapping[str, Any], z: Array) -> Array:
    """GNet: scale on weight and bias alike."""

    def affine(x: Array, name: str) -> Array:
        weight = np.asarray(named[f"{name}.module.weight"], np.float64)
        bias = np.asarray(named[f"{name}.module.bias"], np.float64)
        out = x @ weight.T + bias if weight.ndim == 2 else add(correlate(x, weight), bias)
        return out * np.sqrt(2.0 / weight[0].size) if config["equalizedlR"] else out

    leak, levels = config["leakyReluLeak"], sum(name.startswith("toRGBLayers") for name in named) // 2
    x = leaky(affine(normalize(z), "formatLayer"), leak).reshape(len(z), -1, 4, 4)
    x = normalize(leaky(affine(normalize(x), "groupScale0.0"), leak))
    coarse = x
    for k in range(levels - 1):
        coarse, x = x, up(x)
        for part in (0, 1):
            x = normalize(leaky(affine(x, f"scaleLayers.{k}.{part}"), leak))
    images = affine(x, f"toRGBLayers.{levels - 1}")
    if levels > 1:
        old = up(affine(coarse, f"toRGBLayers.{levels - 2}"))
        images = config["alpha"] * old + (1 - config["alpha"]) * images
    return np.tanh(images) if config["lossCriterion"] in ("MSE", "DCGAN") else images


def pro_gan(named: Weights, z: Array, level: int, *, version: int, equalized: bool) -> Array:
    """Generator of pro_gan_pytorch, fully faded in: no norm after the first layer, gain sqrt(2) to RGB."""

    def weight(name: str, fan_in: int) -> Array:
        value = np.asarray(named[f"{name}.weight"], np.float64)
        return value * np.sqrt(2) / np.sqrt(fan_in) if equalized else value

    def conv(x: Array, name: str) -> Array:
        fan_in = named[f"{name}.weight"][0].size
        return add(correlate(x, weight(name, fan_in)), named[f"{name}.bias"])

    first, shift = ("layers.0", 0) if version == 3 else ("initial_block", 1)
    z = normalize(z) if version == 3 else z
    x = np.einsum("ni,ioyx->noyx", z, weight(f"{first}.conv_1", z.shape[1]))
    x = leaky(add(x, named[f"{first}.conv_1.bias"]), 0.2)
    x = normalize(leaky(conv(x, f"{first}.conv_2"), 0.2))
    for k in range(1, level - 1):
        x = normalize(leaky(conv(up(x), f"layers.{k - shift}.conv_1"), 0.2))
        x = normalize(leaky(conv(x, f"layers.{k - shift}.conv_2"), 0.2))
    return conv(x, f"rgb_converters.{level - 2}")
