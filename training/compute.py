"""How the arithmetic is done: precision, memory layout, and how much of a minibatch is in memory at a time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from datasets.errors import InputError
from datasets.levels import level_of
from training.layers import winograd

Precision = Literal["float32", "bfloat16", "float16"]
_AUTOCAST: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """How a run computes. It changes the last bits of what is learnt, never the method.

    Attributes
    ----------
    precision
        Of convolutions and matrix products; weights, their averages, Adam and sums over images stay in float32.
        ``float16`` scales the losses, as its range asks for; ``bfloat16`` needs no such care.
    channels_last
        Keep the channels of a pixel beside each other in memory; None: if the precision is not float32.
    tf32
        Let GPUs round the factors of float32 products to 10 bits of mantissa, as they do with TensorFloat-32.
    winograd
        On processors, in float32: compute convolutions with a quarter of the multiplications, see
        `training.layers.winograd`. Needs numba; without it, or if False, torch's own convolution is taken.
    part_by_resolution
        Largest number of images of a minibatch that one process computes at a time, by resolution: smaller parts need
        less memory, and their gradients are added up. The minibatch standard deviation is then taken within parts.
    """

    precision: Precision = "float32"
    channels_last: bool | None = None
    tf32: bool = True
    winograd: bool = True
    part_by_resolution: Mapping[int, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for resolution, part in self.part_by_resolution.items():
            level_of(resolution, "compute.part_by_resolution:")
            if part < 1:
                raise InputError(f"compute.part_by_resolution.{resolution} must be 1 or more, got {part}")

    @property
    def layout(self) -> torch.memory_format:
        """Memory format of networks and images."""
        wanted = self.precision != "float32" if self.channels_last is None else self.channels_last
        return torch.channels_last if wanted else torch.contiguous_format

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """Block in which networks run at the configured precision."""
        if self.precision == "float32":
            return winograd.enabled(self.winograd)
        return torch.autocast(device.type, _AUTOCAST[self.precision])

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Scales losses so that their gradients fit into float16; does nothing at other precisions."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == "float16")


def number_of_parts(images: int, largest: int | None, group: int | None = None, least: int = 1) -> int:
    """Smallest number of equal parts of `images`, `least` or more, that are no larger than `largest`.

    Images that the networks look at in groups of `group` must be divided into whole groups, or into less than one.
    """
    limit = max(largest or images, 1)
    parts = (n for n in range(min(least, images), images + 1) if images % n == 0)
    return next(n for n in parts if images // n <= limit and is_groups(images // n, group))


def is_groups(images: int, group: int | None) -> bool:
    """Whether so many images make up whole groups of `group`, or one that is smaller."""
    return group is None or images <= group or images % group == 0


def place(network: nn.Module, device: torch.device, config: Config) -> None:
    """Move a network to where and how it computes."""
    network.to(device)
    network.to(memory_format=config.layout)  # type: ignore[call-overload]  # missing in torch's annotations


def set_up(device: torch.device, config: Config) -> None:
    """Settings of the whole process, for GPUs: TensorFloat-32, and the fastest convolution found by trying."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = True
