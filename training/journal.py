"""Losses and speed over windows of steps: into log.jsonl, and into TensorBoard when it is installed."""

from __future__ import annotations

import importlib.util
import math
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.folder import RunFolder
from training.growth import Stage
from training.ranks import Ranks


class Journal:
    """Collects the logs of steps and writes their means once a window.

    Parameters
    ----------
    folder : RunFolder
        Where log.jsonl lies.
    images : int
        Images shown when this session begins.
    resumed : bool
        True if it goes on with an earlier one.
    ranks : Ranks, optional
        The processes that train together: the means are over all of them, and the first one writes.
    """

    def __init__(self, folder: RunFolder, images: int, *, resumed: bool, ranks: Ranks | None = None) -> None:
        self._folder = folder
        self._ranks = ranks or Ranks()
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = images
        self._started = time.perf_counter()
        self._board = _tensorboard(folder, images + 1 if resumed else None) if self._ranks.first else None

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Add the logs of a step; nothing waits for the device."""
        for name, value in logs.items():
            self._sums[name] = self._sums[name] + value.double() if name in self._sums else value.double()
        self._steps += 1

    def write(self, stage: Stage, images: int, seconds: float, caution: float) -> dict[str, float]:
        """Write the means since the last call as one line, and return them. All ranks must call it.

        Parameters
        ----------
        stage : Stage
            Of the last step.
        images : int
            Images shown so far.
        seconds : float
            Time spent so far, over all sessions.
        caution : float
            Factor on the stage's learning rate.
        """
        names = sorted(self._sums)
        mean = self._ranks.mean(torch.stack([self._sums[name] for name in names]) / self._steps).tolist()
        means = dict(zip(names, mean, strict=True))
        elapsed = time.perf_counter() - self._started
        record: dict[str, Any] = {
            "images": images,
            "level": stage.level,
            "resolution": stage.resolution,
            "alpha": stage.alpha,
            "batch": stage.batch,
            "lr_g": stage.learning_rate * caution,
            "lr_d": stage.learning_rate * caution,
            **means,
            "images_per_sec": (images - self._images) / elapsed,
            "seconds": seconds,
            "peak_memory_mib": peak_memory_mib(),
        }
        if self._ranks.first:
            self._folder.append(self._folder.log_file, record)
        if self._board is not None:
            for name, value in record.items():
                if name not in ("images", "level") and math.isfinite(value):
                    self._board.add_scalar(f"train/{name}", value, images)
        self._sums, self._steps, self._images = {}, 0, images
        self._started = time.perf_counter()
        return means

    def write_metric(self, result: Mapping[str, Any], images: int, seconds: float) -> None:
        """Write a measurement as a line of metrics.jsonl."""
        self._folder.append(self._folder.metrics_file, {"images": images, "seconds": seconds, **result})
        if self._board is not None:
            self._board.add_scalar(f"metrics/{result['metric']}", result["value"], images)

    def restart(self, images: int) -> None:
        """Begin a new window at `images` images shown, after a roll-back."""
        self._sums, self._steps, self._images = {}, 0, images
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time since the last `write` (a snapshot's) out of the next window's speed."""
        self._started = time.perf_counter()

    @property
    def empty(self) -> bool:
        """True if no step was added since the last `write`."""
        return self._steps == 0

    def close(self) -> None:
        """Flush and close."""
        if self._board is not None:
            self._board.close()


def peak_memory_mib() -> float:
    """Largest memory of this process so far in MiB: of the GPU if one is used, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _tensorboard(folder: RunFolder, purge_from: int | None) -> Any:
    """TensorBoard writer into ``tensorboard/``, or None if TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    # Hides what an earlier session logged beyond the checkpoint that this one goes on from.
    return SummaryWriter(folder.path / "tensorboard", purge_step=purge_from)
