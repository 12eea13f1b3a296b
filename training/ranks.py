"""The processes that train together, one per GPU, as torchrun starts them: who does what, and how they agree.

A step belongs to all ranks: its images and random numbers are drawn for the whole minibatch, of which rank r of R takes
the images whose number is r modulo R. So nothing depends on the number of ranks but the order of sums; groups of the
minibatch standard deviation of a given size are the same ones, too (image n of N belongs to group n modulo N / size).

Gradients are averaged by one all-reduce after the backward passes. `DistributedDataParallel` is not used: it counts on
a single backward pass and does not follow the gradient penalty, which differentiates a gradient.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from datasets.errors import InputError

HUNG_AFTER = datetime.timedelta(minutes=10)  # a rank that keeps the others waiting for so long is taken for dead

_LONGEST_PAUSE = datetime.timedelta(days=1)

Fact = TypeVar("Fact")


class Ranks:
    """One process of several, or the only one.

    Attributes
    ----------
    rank, size : int
        This process's number, and how many there are.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """True for the process that writes files and speaks to the user."""
        return self.rank == 0

    def own(self, whole: Tensor) -> Tensor:
        """Share of this rank in something with one entry per image of the minibatch."""
        return whole[self.rank :: self.size]

    def check_batch(self, batch: int, where: str) -> None:
        """Refuse a minibatch that the ranks cannot share evenly."""
        if batch % self.size:
            raise InputError(
                f"{where}: a batch of {batch} cannot be shared by {self.size} ranks; choose a multiple of {self.size}"
            )

    def average_gradients(self, network: nn.Module) -> None:
        """Make the gradients of all ranks their mean, in place."""

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether some rank says True. All ranks must ask."""
        return flag

    def tell(self, fact: Fact) -> Fact:
        """What the first rank says, to all. All ranks must ask."""
        return fact

    def wait(self) -> None:
        """Wait for the first rank, which may be busy for hours with a measurement."""


class Group(Ranks):
    """One process of several.

    Parameters
    ----------
    hung_after : timedelta
        A rank that keeps the others waiting for so long is taken for dead.
    """

    def __init__(self, hung_after: datetime.timedelta = HUNG_AFTER) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._hung_after = hung_after
        # Small facts go through the CPU, so that agreeing on them does not wait for the GPU.
        self._control = dist.new_group(backend="gloo", timeout=hung_after)

    def average_gradients(self, network: nn.Module) -> None:
        """One all-reduce over all gradients; levels that are not in use have none, on no rank."""
        self._meet()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(pieces, gradients, strict=True)])

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks."""
        self._meet()
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def any(self, flag: bool) -> bool:
        """Whether some rank says True."""
        self._meet()
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._control)
        return bool(flags.item())

    def tell(self, fact: Fact) -> Fact:
        """What the first rank says, to all."""
        self._meet()
        facts = [fact]
        dist.broadcast_object_list(facts, src=0, group=self._control)
        return facts[0]

    def wait(self) -> None:
        """Wait for the first rank, which may be busy for hours with a measurement."""
        self._meet(_LONGEST_PAUSE)

    def _meet(self, patience: datetime.timedelta | None = None) -> None:
        """Wait until every rank has come this far; on the CPU, whatever its GPU still has to do."""
        try:
            dist.monitored_barrier(self._control, patience or self._hung_after, wait_all_ranks=True)
        except RuntimeError as error:
            found = re.search(r"[Rr]anks? ([\d, ]+\d|\d)", str(error))
            who = f"rank {found[1]}" if found else "a rank"
            raise InputError(
                f"{who} of {self.size} did not answer for {self._hung_after}: it hangs or has ended, see its output; "
                "the same command goes on from the last checkpoint"
            ) from None


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did.

    Parameters
    ----------
    device : torch.device
        Where the networks will live: NCCL connects GPUs, gloo processors.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=2 * HUNG_AFTER)
    try:
        yield Group()
    finally:
        dist.destroy_process_group()
