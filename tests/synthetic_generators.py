"""Files as other programs leave them, with small random generators inside: TensorFlow 2018, two PyTorch programs.

Layouts are written down from what those programs save, with their names, shapes and orders of axes. The classes that
their pickles mention exist only while a file is written.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]
Named = dict[str, Array]


def draw(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def foreign_class(module: str, name: str) -> type[Any]:
    """Class that pickles under the name of one of another program."""
    return type(name, (), {"__module__": module, "__qualname__": name})


def dump(value: Any, path: Path, *classes: type[Any], write: Any = None, protocol: int = 4) -> Path:
    """Pickle `value` while the modules of the classes exist."""
    modules = {}
    for one in classes:
        parts = one.__module__.split(".")
        for end in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        setattr(modules[one.__module__], one.__name__, one)
    with mock.patch.dict(sys.modules, modules):
        if write is None:
            path.write_bytes(pickle.dumps(value, protocol=protocol))
        else:
            write(value, path)
    return path


def tensorflow_variables(rng: np.random.Generator, arguments: Mapping[str, Any], lod: float) -> dict[str, Any]:
    """Variables of G_paper, by their local names."""
    top = int(np.log2(arguments["resolution"]))
    fused = arguments.get("fused_scale", True)

    def maps(level: int) -> int:
        base = arguments["fmap_base"] / 2.0 ** ((level - 1) * arguments.get("fmap_decay", 1.0))
        return min(int(base), arguments["fmap_max"])

    latent = arguments.get("latent_size") or min(arguments["fmap_base"], arguments["fmap_max"])
    inputs = latent + arguments.get("label_size", 0)
    size = 1.0 if arguments.get("use_wscale", True) else 0.1
    named: dict[str, Any] = {"lod": np.float32(lod)}

    def enter(name: str, *shape: int, biases: int) -> None:
        named[f"{name}/weight"] = draw(rng, *shape, scale=size)
        named[f"{name}/bias"] = draw(rng, biases, scale=0.4)

    enter("4x4/Dense", inputs, maps(2) * 16, biases=maps(2))
    enter("4x4/Conv", 3, 3, maps(2), maps(2), biases=maps(2))
    for level in range(2, top + 1):
        block, before, width = f"{2**level}x{2**level}", maps(level - 1), maps(level)
        if level > 2 and fused:
            enter(f"{block}/Conv0_up", 3, 3, width, before, biases=width)
        elif level > 2:
            enter(f"{block}/Conv0", 3, 3, before, width, biases=width)
        if level > 2:
            enter(f"{block}/Conv1", 3, 3, width, width, biases=width)
        channels = arguments["num_channels"]
        enter(f"ToRGB_lod{top - level}", 1, 1, width, channels, biases=channels)
    return named


def tensorflow_pickle(
    path: Path,
    arguments: Mapping[str, Any],
    variables: Sequence[Mapping[str, Any] | None],
    function: str = "G_paper",
    writer: str = "2018",
) -> Path:
    """The pickle of (G, D, Gs); `variables` are those of G and Gs, or of the one network.

    `writer` is ``2018``, ``stylegan`` (the same networks in its repository, in whose code kernels lie another way) or
    ``python 2`` (protocol 2, all text as bytes).
    """
    network = foreign_class(*(("dnnlib.tflib.network" if writer == "stylegan" else "tfutil"), "Network"))
    old = writer == "python 2"

    def told(value: Any) -> Any:
        if old and isinstance(value, dict):
            return {told(key): told(one) for key, one in value.items()}
        return value.encode() if old and isinstance(value, str) else value

    def lying(name: str, value: Any) -> Any:
        return value.swapaxes(2, 3) if writer == "stylegan" and name.endswith("Conv0_up/weight") else value

    def make(build: str, values: Mapping[str, Any]) -> Any:
        made = network()
        state = {
            "version": 2,
            "name": "net",
            "static_kwargs": dict(arguments),
            "build_module_src": "raise SystemExit('the source was run')\n",
            "build_func_name": build,
            "variables": [(told(name), lying(name, value)) for name, value in values.items()],
        }
        made.__dict__.update(state)
        network.__getstate__ = lambda self: told(self.__dict__)
        return made

    protocol = 2 if old else 4
    if len(variables) == 1:
        return dump((make(function, variables[0] or {}),), path, network, protocol=protocol)
    first, last = (make(function, values or {}) for values in variables)
    return dump((first, make("D_paper", {"lod": np.float32(0)}), last), path, network, protocol=protocol)


def gan_zoo_state(
    rng: np.random.Generator, latent: int, widths: Sequence[int], channels: int = 3, scale: float = 1.0
) -> Named:
    """State dict of pytorch_GAN_zoo's GNet."""
    named: Named = {}

    def enter(name: str, *shape: int) -> None:
        named[f"{name}.module.weight"] = draw(rng, *shape, scale=scale)
        named[f"{name}.module.bias"] = draw(rng, shape[0], scale=1.5)

    enter("groupScale0.0", widths[0], widths[0], 3, 3)
    for k, width in enumerate(widths):
        enter(f"toRGBLayers.{k}", channels, width, 1, 1)
        if k:
            enter(f"scaleLayers.{k - 1}.0", width, widths[k - 1], 3, 3)
            enter(f"scaleLayers.{k - 1}.1", width, width, 3, 3)
    enter("formatLayer", 16 * widths[0], latent)
    return named


def tensors(named: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in named.items()}


def gan_zoo_file(path: Path, config: Mapping[str, Any], *, legacy: bool = False, **states: Mapping[str, Array]) -> Path:
    """Checkpoint with `config` as the object that the program keeps there."""
    settings = foreign_class("models.utils.config", "BaseConfig")
    held = settings()
    held.__dict__.update(config)
    value = {"config": held, **{name: tensors(state) for name, state in states.items()}}
    return dump(value, path, settings, write=lambda v, p: torch.save(v, p, _use_new_zipfile_serialization=not legacy))


def pro_gan_state(
    rng: np.random.Generator,
    latent: int,
    widths: Sequence[int],
    *,
    version: int = 3,
    channels: int = 3,
    scale: float = 1.0,
) -> Named:
    """State dict of pro_gan_pytorch's Generator."""
    named: Named = {}

    def enter(name: str, *shape: int, biases: int | None = None) -> None:
        named[f"{name}.weight"] = draw(rng, *shape, scale=scale)
        named[f"{name}.bias"] = draw(rng, biases or shape[0], scale=0.4)

    first = "layers.0" if version == 3 else "initial_block"
    enter(f"{first}.conv_1", latent, widths[0], 4, 4, biases=widths[0])
    enter(f"{first}.conv_2", widths[0], widths[0], 3, 3)
    for k, width in enumerate(widths):
        if k:
            block = f"layers.{k if version == 3 else k - 1}"
            enter(f"{block}.conv_1", width, widths[k - 1], 3, 3)
            enter(f"{block}.conv_2", width, width, 3, 3)
        enter(f"rgb_converters.{k}", channels, width, 1, 1)
    return named
