"""Batches of real images: gathered from the pyramid one step ahead, in a thread.

Which images a step sees is a pure function of the images shown before it, so the feed has no state to save.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from datasets.formats import PyramidReader
from datasets.order import Order
from training.conditioning import Labels
from training.growth import Schedule
from training.ranks import Ranks


@dataclasses.dataclass(frozen=True)
class Shown:
    """Real images of a step.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, 3, r, r)
    labels : Tensor of float32, shape (n, C), or None
        One-hot, if the run has classes.
    """

    images: Tensor
    labels: Tensor | None = None

    def split(self, parts: int) -> Iterator[Shown]:
        """Equal consecutive parts: the minibatches of several discriminator steps."""
        labels = [None] * parts if self.labels is None else self.labels.chunk(parts)
        return (Shown(*part) for part in zip(self.images.chunk(parts), labels, strict=True))


class Feed:
    """Serves the images of a step and fetches those of the next one meanwhile.

    Parameters
    ----------
    reader : PyramidReader
        The data set.
    schedule : Schedule
        Says level and batch for any number of images shown.
    seed : int
        Of the order.
    discriminator_steps : int
        Batches a step takes.
    device : torch.device
        Where the batches go, as uint8; from pinned memory if it is a GPU.
    labels : Labels
        Of the images.
    ranks : Ranks, optional
        The processes that train together; each is fed its share.
    """

    def __init__(
        self,
        reader: PyramidReader,
        schedule: Schedule,
        seed: int,
        discriminator_steps: int,
        device: torch.device,
        labels: Labels,
        ranks: Ranks | None = None,
    ) -> None:
        self._reader = reader
        self._schedule = schedule
        self._labels = labels
        self._ranks = ranks or Ranks()
        self._order = Order(reader.manifest.num_images, seed)
        self._steps = discriminator_steps
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._next: tuple[int, Future[Shown]] | None = None

    def batch(self, images: int) -> Shown:
        """Images of the step that starts at `images`, this rank's share, on the device; minibatch after minibatch."""
        fetched = self._next is not None and self._next[0] == images
        shown = self._next[1].result() if self._next is not None and fetched else self._gather(images)
        following = images + self._schedule.stage(images).batch * self._steps
        self._next = (following, self._pool.submit(self._gather, following))
        labels = None if shown.labels is None else shown.labels.to(self._device, non_blocking=True)
        return Shown(shown.images.to(self._device, non_blocking=True), labels)

    def first(self, count: int) -> Tensor:
        """First images of the order, at the first level, on the device: the same for all ranks."""
        level = self._reader.level(self._schedule.stage(0).level)
        rows = self._order.rows(0, min(count, len(level)))
        return torch.from_numpy(level.gather(rows)).to(self._device)

    def _gather(self, images: int) -> Shown:
        stage = self._schedule.stage(images)
        rows = self._order.rows(images, stage.batch * self._steps).reshape(self._steps, stage.batch)
        own = rows[:, self._ranks.rank :: self._ranks.size].reshape(-1)
        level = self._reader.level(stage.level)
        out = torch.empty((len(own), *level.shape[1:]), dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        level.gather(own, out.numpy())
        return Shown(out, self._labels.rows(own))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
