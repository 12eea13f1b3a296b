"""Going on when a minibatch does not fit into memory: it is computed in parts whose gradients are added up."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from datasets.errors import InputError
from datasets.levels import resolution_of
from training.compute import Config, number_of_parts

Result = TypeVar("Result")


def in_parts(
    compute: Callable[[int], Result],
    images: int,
    level: int,
    parts: dict[int, int],
    config: Config,
    group: int | None = None,
) -> Result:
    """Result of ``compute(number of parts)``, with more parts if memory runs out.

    Parameters
    ----------
    compute : callable
        Computes a minibatch in so many equal parts; may be called again after it ran out of memory.
    images : int
        Size of the minibatch.
    level : int
        log2 of the resolution.
    parts : dict of int to int
        Number of parts by level that memory asked for so far; a level that runs out of memory is entered.
    config : Config
        Says into what parts the minibatch is cut to begin with.
    group : int, optional
        Images that the networks look at together: a part is made up of whole groups, or lies within one.

    Raises
    ------
    InputError
        If memory does not suffice for a single image.
    """
    resolution = resolution_of(level)
    number = number_of_parts(images, config.part_by_resolution.get(resolution), group, parts.get(level, 1))
    while True:
        try:
            return compute(number)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        if number == images:
            raise InputError(
                f"out of memory at {resolution}x{resolution} with one image at a time ({reason}); "
                "lower network.fmap_base or data.resolution, or pass compute.precision=bfloat16"
            )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        number = parts[level] = number_of_parts(images, images // number - 1, group)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that there was no memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
