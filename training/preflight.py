"""Trying every level before the run begins: how long a step takes, how much memory it needs, and whether that is there.

Each level is really built and stepped (both networks, penalty, Adam, moving average) on made-up images. A level whose
minibatch would take long is tried with fewer images; time is then taken to grow in proportion, and memory along the
line through two tries.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from pathlib import Path

import torch

from datasets.errors import InputError
from training.compute import is_groups
from training.conditioning import Labels
from training.config import Config
from training.feed import Shown
from training.growth import Schedule, Stage
from training.journal import peak_memory_mib
from training.memory import is_out_of_memory
from training.plan import LevelPlan
from training.state import TrainingState
from training.step import update

_SECONDS = 10.0  # that a try should take at most


@dataclasses.dataclass(frozen=True)
class LevelTrial:
    """What was found out about a level.

    Attributes
    ----------
    plan : LevelPlan
        The level.
    tried : int
        Images of the minibatch that was tried, per rank.
    seconds_per_step : float
        Of a step with the whole minibatch.
    memory : float
        Bytes that a rank needs, of the device: resident memory of the process, or allocated memory of the GPU.
    """

    plan: LevelPlan
    tried: int
    seconds_per_step: float
    memory: float

    @property
    def seconds(self) -> float:
        """Time of the whole level, without snapshots."""
        segment = self.plan.segment
        return self.seconds_per_step * (segment.end - segment.start) / (segment.batch * self.plan.discriminator_steps)


def try_levels(
    config: Config,
    schedule: Schedule,
    plans: list[LevelPlan],
    labels: Labels,
    device: torch.device,
    *,
    ranks: int = 1,
    tell: Callable[[], object] = lambda: None,
) -> list[LevelTrial]:
    """Try every level of a run on this machine.

    Parameters
    ----------
    config, schedule, plans, labels
        Of the run.
    device : torch.device
        Where it will run.
    ranks : int
        Number of processes that will share a minibatch.
    tell : callable
        Called after every level.

    Raises
    ------
    InputError
        If a level runs out of memory with the images of a single rank, or its batch cannot be shared.
    """
    state = TrainingState(config, 1 << schedule.top_level, device, labels)
    trials = []
    speed = 0.0  # operations per second at the level before
    for plan in plans:
        stage = schedule.stage(plan.segment.end - 1)
        whole = max(1, stage.batch // ranks)
        operations = plan.flop_per_image * plan.discriminator_steps
        count = whole if not speed else max(1, min(whole, int(_SECONDS * speed / operations)))
        group = config.images_together
        count = next(n for n in range(count, 0, -1) if whole % n == 0 and is_groups(n, group))
        seconds, memory = _try(state, stage, config, schedule, count)
        speed = operations * count / seconds
        if count < whole:
            half = next(n for n in range(max(1, count // 2), 0, -1) if count % n == 0 and is_groups(n, group))
            less = _try(state, stage, config, schedule, half)[1] if half < count else memory / 2
            memory += max(0.0, (memory - less) / max(1, count - half)) * (whole - count)
            seconds *= whole / count
        trials.append(LevelTrial(plan, count, seconds, memory))
        tell()
    return trials


def check_memory(trials: list[LevelTrial], device: torch.device) -> None:
    """Refuse a run that will not fit.

    Raises
    ------
    InputError
        With the level, what it needs, what there is, and a setting with which it fits.
    """
    there = available_memory(device)
    for trial in trials:
        if trial.memory > there:
            segment = trial.plan.segment
            side = 1 << segment.level
            part = max(1, int(segment.batch * there / trial.memory) // 2)
            raise InputError(
                f"{side}x{side} needs about {trial.memory / 2**30:.1f} GiB with a batch of {segment.batch}, there are "
                f"{there / 2**30:.1f}; pass --set compute.part_by_resolution.{side}={part}, or a smaller batch "
                f"(--set growth.batch_by_resolution.{side}={part})"
            )


def available_memory(device: torch.device) -> float:
    """Bytes that a run may use: of the GPU, or of this machine, its container's limit included."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    of_container = _text(Path("/sys/fs/cgroup/memory.max")).strip()
    limit = float(of_container) if of_container.isdecimal() else float("inf")
    free = _field("/proc/meminfo", "MemAvailable")
    return limit if free is None else min(limit, free + (_field("/proc/self/status", "VmRSS") or 0.0))


def _try(state: TrainingState, stage: Stage, config: Config, schedule: Schedule, count: int) -> tuple[float, float]:
    """Seconds of a step with `count` images, the quicker of two, and the memory that it needed."""
    device, steps = state.device, config.optimizer.discriminator_steps
    tried = dataclasses.replace(stage, batch=count, alpha=1.0)
    images = torch.randint(0, 256, (count * steps, 3, stage.resolution, stage.resolution), dtype=torch.uint8)
    one_hot = state.labels.draw(count * steps, torch.Generator().manual_seed(0))
    shown = Shown(images.to(device), None if one_hot is None else one_hot.to(device))
    gc.collect()
    _forget_peak(device)
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        try:
            update(state, shown, tried, config, schedule.top_level - stage.level)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"{stage.resolution}x{stage.resolution} does not fit into memory with a batch of {count}; pass --set "
                f"compute.part_by_resolution.{stage.resolution}={max(1, count // 2)}, or a smaller batch"
            ) from None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best, _peak(device)


def _forget_peak(device: torch.device) -> None:
    """Begin to look for the largest memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of all levels so far


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    peak = _field("/proc/self/status", "VmHWM")
    return peak_memory_mib() * 2**20 if peak is None else peak


def _field(file: str, name: str) -> float | None:
    """Bytes that a file of Linux's gives for `name`, None elsewhere."""
    lines = (line.split() for line in _text(Path(file)).splitlines() if line.startswith(f"{name}:"))
    return next((float(kibibytes) * 1024 for _, kibibytes, *_ in lines), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
