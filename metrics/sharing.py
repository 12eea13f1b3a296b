"""One measurement by several processes: ``torchrun --nproc-per-node N -m metrics.cli ...``.

Every process reads its share of the batches; then the first one merges what the others have seen, and computes. What
is sent are the features of the others' images, or their patches, in pieces of bounded size.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from metrics.scores import Score

_LONGEST_WAIT = timedelta(hours=6)  # of a process for the slowest one

One = TypeVar("One", bound=Score)
Value = TypeVar("Value")


def start() -> None:
    """Join the other processes if torchrun started this one; otherwise do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=_LONGEST_WAIT)  # what is exchanged lies in main memory
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def stop() -> None:
    """Leave the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def from_first(value: Value) -> Value:
    """Give all processes what the first one has."""
    if world_size() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def merge(score: One) -> One:
    """Give the first process what all others have seen, piece by piece; theirs stay as they are."""
    if rank() == 0:
        for other in range(1, world_size()):
            while (piece := _receive(other)) is not None:
                score.take(piece)
    else:
        for piece in score.pieces():
            distributed.send_object_list([piece], dst=0)
        distributed.send_object_list([None], dst=0)
    return score


def _receive(other: int) -> Any:
    received: list[Any] = [None]
    distributed.recv_object_list(received, src=other)
    return received[0]
