"""Both PGGAN networks in NumPy, written from the paper (appendix A.1, sections 2 to 4, Table 1), slow and in float64.

Takes the weights by their names in a checkpoint and the options by their names in a configuration, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
Options = Mapping[str, Any]

ROOT2 = np.sqrt(2.0)


def correlate(x: Array, kernels: Array) -> Array:
    """Zero-padded stride-1 correlation, tap by tap: (N, C, H, W), (O, C, k, k) -> (N, O, H, W)."""
    side, (height, width) = kernels.shape[2], x.shape[2:]
    border = side // 2
    padded = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    out = np.zeros((len(x), len(kernels), height, width))
    for i in range(side):
        for j in range(side):
            window = padded[:, :, i : i + height, j : j + width]
            out += np.einsum("nchw,oc->nohw", window, kernels[:, :, i, j])
    return out


def leaky(x: Array, leak: float) -> Array:
    return np.where(x >= 0, x, leak * x)


def pixel_norm(x: Array, epsilon: float) -> Array:
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + epsilon)


def up(x: Array) -> Array:
    return np.kron(x, np.ones((1, 1, 2, 2)))


def down(x: Array) -> Array:
    n, c, height, width = x.shape
    return x.reshape(n, c, height // 2, 2, width // 2, 2).mean(axis=(3, 5))


def res(level: int) -> str:
    return f"{2**level}x{2**level}"


def per_map(values: Array, like: Array) -> Array:
    """(C,) shaped to be added to or multiplied with (N, C, ...)."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def he(weights: Weights, name: str, gain: float, options: Options) -> Array:
    """Weights as applied: with He's constant over the inputs of one output number, if not already drawn so."""
    weight = weights[f"{name}.weight"]
    if not options["equalized"]:
        return weight
    return weight * (weights[f"{name}.scale"] if options["drawn_scale"] else gain / np.sqrt(weight[0].size))


def standardized(weights: Weights, name: str, x: Array, kind: str, *, training: bool) -> Array:
    """Batch or layer normalization with gain and shift per map; epsilon 1e-4 (Lasagne's)."""
    if kind == "layer":
        axes: tuple[int, ...] = tuple(range(1, x.ndim))
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    elif training:
        axes = (0, *range(2, x.ndim))
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    else:
        mean = per_map(weights[f"{name}.normalize.mean"], x)
        variance = per_map(weights[f"{name}.normalize.variance"], x)
    standard = (x - mean) / np.sqrt(variance + 1e-4)
    return standard * per_map(weights[f"{name}.normalize.gain"], x) + per_map(weights[f"{name}.normalize.shift"], x)


def finish(weights: Weights, name: str, x: Array, kind: str, leak: float, options: Options) -> Array:
    """Bias or normalization, activation, and pixel norm after it."""
    if kind in ("batch", "layer"):
        x = standardized(weights, name, x, kind, training=options.get("training", True))
    else:
        x = x + per_map(weights[f"{name}.linear.bias"], x)
    x = leaky(x, leak)
    return pixel_norm(x, options["pixel_norm_epsilon"]) if kind == "pixel" else x


def generator(
    weights: Weights, options: Options, z: Array, level: int, alpha: float, labels: Array | None = None
) -> Array:
    """Images of the generator."""
    epsilon = options["pixel_norm_epsilon"]
    if options["normalize_latents"] and not options["normalize_labels"]:
        z = pixel_norm(z, epsilon)
    if labels is not None:
        z = np.concatenate([z, labels], axis=1)
    if options["normalize_latents"] and options["normalize_labels"]:
        z = pixel_norm(z, epsilon)

    def layer(name: str, x: Array) -> Array:
        return finish(weights, name, x, options["generator_norm"], options["generator_leak"], options)

    def conv(name: str, x: Array) -> Array:
        return layer(name, correlate(x, he(weights, f"{name}.linear", ROOT2, options)))

    def rgb(k: int, x: Array) -> Array:
        out = correlate(x, he(weights, f"to_rgb.{res(k)}", 1.0, options))
        return out + per_map(weights[f"to_rgb.{res(k)}.bias"], out)

    x = z @ he(weights, "dense.linear", ROOT2 / 4, options).T
    x = conv("conv", layer("dense", x.reshape(len(z), -1, 4, 4)))
    pictures = {2: rgb(2, x)}
    for k in range(3, level + 1):
        x = conv(f"blocks.{res(k)}.1", conv(f"blocks.{res(k)}.0", up(x)))
        pictures[k] = rgb(k, x)
    images = pictures[level]
    if level > 2:
        images = alpha * images + (1 - alpha) * up(pictures[level - 1])
    return np.tanh(images) if options["tanh"] else images


