"""The forward pass of both PGGAN networks in NumPy and SciPy, written from the paper (appendix A.1, sections 2-4).

Reads the weights from a torch module's state dict and nothing else. Convolutions are scipy correlations in float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate2d

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


def conv(x: Array, weight: Array, bias: Array, gain: float) -> Array:
    """Zero-padded stride-1 correlation with He's run-time scale."""
    n, _, height, width = x.shape
    out_channels, in_channels, side, _ = weight.shape
    scaled = weight * gain / np.sqrt(in_channels * side * side)
    out = np.zeros((n, out_channels, height, width))
    for i in range(n):
        for o in range(out_channels):
            for c in range(in_channels):
                out[i, o] += correlate2d(x[i, c], scaled[o, c], mode="same")
            out[i, o] += bias[o]
    return out


def leaky(x: Array) -> Array:
    return np.where(x >= 0, x, 0.2 * x)


def normalize(x: Array) -> Array:
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)


def up(x: Array) -> Array:
    return np.kron(x, np.ones((1, 1, 2, 2)))


def down(x: Array) -> Array:
    n, c, height, width = x.shape
    return x.reshape(n, c, height // 2, 2, width // 2, 2).mean(axis=(3, 5))


def res(level: int) -> str:
    return f"{2**level}x{2**level}"


def generator(weights: Weights, z: Array, level: int, alpha: float) -> Array:
    """Images of the generator."""
    root2 = np.sqrt(2.0)
    z = normalize(z)
    dense = weights["dense.weight"]
    x = (z @ (dense * (root2 / 4) / np.sqrt(dense.shape[1])).T).reshape(len(z), -1, 4, 4)
    x = normalize(leaky(x + weights["dense_bias"][None, :, None, None]))
    x = normalize(leaky(conv(x, weights["conv.weight"], weights["conv.bias"], root2)))
    pictures = {2: rgb(weights, x, 2)}
    for k in range(3, level + 1):
        x = up(x)
        for j in (0, 1):
            name = f"blocks.{res(k)}.{j}"
            x = normalize(leaky(conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], root2)))
        pictures[k] = rgb(weights, x, k)
    if level == 2:
        return pictures[2]
    return alpha * pictures[level] + (1 - alpha) * up(pictures[level - 1])


def rgb(weights: Weights, x: Array, level: int) -> Array:
    return conv(x, weights[f"to_rgb.{res(level)}.weight"], weights[f"to_rgb.{res(level)}.bias"], 1.0)


def from_rgb(weights: Weights, x: Array, level: int) -> Array:
    return leaky(
        conv(x, weights[f"from_rgb.{res(level)}.weight"], weights[f"from_rgb.{res(level)}.bias"], np.sqrt(2.0))
    )


def discriminator(weights: Weights, images: Array, level: int, alpha: float) -> Array:
    """Scores of the discriminator; the whole minibatch is one group of the standard deviation."""
    root2 = np.sqrt(2.0)
    x = from_rgb(weights, images, level)
    for k in range(level, 2, -1):
        for j in (0, 1):
            name = f"blocks.{res(k)}.{j}"
            x = leaky(conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], root2))
        x = down(x)
        if k == level:
            x = alpha * x + (1 - alpha) * from_rgb(weights, down(images), level - 1)
    deviation = np.sqrt(x.var(axis=0) + 1e-8).mean()
    x = np.concatenate([x, np.full_like(x[:, :1], deviation)], axis=1)
    x = leaky(conv(x, weights["conv.weight"], weights["conv.bias"], root2))
    flat = x.reshape(len(x), -1)
    hidden = leaky(flat @ (weights["dense.weight"] * root2 / np.sqrt(flat.shape[1])).T + weights["dense.bias"])
    score = hidden @ (weights["score.weight"] / np.sqrt(hidden.shape[1])).T + weights["score.bias"]
    return score[:, 0]
