"""Networks in the JSON layout of waifu2x: a list of plain 3x3 convolutions, one object each, run here with NumPy.

Keys: ``nInputPlane``, ``nOutputPlane``, ``kW``, ``kH``, ``weight`` (output plane, input plane, row, column), ``bias``;
the first object may have ``model_config``. All layers but the last are followed by a rectifier with slope 0.1 for what
is negative. No layer pads: the image is made larger beforehand by repeating its outermost pixels. RGB from 0 to 1.

The networks that double the size (``scale2.0x_model.json``) are plain convolutions too, of an image whose pixels were
repeated. Nothing inside of the file tells them from those that keep the size, so here the name counts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.restoration import Tile

_SLOPE = np.float32(0.1)
_KERNEL = 3
_PATCH_BYTES = 1 << 21  # of the pixels' neighbourhoods that are laid out at a time, so that they stay in the cache
_MOST_LAYERS = 64  # networks of this layout have seven


def recognises(data: bytes) -> bool:
    """True if a file is a JSON list whose first object speaks of planes."""
    start = data[:64].lstrip()
    return start.startswith(b"[") and b'"nInputPlane"' in data


class Convolutions:
    """A network of plain convolutions.

    Parameters
    ----------
    layers : list of (weight, bias)
        float32 of shapes (9 * inputs, outputs), rows ordered by row, column and input plane, and (outputs,).
    name : str
    scale : int
        Every pixel is first repeated this often in both directions.
    """

    size = None
    multiple = 1
    blend = 0

    def __init__(self, layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]], name: str, scale: int) -> None:
        self._layers = layers
        self.name, self.scale = name, scale
        self._reach = len(layers)  # pixels, after repeating; each layer looks one farther
        self.margin = -(-self._reach // scale)

    def __call__(self, tile: Tile) -> Tile:
        """Picture of a tile, see `toolkit.celebahq.restoration.Network`."""
        values = tile.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        values = np.pad(values, ((self._reach,) * 2, (self._reach,) * 2, (0, 0)), mode="edge")
        for number, (weight, bias) in enumerate(self._layers, start=1):
            values = convolve(values, weight, bias)
            if number < len(self._layers):
                np.maximum(values, _SLOPE * values, out=values)
        return values


def convolve(values: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Tile:
    """Correlation with 3x3 kernels, of the pixels that have all their neighbours: (H, W, C) to (H - 2, W - 2, D)."""
    height, width, planes = values.shape
    result = np.empty((height - 2, width - 2, len(bias)), np.float32)
    rows = min(height - 2, max(1, _PATCH_BYTES // (4 * width * weight.shape[0])))
    patches = np.empty((rows, width - 2, _KERNEL, _KERNEL, planes), np.float32)
    for top in range(0, height - 2, rows):
        part = result[top : top + rows]
        for row in range(_KERNEL):
            for column in range(_KERNEL):
                patches[: len(part), :, row, column] = values[
                    top + row : top + row + len(part), column : column + width - 2
                ]
        np.matmul(patches[: len(part)].reshape(-1, len(weight)), weight, out=part.reshape(-1, len(bias)))
    result += bias
    return result


def open_network(path: Path, data: bytes) -> Convolutions:
    """Open a network.

    Raises
    ------
    InputError
        If it is damaged, has layers of another kind, or is not from RGB to RGB.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: it begins as a JSON list of layers, but does not go on as JSON") from None
    if not isinstance(found, list) or not 1 <= len(found) <= _MOST_LAYERS:
        raise InputError(f"{path} must be a list of 1 to {_MOST_LAYERS} layers; get it again")
    layers = [_layer(layer, f"{path}, layer {number}") for number, layer in enumerate(found, start=1)]
    planes = [3, *(len(bias) for _, bias in layers)]
    for number, (weight, _) in enumerate(layers):
        if len(weight) != _KERNEL * _KERNEL * planes[number]:
            given = "an image of 3" if number == 0 else f"the {planes[number]} of the layer before it"
            raise InputError(
                f"{path}, layer {number + 1} takes {len(weight) // 9} planes, not {given}; take one for RGB images"
            )
    if planes[-1] != 3:
        raise InputError(f"{path} makes {planes[-1]} planes, not 3; take a network for RGB images (models_rgb)")
    config = found[0].get("model_config")
    name = config.get("arch_name") if isinstance(config, dict) else None
    return Convolutions(layers, name if isinstance(name, str) else f"{len(layers)} convolutions", _scale(path))


def _layer(layer: Any, where: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a layer, in the order that `convolve` takes."""
    if not isinstance(layer, dict):
        raise InputError(f"{where} is no JSON object; the file is damaged")
    kind, kernel = layer.get("class_name", "nn.SpatialConvolutionMM"), (layer.get("kW"), layer.get("kH"))
    steps, pads = (layer.get("dW", 1), layer.get("dH", 1)), (layer.get("padW", 0), layer.get("padH", 0))
    if kind != "nn.SpatialConvolutionMM" or kernel != (3, 3) or steps != (1, 1) or pads != (0, 0):
        raise InputError(
            f"{where} is {str(kind)[:60]!r} with kernel {kernel}, step {steps} and padding {pads}; only plain 3x3 "
            "convolutions are read from JSON: take a network of the architecture vgg_7, or an ONNX or .pth file"
        )
    try:
        weight = np.array(layer.get("weight"), np.float32)
        bias = np.array(layer.get("bias"), np.float32)
    except (ValueError, TypeError):
        raise InputError(f"{where}: weight and bias must be lists of numbers; the file is damaged") from None
    shape = (layer.get("nOutputPlane"), layer.get("nInputPlane"), _KERNEL, _KERNEL)
    if weight.shape != shape or bias.shape != shape[:1] or 0 in weight.shape:
        raise InputError(
            f"{where}: weight and bias have shapes {weight.shape} and {bias.shape}, and {shape} is announced; the file "
            "is damaged"
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError(f"{where} has weights that are not finite; the file is damaged")
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(bias))), bias


def _scale(path: Path) -> int:
    """Factor that the name of the file speaks of, 1 if of none."""
    named = re.search(r"scale(\d+)(?:\.0+)?x", path.name)
    factor = int(named[1]) if named else 1
    if not 1 <= factor <= 4:
        raise InputError(f"{path}: its name speaks of a factor of {factor}; networks of this layout have 1 to 4")
    return factor