def deviation(x: Array, group: int | None) -> Array:
    """Minibatch standard deviation of each image's group, (N,); of M groups, images M apart belong together."""
    groups = 1 if group is None or group >= len(x) else len(x) // group
    out = np.zeros(len(x))
    for g in range(groups):
        out[g::groups] = np.sqrt(x[g::groups].var(axis=0) + 1e-8).mean()
    return out


def discrimination(weights: Weights, x: Array) -> Array:
    """Minibatch discrimination: the statistics (N, kernels)."""
    theta = weights["discrimination.direction"]
    count, kernels = len(x), theta.shape[1]
    out = np.zeros((count, kernels))
    for k in range(kernels):
        w = theta[:, k] / np.linalg.norm(theta[:, k], axis=0) * np.exp(weights["discrimination.log_length"][k])
        seen = x @ w
        for i in range(count):
            others = [np.exp(-np.abs(seen[i] - seen[j]).sum()) for j in range(count) if j != i]
            out[i, k] = sum(others) + weights["discrimination.bias"][k]
    return out


def discriminator(
    weights: Weights,
    options: Options,
    images: Array,
    level: int,
    alpha: float,
    perturb: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """Scores and class logits of the discriminator, (N, 1 + classes)."""
    leak = options["discriminator_leak"]

    def from_rgb(k: int, x: Array) -> Array:
        name = f"from_rgb.{res(k)}"
        x = correlate(x, he(weights, f"{name}.linear", ROOT2, options))
        return finish(weights, name, x, "none", leak, options)

    def conv(name: str, x: Array, shrink: Callable[[Array], Array] = lambda x: x) -> Array:
        x = shrink(correlate(perturb(x), he(weights, f"{name}.linear", ROOT2, options)))
        return finish(weights, name, x, options["discriminator_norm"], leak, options)

    x = from_rgb(level, images)
    for k in range(level, 2, -1):
        x = conv(f"blocks.{res(k)}.0", x)
        if options["mean_before_activation"]:
            x = conv(f"blocks.{res(k)}.1", x, down)
        else:
            x = down(conv(f"blocks.{res(k)}.1", x))
        if k == level:
            x = alpha * x + (1 - alpha) * from_rgb(level - 1, down(images))
    if options["minibatch_stddev"]:
        planes = deviation(x, options["stddev_group"])[:, None, None, None] * np.ones((1, 1, 4, 4))
        x = np.concatenate([x, planes], axis=1)
    x = perturb(conv("conv", x)).reshape(len(x), -1)
    x = x @ he(weights, "dense.linear", ROOT2, options).T
    x = finish(weights, "dense", x, options["discriminator_norm"], leak, options)
    if options["minibatch_discrimination"]:
        x = np.concatenate([x, discrimination(weights, x)], axis=1)
    return x @ he(weights, "score", 1.0, options).T + weights["score.bias"]


def slopes(function: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """Central differences of a function of an array, one number at a time."""
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[place] = step
        out[place] = (function(x + shift) - function(x - shift)) / (2 * step)
    return out


def penalty(weights: Weights, options: Options, images: Array, level: int, alpha: float, step: float = 1e-5) -> float:
    """Mean over images of (|| d score / d image ||_2 - 1)^2, the gradient by central differences.

    All variants of the minibatch, each with one number of one image moved, are judged at once: image i of variant m is
    row i * M + m of M variants, so that a variant is one group of the minibatch standard deviation.
    """
    count, size = len(images), images.size
    moves = step * np.concatenate([np.eye(size), -np.eye(size)]).reshape(2 * size, *images.shape)
    variants = (images + moves).swapaxes(0, 1).reshape(-1, *images.shape[1:])
    scores = discriminator(weights, {**options, "stddev_group": count}, variants, level, alpha)[:, 0]
    up_total, down_total = scores.reshape(count, 2, size).sum(axis=0)
    gradient = ((up_total - down_total) / (2 * step)).reshape(images.shape)
    norms = np.sqrt((gradient**2).sum(axis=(1, 2, 3)))
    return float(np.mean((norms - 1) ** 2))
