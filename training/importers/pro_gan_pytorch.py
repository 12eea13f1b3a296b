"""Checkpoints of pro_gan_pytorch: ``depth_D_epoch_E.bin`` of version 3, ``GAN_GEN_SHADOW_D.pth`` of version 2.

Version 3 keeps a dictionary with ``generator``, ``shadow_generator``, ``discriminator``, each with its ``conf`` and
``state_dict``; version 2 the generator's state dict alone. What differs from the paper's generator:

- no pixel norm after the first layer (`first_layer` = ``unnormalized``), which is a 4x4 transposed convolution (in,
  out, 4, 4) of scale sqrt(2) / sqrt(in);
- the gain of the ways to RGB is sqrt(2);
- twice the feature maps at 64x64 and above in version 3;
- version 2 does not normalize latents.

A file does not say which level the training had reached; its name does, and ``--resolution`` can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL, resolution_of
from training.architectures import level_name, pggan
from training.importers import (
    Imported,
    Request,
    Weights,
    channel_rule,
    check_channels,
    check_depth,
    rescaled,
    store,
)
from training.layers.equalized import HE_GAIN

LAYOUT = "pro_gan_pytorch"
_DEPTHS = (  # how the programs name their files, and the level of their depth 0
    (re.compile(r"depth_(\d+)_epoch_\d+\.bin"), 0),
    (re.compile(r"GAN_GEN(?:_SHADOW)?_(\d+)\.pth"), MIN_LEVEL),
)
_DISCRIMINATOR = r"(module\.)?(final_block|from_rgb|rgb_to_features)\."
_TRAINED_SMALL = 0.3  # root mean square of weights, below which they cannot have been drawn from N(0, 1)


def convert(content: Any, request: Request) -> Imported | None:
    """Generator of a loaded file."""
    if not isinstance(content, Mapping):
        return None
    where = request.path
    if {"generator", "shadow_generator"} & set(content):
        order = ("shadow_generator", "generator") if request.average else ("generator",)
        part = next((content[name] for name in order if name in content), None)
    elif "conf" in content and "state_dict" in content:
        part = content
    elif any(str(name).startswith(("rgb_converters.", "module.rgb_converters.")) for name in content):
        part = {"state_dict": content}
    elif "discriminator" in content or any(re.match(_DISCRIMINATOR, str(name)) for name in content):
        raise InputError(f"{where} holds a discriminator and no generator; name the file of the generator")
    else:
        return None
    if not isinstance(part, Mapping) or not isinstance(part.get("state_dict"), Mapping):
        raise InputError(f"{where}: a generator without state_dict; its layout is not one we read")
    named = {str(name).removeprefix("module."): value for name, value in part["state_dict"].items()}
    if "rgb_converters.0.conv.weight" in named:
        raise InputError(
            f"{where} is of pro_gan_pytorch 1, whose files lack the scales of the layers (drawn anew at every start), "
            "so what it drew cannot be known; name a file of version 2 or 3, or one trained without use_eql"
        )
    if not any(name.startswith("rgb_converters.") for name in named):
        raise InputError(f"{where} has no weights rgb_converters.*; name the file of the generator")
    return _generator(Weights(named, where), part.get("conf"))


def _generator(weights: Weights, conf: Any) -> Imported:
    where, notes = weights.where, []
    if isinstance(conf, Mapping) and isinstance(conf.get("use_eql"), bool):
        equalized = conf["use_eql"]
    else:
        equalized = _looks_equalized(weights)
        notes.append(
            "the file does not say whether its learning rate is equalized; by the size of its weights it is"
            + ("" if equalized else " not")
        )
    second = "initial_block.conv_2.weight" in weights.named  # version 2
    tensors, widths = _layers(weights, second=second, equalized=equalized)
    weights.finish()
    top = check_depth(len(widths), where)
    level = _level_in_name(where)
    if level is None or level > top:
        level = top
        notes.append(
            f"the file does not say which level was reached; taken for {resolution_of(top)}x{resolution_of(top)}, "
            "the finest there is: choose another one with --resolution if its training had not come so far"
        )
    fmap_base, fmap_max = channel_rule(widths, where)
    network = pggan.Config(
        fmap_base=fmap_base,
        fmap_max=fmap_max,
        latent_size=tensors["dense.linear.weight"].shape[1],
        normalize_latents=not second,
        equalized=equalized,
        first_layer="unnormalized",
    )
    return Imported(LAYOUT, network, level, 1.0, top, 0, tensors, tuple(notes))


def _layers(weights: Weights, *, second: bool, equalized: bool) -> tuple[dict[str, Tensor], list[int]]:
    """Our tensors, and the feature maps of every level."""
    tensors: dict[str, Tensor] = {}

    def convolution(theirs: str, ours: str, weight: Tensor, gain: float = HE_GAIN) -> None:
        scale = HE_GAIN / math.sqrt(weight[0].numel())
        bias = weights.take(f"{theirs}.bias", len(weight))
        store(tensors, ours, rescaled(weight, scale, gain, equalized=equalized), bias)

    first, shift = ("initial_block", 1) if second else ("layers.0", 0)
    maps = weights.take(f"{first}.conv_1.weight", None, None, 4, 4)  # (in, out, row, column)
    latent, width = maps.shape[:2]
    dense = rescaled(maps.flatten(1).T, HE_GAIN / math.sqrt(latent), HE_GAIN / 4, equalized=equalized)
    store(tensors, "dense.linear", dense, weights.take(f"{first}.conv_1.bias", width))
    convolution(f"{first}.conv_2", "conv.linear", weights.take(f"{first}.conv_2.weight", width, width, 3, 3))
    widths: list[int] = []
    while f"rgb_converters.{len(widths)}.weight" in weights.named:
        k, name = len(widths), level_name(MIN_LEVEL + len(widths))
        if k > 0:
            block = f"layers.{k - shift}"
            weight = weights.take(f"{block}.conv_1.weight", None, width, 3, 3)
            width = len(weight)
            convolution(f"{block}.conv_1", f"blocks.{name}.0.linear", weight)
            weight = weights.take(f"{block}.conv_2.weight", width, width, 3, 3)
            convolution(f"{block}.conv_2", f"blocks.{name}.1.linear", weight)
        weight = weights.take(f"rgb_converters.{k}.weight", None, width, 1, 1)
        check_channels(len(weight), weights.where)
        convolution(f"rgb_converters.{k}", f"to_rgb.{name}", weight, gain=1.0)
        widths.append(width)
    return tensors, widths


def _looks_equalized(weights: Weights) -> bool:
    """By the size of the weights: drawn from N(0, 1) with equalized learning rate, far smaller without."""
    sizes = [
        value.double().square().mean().sqrt().item()
        for name, value in weights.named.items()
        if isinstance(value, Tensor) and name.endswith("conv_2.weight")
    ]
    return bool(sizes) and sum(sizes) / len(sizes) >= _TRAINED_SMALL


def _level_in_name(path: Path) -> int | None:
    for pattern, zero in _DEPTHS:
        if match := pattern.fullmatch(path.name):
            return max(int(match[1]) + zero, MIN_LEVEL)
    return None
