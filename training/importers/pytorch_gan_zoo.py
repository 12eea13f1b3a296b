"""Checkpoints of pytorch_GAN_zoo, PGAN, ``*.pt``: ``config``, ``netG``, ``netD`` and ``avgG``.

The configuration is an object that holds values only. What differs from the paper's generator:

- the scale, sqrt(2) / sqrt(fan-in) in every layer, multiplies the bias too;
- the dense layer has one bias per pixel and map (`first_layer` = ``pixel_biases``);
- ``alpha`` is the share of the coarser level;
- losses called MSE and DCGAN put a hyperbolic tangent on the images;
- widths are listed one by one; only those that follow the paper's rule can be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL
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

LAYOUT = "pytorch_GAN_zoo"


def convert(content: Any, request: Request) -> Imported | None:
    """Generator of a loaded file."""
    if not isinstance(content, Mapping) or not {"netG", "netD", "avgG"} & set(content):
        return None
    where = request.path
    state = (content.get("avgG") or content.get("netG")) if request.average else content.get("netG")
    if not isinstance(state, Mapping):
        raise InputError(f"{where} holds no generator (netG or avgG); name a checkpoint that was saved whole")
    # Early files and those of DataParallel name the same weights without `module` or with one more.
    named = {str(name).replace("module.", ""): value for name, value in state.items()}
    if "formatLayer.weight" not in named:
        raise InputError(f"{where} is of pytorch_GAN_zoo, but not of its PGAN; DCGAN and StyleGAN cannot be imported")
    raw = content.get("config")
    config = raw if isinstance(raw, Mapping) else getattr(raw, "__dict__", None)
    if not config:
        raise InputError(f"{where} has no config, which says how its weights are meant; name a whole checkpoint")
    if not config.get("perChannelNormalization", True):
        raise InputError(f"{where} has perChannelNormalization off, with which that program cannot draw images")
    classes, notes = _classes(config.get("attribKeysOrder"), where)
    notes += ["the file has no avgG; netG is taken"] if request.average and "avgG" not in content else []
    weights = Weights(named, where)
    equalized = bool(config.get("equalizedlR", True))
    tensors, widths = _layers(weights, equalized=equalized)
    weights.finish()
    top = check_depth(len(widths), where)
    latent = tensors["dense.linear.0.weight"].shape[1] - classes
    if latent < 1 or latent != config.get("noiseVectorDim", latent):
        raise InputError(f"{where}: config and weights do not agree on the latent; its layout is not one we read")
    old = float(config.get("alpha", 0.0)) if top > MIN_LEVEL else 0.0
    if not 0.0 <= old <= 1.0:
        raise InputError(f"{where}: alpha is {old}, expected a number from 0 to 1")
    fmap_base, fmap_max = channel_rule(widths, where)
    network = pggan.Config(
        fmap_base=fmap_base,
        fmap_max=fmap_max,
        latent_size=latent,
        normalize_labels=True,
        generator_leak=float(config.get("leakyReluLeak", 0.2)),
        tanh=config.get("lossCriterion") in ("MSE", "DCGAN"),
        equalized=equalized,
        first_layer="pixel_biases",
    )
    return Imported(LAYOUT, network, top, 1.0 - old, top, classes, tensors, tuple(notes))


def _layers(weights: Weights, *, equalized: bool) -> tuple[dict[str, Tensor], list[int]]:
    """Our tensors, and the feature maps of every level."""
    tensors: dict[str, Tensor] = {}

    def layer(theirs: str, ours: str, weight: Tensor, gain: float = HE_GAIN) -> None:
        scale = math.sqrt(2.0 / weight[0].numel()) if equalized else 1.0
        bias = weights.take(f"{theirs}.bias", len(weight)) * scale
        store(tensors, ours, rescaled(weight, scale, gain, equalized=equalized), bias)

    layer("formatLayer", "dense.linear.0", weights.take("formatLayer.weight", None, None), HE_GAIN / 4)
    width = len(tensors["dense.linear.0.weight"]) // 16
    layer("groupScale0.0", "conv.linear", weights.take("groupScale0.0.weight", width, width, 3, 3))
    widths: list[int] = []
    while f"toRGBLayers.{len(widths)}.weight" in weights.named:
        k, name = len(widths), level_name(MIN_LEVEL + len(widths))
        if k > 0:
            weight = weights.take(f"scaleLayers.{k - 1}.0.weight", None, width, 3, 3)
            width = len(weight)
            layer(f"scaleLayers.{k - 1}.0", f"blocks.{name}.0.linear", weight)
            weight = weights.take(f"scaleLayers.{k - 1}.1.weight", width, width, 3, 3)
            layer(f"scaleLayers.{k - 1}.1", f"blocks.{name}.1.linear", weight)
        weight = weights.take(f"toRGBLayers.{k}.weight", None, width, 1, 1)
        check_channels(len(weight), weights.where)
        layer(f"toRGBLayers.{k}", f"to_rgb.{name}", weight, gain=1.0)
        widths.append(width)
    return tensors, widths


def _classes(attributes: Any, where: object) -> tuple[int, list[str]]:
    """Number of classes, and a note that names them."""
    if not attributes:
        return 0, []
    if not isinstance(attributes, Mapping):
        raise InputError(f"{where}: attribKeysOrder is no table; its layout is not one we read")
    if len(attributes) != 1:
        raise InputError(
            f"{where} is told {len(attributes)} attributes of an image, our networks one class; it cannot be imported"
        )
    ((name, attribute),) = attributes.items()
    values = attribute.get("values") if isinstance(attribute, Mapping) else None
    if not isinstance(values, list | tuple) or not values:
        raise InputError(f"{where}: attribute {name} has no values; its layout is not one we read")
    return len(values), [f"classes of {name} in order: {', '.join(map(str, values))}"]
