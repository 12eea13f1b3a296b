"""Generators of other programs as ours: one module per layout, which says what it reads and by which rules.

A module of this folder has ``convert(content, request) -> Imported | None``: None if `content` is not of its layout, an
InputError if it is but cannot be represented exactly. `content` is what `training.importing` read from the file:
plain values, arrays and tensors; nothing in a file is run.

Weights are brought to the run-time scales of `training.architectures.pggan`, so the functions are the same up to
rounding. Only generators travel: to go on training, the other program's discriminator, optimizers and schedule would
have to be ours as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL
from training.architectures import pggan


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of a file.

    Attributes
    ----------
    path : Path
        The file.
    average : bool
        The moving average of the generator, if the file has one; otherwise the generator as it was trained.
    """

    path: Path
    average: bool = True


@dataclasses.dataclass(frozen=True)
class Imported:
    """A generator as `pggan.Generator` holds it.

    Attributes
    ----------
    layout : str
        The program it came from.
    network : pggan.Config
        Widths and options.
    level, alpha
        What it had reached.
    top_level : int
        log2 of the finest resolution it has layers for.
    num_classes : int
        Width of its labels.
    tensors : dict of str to Tensor of float32
        Named as in ``pggan.Generator.state_dict()``.
    notes : tuple of str
        What a person should know: what the file did not say, or what it says about its classes.
    """

    layout: str
    network: pggan.Config
    level: int
    alpha: float
    top_level: int
    num_classes: int
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


class Weights:
    """Named weights of a network, all of which must be asked for, in the shapes that they should have.

    Parameters
    ----------
    named : mapping of str to Tensor or ndarray
        The weights.
    where : Path
        Their file, for error messages.
    """

    def __init__(self, named: Mapping[str, Any], where: Path) -> None:
        self.named = dict(named)
        self.where = where
        self._left = set(self.named)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Weight `name` in float64; None in `shape` stands for any side of 1 or more."""
        value = self.named.get(name)
        if not isinstance(value, np.ndarray | Tensor):
            there = ", ".join(sorted(self.named)[:3])
            raise InputError(f"{self.where} has no array {name} (it begins {there}); its layout is not one we read")
        self._left.discard(name)
        if isinstance(value, np.ndarray):
            with np.errstate(invalid="ignore"):  # what is not a number is refused below
                value = torch.from_numpy(np.array(value, np.float64))
        tensor = value.detach()
        fits = len(shape) == tensor.ndim and all(
            found > 0 and wanted in (None, found) for found, wanted in zip(tensor.shape, shape, strict=True)
        )
        if not fits or not tensor.is_floating_point():
            wanted = " x ".join("any" if side is None else str(side) for side in shape)
            found = " x ".join(map(str, tensor.shape)) or "a number"
            raise InputError(f"{self.where}: {name} is {found}, expected {wanted}; its layout is not one we read")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{self.where}: {name} holds numbers that are not finite; take an earlier checkpoint")
        return tensor.to(torch.float64)

    def finish(self) -> None:
        """Refuse weights that nobody asked for: the network does more than its layout says."""
        if self._left:
            some = ", ".join(sorted(self._left)[:3])
            raise InputError(
                f"{self.where}: {len(self._left)} weights have no place in the layout ({some}); "
                "the network was changed and cannot be imported"
            )


def rescaled(weight: Tensor, scale: float, gain: float, *, equalized: bool) -> Tensor:
    """Weight that under our run-time scale, ``gain / sqrt(fan_in)``, is what `weight` is under the scale `scale`.

    Without equalized learning rate neither program scales.
    """
    return weight * (scale * math.sqrt(weight[0].numel()) / gain) if equalized else weight


def store(tensors: dict[str, Tensor], name: str, weight: Tensor, bias: Tensor) -> None:
    """Enter a layer; a grey network's way to RGB becomes three equal ways."""
    if name.startswith("to_rgb.") and len(weight) == 1:
        weight, bias = weight.repeat(3, 1, 1, 1), bias.repeat(3)
    tensors[f"{name}.weight"] = weight.float().contiguous()
    tensors[f"{name}.bias"] = bias.float().contiguous()


def channel_rule(widths: Sequence[int], where: Path) -> tuple[int, int]:
    """``fmap_base`` and ``fmap_max`` that give these feature maps at 4x4, 8x8, ...

    Raises
    ------
    InputError
        If no rule of the paper's form does.
    """
    top = MIN_LEVEL + len(widths) - 1
    for base in (8192, widths[-1] << (top - 1)):
        rule = pggan.Config(fmap_base=base, fmap_max=widths[0])
        if [rule.channels(level) for level in range(MIN_LEVEL, top + 1)] == list(widths):
            return base, widths[0]
    raise InputError(
        f"{where}: feature maps {', '.join(map(str, widths))} from 4x4 on do not follow min(base / 2^(r - 1), max), "
        "the only rule that our network has; this network cannot be imported"
    )


def check_depth(levels: int, where: Path) -> int:
    """Finest level of a network of so many levels from 4x4 on."""
    top = MIN_LEVEL + levels - 1
    if not MIN_LEVEL <= top <= MAX_LEVEL:
        raise InputError(f"{where} has {levels} levels; from 1 to {MAX_LEVEL - MIN_LEVEL + 1} are possible")
    return top


def check_channels(channels: int, where: Path) -> None:
    """Refuse images of neither one nor three channels."""
    if channels not in (1, 3):
        raise InputError(
            f"{where} draws images of {channels} channels; only RGB and grey (which becomes RGB) can be read"
        )
