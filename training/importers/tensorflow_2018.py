"""Pickles of the authors' TensorFlow release of 2018, ``network-*.pkl``: three ``tfutil.Network`` (G, D, Gs).

Every network is its keyword arguments, the name of the function that builds it, that function's source (never looked
at here) and its variables as numpy arrays. What matters for the generator ``G_paper``:

- arrays lie (rows, columns, in, out), but those of the fused doubling convolutions (``Conv0_up``) (rows, columns, out,
  in), and mirrored in both directions: a transposed convolution writes each number of its kernel where a convolution
  reads it. The StyleGAN repository has the same function (networks_progan.py), but there ``Conv0_up`` lies (in, out)
  like the others, mirrored all the same;
- the dense layer is (latent, maps * 16) and has one bias per map, as ours;
- the run-time scales are ours: sqrt(2) / sqrt(fan-in), a quarter of it in the dense layer, gain 1 to RGB;
- ``ToRGB_lod0`` is the finest; the variable ``lod`` tells how far growing has come: 0 is full resolution, and its
  fraction is the share of the coarser level;
- labels are joined to the latent before normalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from datasets.errors import InputError
from datasets.levels import MIN_LEVEL, level_of
from datasets.unpickle import Record, text
from training.architectures import level_name, pggan
from training.importers import Imported, Request, Weights, check_channels, store
from training.settings import from_mapping

LAYOUT = "the TensorFlow release of 2018"
_LATER = "dnnlib.tflib.network.Network"  # what the StyleGAN repository calls a network
RECORDS = ("tfutil.Network", _LATER)


def convert(content: Any, request: Request) -> Imported | None:
    """Generator of an unpickled file."""
    networks = [one for one in (content if isinstance(content, tuple | list) else [content]) if isinstance(one, Record)]
    if not networks:
        return None
    where = request.path
    states = [(_named(one.state), one.name == _LATER) for one in networks if isinstance(one.state, dict)]
    generators = [one for one in states if one[0].get("build_func_name") in ("G_paper", b"G_paper")]
    if not generators:
        found = ", ".join(ascii(state.get("build_func_name")) for state, _ in states) or "nothing"
        raise InputError(
            f"{where} holds no generator built by G_paper, but {found}; name a network-snapshot-*.pkl or "
            "network-final.pkl, which holds (G, D, Gs)"
        )
    state, is_later = generators[-1 if request.average else 0]  # G, D, Gs: the average comes last
    arguments, variables = state.get("static_kwargs"), state.get("variables")
    if not isinstance(arguments, dict) or not isinstance(variables, list) or not all(map(_is_pair, variables)):
        raise InputError(f"{where}: a network without static_kwargs and variables; its layout is not one we read")
    notes = []
    if request.average and len(generators) < 2:
        notes.append("the file has one generator, which is taken")
    arguments = _named(arguments)
    if arguments.get("dtype", "float32") not in ("float32", b"float32"):
        notes.append(f"it was built for {text(arguments['dtype'])}; here it computes in float32")
    weights = Weights({text(name): value for name, value in variables}, where)
    return _generator(arguments, weights, notes, out_first=not is_later)


def _named(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Table whose keys are text, which Python 2 writes as bytes."""
    return {text(key): value for key, value in values.items()}


def _is_pair(variable: Any) -> bool:
    return isinstance(variable, tuple | list) and len(variable) == 2 and isinstance(variable[0], str | bytes)


def _generator(arguments: Mapping[str, Any], weights: Weights, notes: list[str], *, out_first: bool) -> Imported:
    where = weights.where
    option = _reader(arguments, weights)
    channels, labels = option("num_channels", 1), option("label_size", 0)
    resolution, fused = option("resolution", 32), option("fused_scale", default=True)
    check_channels(channels, where)
    try:
        top = level_of(resolution)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    network = from_mapping(
        {
            "network": {
                "fmap_base": option("fmap_base", 8192),
                "fmap_decay": option("fmap_decay", 1.0),
                "fmap_max": option("fmap_max", 512),
                "latent_size": arguments.get("latent_size"),
                "normalize_latents": option("normalize_latents", default=True),
                "normalize_labels": True,
                "generator_norm": "pixel" if option("use_pixelnorm", default=True) else "none",
                "pixel_norm_epsilon": option("pixelnorm_epsilon", 1e-8),
                "generator_leak": 0.2 if option("use_leakyrelu", default=True) else 0.0,
                "equalized": option("use_wscale", default=True),
            }
        },
        str(where),
    ).network
    kernels = None if not fused else "out in" if out_first else "in out"
    tensors = _layers(network, weights, top, network.latent_width + labels, channels, kernels)
    lod = min(max(_lod(weights), 0.0), top - MIN_LEVEL)  # as the program itself draws what lies beyond
    weights.finish()
    return Imported(LAYOUT, network, top - math.floor(lod), 1.0 - lod % 1.0, top, labels, tensors, tuple(notes))


def _layers(
    network: pggan.Config, weights: Weights, top: int, inputs: int, channels: int, fused: str | None
) -> dict[str, Tensor]:
    """Our tensors; `fused` says how the kernels of fused doubling lie, None that doubling is not fused."""
    tensors: dict[str, Tensor] = {}

    def convolution(theirs: str, ours: str, before: int, after: int, side: int = 3) -> None:
        weight = weights.take(f"{theirs}/weight", side, side, before, after).permute(3, 2, 0, 1)
        store(tensors, ours, weight, weights.take(f"{theirs}/bias", after))

    width = network.channels(MIN_LEVEL)
    dense = weights.take("4x4/Dense/weight", inputs, width * 16)
    store(tensors, "dense.linear", dense.T, weights.take("4x4/Dense/bias", width))
    convolution("4x4/Conv", "conv.linear", width, width)
    for level in range(MIN_LEVEL, top + 1):
        name, before, width = level_name(level), width, network.channels(level)
        if level > MIN_LEVEL:
            if fused:
                axes = (width, before) if fused == "out in" else (before, width)
                weight = weights.take(f"{name}/Conv0_up/weight", 3, 3, *axes).flip(0, 1)
                weight = weight.permute(2, 3, 0, 1) if fused == "out in" else weight.permute(3, 2, 0, 1)
                store(tensors, f"blocks.{name}.0.linear", weight, weights.take(f"{name}/Conv0_up/bias", width))
            else:
                convolution(f"{name}/Conv0", f"blocks.{name}.0.linear", before, width)
            convolution(f"{name}/Conv1", f"blocks.{name}.1.linear", width, width)
        convolution(f"ToRGB_lod{top - level}", f"to_rgb.{name}", width, channels, side=1)
    return tensors


def _reader(arguments: Mapping[str, Any], weights: Weights) -> Callable[..., Any]:
    """Function that gives a keyword argument, or the release's default, checked to be of the default's type."""

    def read(name: str, default: Any) -> Any:
        value = arguments.get(name, default)
        fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
        if not fits or (type(default) is int and value < 0):
            raise InputError(f"{weights.where}: {name} is {value!r}; its layout is not one we read")
        return value

    return read


def _lod(weights: Weights) -> float:
    if isinstance(weights.named.get("lod"), float | int):  # numpy's scalars are read as numbers
        weights.named["lod"] = np.array(weights.named["lod"], np.float32)
    return weights.take("lod").item()
