"""What can go wrong with a run, found in its log and its measurements, and what is done about it.

A guard looks at the means of a window of steps (every line of log.jsonl) or at the measurements so far (metrics.jsonl).
Both are the same on every rank and after every resume, so guards have no state of their own. The limits are rules of
thumb of this project, not results of a paper.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from datasets.errors import InputError

Answer = Literal["stop", "roll_back", "go_on"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Limits, and what happens beyond them.

    ``stop`` ends the run, its last good checkpoint being there. ``roll_back`` goes back to that checkpoint and on with
    lower learning rates. ``go_on`` says so and goes on.

    Attributes
    ----------
    non_finite
        Answer to a loss or gradient that is not finite. To go on here is to leave out the updates whose gradients are
        not finite, as the TensorFlow release does.
    explosion
        Answer to a gradient penalty, or a gap between the mean scores of reals and fakes, beyond its limit.
    penalty_limit, score_gap_limit
        These limits, for means over a window of steps.
    collapse
        Answer to samples that have lost their variation or got much worse.
    ms_ssim_limit
        Samples have lost their variation if their MS-SSIM is so far above that of the reals, twice running.
    swd_limit
        They got much worse if their SWD is so many times the best one of the run, twice running.
    rate_factor
        What a roll-back multiplies the learning rates with, for the rest of the run.
    max_roll_backs
        After so many of them the answer is to stop.
    hung_after
        Seconds after which one of several ranks that keeps the others waiting ends the run.
    """

    non_finite: Answer = "stop"
    explosion: Answer = "go_on"
    penalty_limit: float = 1000.0
    score_gap_limit: float = 10000.0
    collapse: Answer = "go_on"
    ms_ssim_limit: float = 0.15
    swd_limit: float = 3.0
    rate_factor: float = 0.5
    max_roll_backs: int = 3
    hung_after: float = 600.0

    def __post_init__(self) -> None:
        for name in ("penalty_limit", "score_gap_limit", "ms_ssim_limit", "hung_after"):
            if not getattr(self, name) > 0:
                raise InputError(f"guards.{name} must be above 0, got {getattr(self, name)}")
        if not self.swd_limit > 1:
            raise InputError(f"guards.swd_limit must be above 1, got {self.swd_limit}")
        if not 0 < self.rate_factor <= 1:
            raise InputError(f"guards.rate_factor must be above 0 and at most 1, got {self.rate_factor}")
        if self.hung_after > 86400:
            raise InputError(f"guards.hung_after must be at most 86400 (a day), got {self.hung_after}")
        if self.max_roll_backs < 0:
            raise InputError(f"guards.max_roll_backs must be 0 or more, got {self.max_roll_backs}")


@dataclasses.dataclass(frozen=True)
class Alarm:
    """Something that went wrong.

    Attributes
    ----------
    kind : str
        Which option of `Config` has the answer.
    text : str
        What, for people.
    answer : str
        What to do about it.
    good_until : int or None
        Images shown up to which the run is known to be good; None: its newest checkpoint is.
    """

    kind: str
    text: str
    answer: Answer
    good_until: int | None = None


def look_at_window(config: Config, means: Mapping[str, float]) -> Alarm | None:
    """Judge the means of a window of steps."""
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    if broken:
        return Alarm("non_finite", f"training diverged: {', '.join(broken)} not finite", config.non_finite)
    penalty, limit = means.get("penalty", 0.0), config.penalty_limit
    if penalty > limit:
        text = f"the gradient penalty exploded: {penalty:.6g}, guards.penalty_limit is {limit:g}"
        return Alarm("explosion", text, config.explosion)
    gap, limit = abs(means["score_real"] - means["score_fake"]), config.score_gap_limit
    if gap > limit:
        text = f"the discriminator's scores exploded: {gap:.6g} apart, guards.score_gap_limit is {limit:g}"
        return Alarm("explosion", text, config.explosion)
    return None


def look_at_state(config: Config, broken: Sequence[str]) -> Alarm | None:
    """Judge the numbers of which a checkpoint is to be written: names of the tensors with some that are not finite."""
    if not broken:
        return None
    some = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
    return Alarm("non_finite", f"training diverged: {len(broken)} tensors not finite ({some})", config.non_finite)


def look_at_results(config: Config, results: Sequence[Mapping[str, Any]]) -> Alarm | None:
    """Judge the newest measurements, by all of the run so far, oldest first; lines as in metrics.jsonl."""
    swd = [(row["images"], row["value"]) for row in results if row["metric"] == "swd"]
    best = best_of(results)
    if best is not None and len(swd) > 2:
        images, least = best
        if all(value > config.swd_limit * least for _, value in swd[-2:]):
            return Alarm(
                "collapse",
                f"samples got much worse: SWD {swd[-1][1]:.1f}, {least:.1f} at {images} images shown, guards.swd_limit "
                f"is {config.swd_limit:g} times that",
                config.collapse,
                good_until=images,
            )
    similar = [row for row in results if row["metric"] == "ms-ssim"]
    gaps = [
        (row["value"] - reference["value"] if (reference := row.get("reference")) else 0.0, row["images"])
        for row in similar
    ]
    if len(gaps) > 1 and all(gap > config.ms_ssim_limit for gap, images in gaps[-2:] if images) and gaps[-2][1]:
        good = [images for gap, images in gaps if gap <= config.ms_ssim_limit]
        return Alarm(
            "collapse",
            f"samples lost their variation: MS-SSIM {gaps[-1][0]:.2f} above the reals', guards.ms_ssim_limit is "
            f"{config.ms_ssim_limit:g}",
            config.collapse,
            good_until=good[-1] if good else None,
        )
    return None


def best_of(results: Sequence[Mapping[str, Any]]) -> tuple[int, float] | None:
    """Images shown and SWD at the best measurement of a trained generator; None if there is none."""
    swd = [(row["value"], row["images"]) for row in results if row["metric"] == "swd" and row["images"]]
    return min(swd)[::-1] if swd else None
