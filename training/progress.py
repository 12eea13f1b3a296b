"""The visible story of a run: a progress bar with level, alpha, speed, losses and time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tqdm import tqdm

from training.growth import Stage
from training.plan import LevelPlan


class TrainingBar:
    """Progress bar on stderr.

    Time left is arithmetic left (the plan's operations, which grow with the level) over arithmetic per second, both for
    the current level, so that it does not promise the speed of 4x4 for 1024x1024.

    Parameters
    ----------
    plans : list of LevelPlan
        Of the whole run.
    images : int
        Images shown before this session.
    visible : bool
        False: draws and says nothing.
    """

    def __init__(self, plans: list[LevelPlan], images: int, *, visible: bool = True) -> None:
        self._plans = plans
        self._speed: deque[tuple[float, float]] = deque(maxlen=50)  # (operations, seconds) of the latest steps
        self._losses = ""
        self._total = plans[-1].segment.end
        self._last = time.perf_counter()
        self._bar = tqdm(
            total=self._total,
            initial=images,
            unit="img",
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not visible,
            bar_format="{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} img  {desc}",
        )

    def step(self, stage: Stage, images: int, count: int) -> None:
        """Tell that a step of `count` images at `stage` has ended, `images` shown in all."""
        if self._bar.disable:
            return
        now = time.perf_counter()
        cost = self._cost(stage.level)
        self._speed.append((cost * count, now - self._last))
        self._last = now
        seconds = sum(seconds for _, seconds in self._speed)
        rate = sum(operations for operations, _ in self._speed) / seconds if seconds else 0.0
        left = f"{tqdm.format_interval(self._left(images) / rate)} left" if rate else ""
        fading = f" alpha {stage.alpha:.2f}" if stage.alpha < 1 else ""
        speed = f"{rate / cost:.0f} img/s" if cost else ""
        words = (f"{stage.resolution}x{stage.resolution}{fading}", speed, self._losses, left)
        self._bar.set_description_str("  ".join(filter(None, words)), refresh=False)
        self._bar.update(min(count, self._total - self._bar.n))  # the last batch may go beyond the end

    def losses(self, means: Mapping[str, float]) -> None:
        """Losses to show from now on."""
        self._losses = f"D {means['loss_d']:.3f} G {means['loss_g']:.3f}"

    def rewind(self, images: int) -> None:
        """Go back to `images` images shown, after a roll-back."""
        self._bar.n = images
        self._bar.refresh()
        self.resume_clock()

    def resume_clock(self) -> None:
        """Leave the time since the last step (a snapshot's) out of the speed."""
        self._last = time.perf_counter()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._bar.disable:
            self._bar.write(text, file=self._bar.fp)

    def _cost(self, level: int) -> float:
        return next((plan.flop_per_image for plan in self._plans if plan.segment.level == level), 0.0)

    def _left(self, images: int) -> float:
        spans = ((plan, plan.segment.end - max(plan.segment.start, images)) for plan in self._plans)
        return sum(plan.flop_per_image * span for plan, span in spans if span > 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
