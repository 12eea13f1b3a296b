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
import time
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from datasets.errors import InputError
from training.compute import is_groups

_START = datetime.timedelta(minutes=20)  # the longest time between the starts of the first and the last rank
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

    def check_batch(self, batch: int, where: str, group: int | None = None) -> None:
        """Refuse a minibatch that the ranks cannot share evenly, in whole groups of `group` if they are larger."""
        if batch % self.size:
            raise InputError(
                f"{where}: a batch of {batch} cannot be shared by {self.size} ranks; choose a multiple of {self.size}"
            )
        share = batch // self.size
        if self.size > 1 and not is_groups(share, group):  # of one alone the plan says so
            raise InputError(
                f"{where}: a batch of {batch} gives each of {self.size} ranks {share} images, which are not whole "
                f"groups of {group} (network.stddev_group); choose a multiple of {self.size * (group or 1)}"
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

    Raises
    ------
    InputError
        By every method that needs the other ranks, if one of them hangs or has ended, with its number.
    """

    def __init__(self, hung_after: datetime.timedelta) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._hung_after = hung_after
        self._patience = _START  # for the first meeting, before which a rank may have much to read from a slow disk
        # Small facts go through the CPU, so that agreeing on them does not wait for the GPU.
        # The first rank waits as long as it is told to, the others as long as their group was told to: twice that.
        patiences = (hung_after, _START, _LONGEST_PAUSE)
        self._groups = {patience: dist.new_group(backend="gloo", timeout=2 * patience) for patience in patiences}
        self._control = self._groups[hung_after]

    def average_gradients(self, network: nn.Module) -> None:
        """One all-reduce over all gradients; levels that are not in use have none, on no rank."""
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = self._averaged(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(pieces, gradients, strict=True)])

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks."""
        return self._averaged(values.clone())

    def any(self, flag: bool) -> bool:
        """Whether some rank says True."""
        flags = torch.tensor([int(flag)])
        with self._all_there():
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._control)
        return bool(flags.item())

    def tell(self, fact: Fact) -> Fact:
        """What the first rank says, to all."""
        facts = [fact]
        with self._all_there():
            dist.broadcast_object_list(facts, src=0, group=self._control)
        return facts[0]

    def wait(self) -> None:
        """Wait for the first rank, which may be busy for hours with a measurement."""
        with self._all_there(_LONGEST_PAUSE):
            pass

    def _averaged(self, values: Tensor) -> Tensor:
        """Mean over the ranks, in the memory of `values`."""
        with self._all_there():
            dist.all_reduce(values)
        return values.div_(self.size)

    @contextlib.contextmanager
    def _all_there(self, patience: datetime.timedelta | None = None) -> Iterator[None]:
        """Block in which ranks exchange something: once all have come this far, whatever their GPUs still have to do.

        The first rank gives up first and names those who are missing; the others know of nobody but the first.
        """
        patience = patience or self._patience
        started = time.monotonic()
        try:
            dist.monitored_barrier(self._groups[patience], patience, wait_all_ranks=True)
            self._patience = self._hung_after
            yield
        except RuntimeError as error:
            missing = re.search(r"Ranks ([\d, ]+) failed to pass", str(error))
            who = missing[1] if missing else "0" if not self.first else "another"
            patience *= 1 if self.first else 2
            late = time.monotonic() - started >= patience.total_seconds()
            fate = f"did not answer for {patience}: it hangs or has ended" if late else "has ended"
            raise InputError(
                f"rank {who} of {self.size} {fate}, see its output; the same command goes on from the last checkpoint"
            ) from None


@contextlib.contextmanager
def joined(device: torch.device, hung_after: float) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did.

    Parameters
    ----------
    device : torch.device
        Where the networks will live: NCCL connects GPUs, gloo processors.
    hung_after : float
        Seconds after which a rank that keeps the others waiting is taken for dead.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_START)
    try:
        yield Group(datetime.timedelta(seconds=hung_after))
    finally:
        dist.destroy_process_group()
