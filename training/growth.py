"""The growing schedule: from images shown to level, fade-in, batch and learning rates. Pure functions, no state.

Karras et al. 2018, section 2 and appendix A.1. A level begins with its fade-in (alpha rises from 0 to 1) and is then
trained on; the level at which training starts has no fade-in. "Images shown" counts the real images shown to the
discriminator.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import TypeVar

from datasets.errors import InputError
from datasets.levels import level_of, resolution_of

MAX_KIMG = 1e9  # a trillion images: beyond any run, and within what integers and floats count exactly
MAX_BATCH = 1 << 16

_Number = TypeVar("_Number", int, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The schedule; lengths are in kimg, thousands of real images shown.

    Attributes
    ----------
    initial_resolution
        Where training starts.
    fade_kimg, stabilize_kimg
        Length of the fade-in of a level, and of the training on it that follows (600 and 600 in the paper's A.2, 800
        and 800 in the released configuration for CelebA-HQ).
    total_kimg
        Length of the run.
    batch, batch_by_resolution
        Minibatch size, and its exceptions by resolution (A.1: 16, then 14, 6 and 3 from 256x256 on).
    learning_rate, learning_rate_by_resolution
        Adam's learning rate of both networks (A.1: 0.001), and its exceptions by resolution.
    hold_minibatches
        Number of the discriminator's minibatches for which level, fade-in, batch and learning rate stay as they are; 1
        in the Theano release, 4 in the TensorFlow release, whose discriminator makes one step for each of the
        generator's.
    warmup_kimg
        Length of the rise of the learning rate at the very beginning, by the factor ``exp(-5 (1 - t / length)^2)``;
        0, no warm-up, as in the paper and the TensorFlow release; 40 in the Theano release.
    """

    initial_resolution: int = 4
    fade_kimg: float = 600.0
    stabilize_kimg: float = 600.0
    total_kimg: float = 12000.0
    batch: int = 16
    batch_by_resolution: Mapping[int, int] = dataclasses.field(default_factory=dict)
    learning_rate: float = 0.001
    learning_rate_by_resolution: Mapping[int, float] = dataclasses.field(default_factory=dict)
    hold_minibatches: int = 1
    warmup_kimg: float = 0.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """Where training stands at a given number of images shown.

    Attributes
    ----------
    level : int
        log2 of the resolution being trained.
    alpha : float
        Share of this level; 1 when it is not fading in.
    batch : int
        Minibatch size.
    learning_rate : float
        For Adam.
    phase : int
        Number that changes when a fade-in begins or ends, which is when the optimizers are reset.
    """

    level: int
    alpha: float
    batch: int
    learning_rate: float
    phase: int

    @property
    def resolution(self) -> int:
        """Side in pixels."""
        return resolution_of(self.level)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A level's part of the run, in images shown: fade-in from `start` to `fade_end`, then up to `end`."""

    level: int
    start: int
    fade_end: int
    end: int
    batch: int
    learning_rate: float


