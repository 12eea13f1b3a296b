"""Losses, gradients and speed over windows of steps, and measurements: into the logs, and to the loggers."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.folder import RunFolder
from training.gradient_norms import GradientNorms
from training.growth import Stage
from training.loggers import Loggers
from training.ranks import Ranks


class Journal:
    """Collects the logs of steps and writes their means once a window.

    Parameters
    ----------
    folder : RunFolder
        Where log.jsonl lies.
    images : int
        Images shown when this session begins.
    norms : GradientNorms
        Of the networks in training.
    loggers : Loggers or None
        What else is told; of the first rank only.
    ranks : Ranks, optional
        The processes that train together: the means are over all of them, and the first one writes.
    """

    def __init__(
        self,
        folder: RunFolder,
        images: int,
        norms: GradientNorms,
        loggers: Loggers | None,
        *,
        ranks: Ranks | None = None,
    ) -> None:
        self._folder = folder
        self._norms = norms
        self._loggers = loggers
        self._ranks = ranks or Ranks()
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._images = images
        self._started = time.perf_counter()

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
        window = {name: total / self._steps for name, total in self._sums.items()} | self._norms.take()
        names = sorted(window)
        mean = self._ranks.mean(torch.stack([window[name] for name in names])).tolist()
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
        if self._loggers is not None:
            self._loggers.log(record)
        self._sums, self._steps, self._images = {}, 0, images
        self._started = time.perf_counter()
        return means

    def write_snapshot(self, results: Sequence[Mapping[str, Any]], images: int, seconds: float) -> None:
        """Write the measurements of a snapshot as lines of metrics.jsonl, in place of those of a broken-off attempt."""
        self._folder.trim(self._folder.metrics_file, images - 1)
        for result in results:
            self._folder.append(self._folder.metrics_file, {"images": images, "seconds": seconds, **result})

    def tell_of_snapshot(self, results: Sequence[Mapping[str, Any]], images: int, seconds: float, grid: Path) -> None:
        """Tell the loggers of a snapshot that is whole, so that none of it is told twice."""
        if self._loggers is None:
            return
        for result in results:
            self._loggers.metric({"images": images, "seconds": seconds, **result})
        self._loggers.samples(images, grid)

    def restart(self, images: int) -> None:
        """Begin a new window at `images` images shown, after a roll-back."""
        self._norms.take()
        self._sums, self._steps, self._images = {}, 0, images
        self.restart_clock()
        if self._loggers is not None:
            self._loggers.rewind(images)

    def restart_clock(self) -> None:
        """Leave the time since the last `write` (a snapshot's) out of the next window's speed."""
        self._started = time.perf_counter()

    @property
    def empty(self) -> bool:
        """True if no step was added since the last `write`."""
        return self._steps == 0

    def close(self) -> None:
        """Close the loggers."""
        self._norms.close()
        if self._loggers is not None:
            self._loggers.close()


def peak_memory_mib() -> float:
    """Largest memory of this process so far in MiB: of the GPU if one is used, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
