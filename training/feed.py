"""Batches of real images: gathered from the pyramid one step ahead, in a thread.

Which images a step sees is a pure function of the images shown before it, so the feed has no state to save.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from datasets.formats import PyramidReader
from datasets.order import Order
from training.growth import Schedule


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
    """

    def __init__(
        self, reader: PyramidReader, schedule: Schedule, seed: int, discriminator_steps: int, device: torch.device
    ) -> None:
        self._reader = reader
        self._schedule = schedule
        self._order = Order(reader.manifest.num_images, seed)
        self._steps = discriminator_steps
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._next: tuple[int, Future[Tensor]] | None = None

    def batch(self, images: int) -> Tensor:
        """Images of the step that starts at `images`: uint8 (batch * steps, 3, r, r) on the device."""
        fetched = self._next is not None and self._next[0] == images
        pixels = self._next[1].result() if self._next is not None and fetched else self._gather(images)
        following = images + len(pixels)
        self._next = (following, self._pool.submit(self._gather, following))
        return pixels.to(self._device, non_blocking=True)

    def _gather(self, images: int) -> Tensor:
        stage = self._schedule.stage(images)
        rows = self._order.rows(images, stage.batch * self._steps)
        level = self._reader.level(stage.level)
        out = torch.empty((len(rows), *level.shape[1:]), dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        level.gather(rows, out.numpy())
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