class Schedule:
    """The schedule of a run.

    Parameters
    ----------
    config : Config
        Lengths, batches and rates.
    top_level : int
        Level of the finest resolution.

    Raises
    ------
    InputError
        If the configuration contradicts itself or the data set.
    """

    def __init__(self, config: Config, top_level: int) -> None:
        _check(config, top_level)
        self.config = config
        self.top_level = top_level
        self.initial_level = level_of(config.initial_resolution)
        self.total_images = max(1, round(config.total_kimg * 1000))
        self._stabilize = round(config.stabilize_kimg * 1000)  # images, as everything below
        self._fade = round(config.fade_kimg * 1000)
        self._holds = list(self._find_holds()) if config.hold_minibatches > 1 else []

    def stage(self, images: int) -> Stage:
        """Stage of the step that starts when `images` real images have been shown."""
        if self._holds:
            begin, length = self._holds[bisect.bisect(self._holds, images, key=itemgetter(0)) - 1]
            images = begin + (images - begin) // length * length
        return self._stage(images)

    def _find_holds(self) -> Iterator[tuple[int, int]]:
        """Where the schedule is looked at: from `begin` on every `length` images, up to the next such pair."""
        begin = 0
        while True:
            stage = self._stage(begin)
            length = self.config.hold_minibatches * stage.batch
            yield begin, length
            if stage.level == self.top_level:
                return
            finer = (stage.level - self.initial_level) * (self._stabilize + self._fade) + self._stabilize + 1
            begin += -(-(finer - begin) // length) * length

    def _stage(self, images: int) -> Stage:
        growths = self.top_level - self.initial_level
        length = self._stabilize + self._fade
        # Position p within the i-th period of (train on level i, fade in level i + 1); the released code's formula.
        i = min(images // length, growths) if length > 0 else growths
        p = images - i * length
        if i == growths or p <= self._stabilize:
            level, alpha, phase = self.initial_level + i, 1.0, 2 * i
        else:
            alpha = (p - self._stabilize) / self._fade
            level, phase = self.initial_level + i + 1, 2 * i + 1
        resolution = resolution_of(level)
        rate = self.config.learning_rate_by_resolution.get(resolution, self.config.learning_rate)
        return Stage(
            level,
            alpha,
            self.config.batch_by_resolution.get(resolution, self.config.batch),
            rate * self._warmth(images),
            phase,
        )

    def _warmth(self, images: int) -> float:
        """Factor on the learning rate while training warms up."""
        length = self.config.warmup_kimg * 1000
        return math.exp(-5 * (1 - images / length) ** 2) if images < length else 1.0

    def segments(self) -> list[Segment]:
        """The levels that the run reaches, in order, for plans and plots."""
        segments = []
        start = 0
        for level in range(self.initial_level, self.top_level + 1):
            grown = level - self.initial_level
            fade_end = start + (self._fade if grown else 0)
            last = level == self.top_level
            end = self.total_images if last else fade_end + self._stabilize
            resolution = resolution_of(level)
            segment = Segment(
                level,
                start,
                min(fade_end, self.total_images),
                min(end, self.total_images),
                self.config.batch_by_resolution.get(resolution, self.config.batch),
                self.config.learning_rate_by_resolution.get(resolution, self.config.learning_rate),
            )
            if segment.end > segment.start:
                segments.append(segment)
            start = end
        return segments


def _check(config: Config, top_level: int) -> None:
    initial = level_of(config.initial_resolution, "growth.initial_resolution")
    if initial > top_level:
        raise InputError(
            f"growth.initial_resolution {config.initial_resolution} is finer than the data set's "
            f"{resolution_of(top_level)}; lower it or use a data set of a higher resolution"
        )
    for name in ("fade_kimg", "stabilize_kimg", "warmup_kimg"):
        if not 0 <= getattr(config, name) <= MAX_KIMG:
            raise InputError(f"growth.{name} must be from 0 to {MAX_KIMG:g}, got {getattr(config, name)}")
    if not 0 < config.total_kimg <= MAX_KIMG:
        raise InputError(f"growth.total_kimg must be above 0 and at most {MAX_KIMG:g}, got {config.total_kimg}")
    for where, batch in [("batch", config.batch), *_entries("batch_by_resolution", config.batch_by_resolution)]:
        if not 1 <= batch <= MAX_BATCH:
            raise InputError(f"growth.{where} must be from 1 to {MAX_BATCH}, got {batch}")
    if not 1 <= config.hold_minibatches <= MAX_BATCH:
        raise InputError(f"growth.hold_minibatches must be from 1 to {MAX_BATCH}, got {config.hold_minibatches}")
    rates = [("learning_rate", config.learning_rate)]
    rates += _entries("learning_rate_by_resolution", config.learning_rate_by_resolution)
    for where, rate in rates:
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"growth.{where} must be above 0, got {rate}")


def _entries(name: str, table: Mapping[int, _Number]) -> list[tuple[str, _Number]]:
    for resolution in table:
        level_of(resolution, f"growth.{name}:")
    return [(f"{name}.{resolution}", value) for resolution, value in table.items()]
