"""What would I change: candidates that follow from a run's numbers, with the option that each one is."""

from __future__ import annotations

from collections.abc import Sequence

from metrics.report import findings
from metrics.report.answer import Answer
from metrics.report.charts import TIMES
from metrics.report.run_directory import Run

_GUARDS = {  # words of an event, and the option that answers it
    "not finite": "guards.non_finite",
    "exploded": "guards.explosion",
    "got much worse": "guards.collapse",
    "lost their variation": "guards.collapse",
}
_LIMITS = {  # what can run away, and the limit that guards.explosion has for it
    "lead": ("the discriminator's lead", "score_gap_limit"),
    "penalty": ("the gradient penalty", "penalty_limit"),
}


def what_to_change(run: Run) -> Answer:
    """Candidates that follow from the numbers; none of them is a finding."""
    answer = Answer("What would I change?", "Nothing stands out", "plain")
    say = answer.sentences.append
    swd, variation = run.results("swd"), run.results("ms-ssim")
    grown = not findings.still_growing(run, run.images_shown)
    low = (
        variation and findings.variation_differs(variation[-1]) and (findings.variation_gap(variation[-1]) or 0) > 0
        and not findings.variation_grows(variation)
    )  # fmt: skip
    answer.sentences += _about_breakdown(run)
    broken = bool(answer.sentences) or findings.collapsed(run)
    answer.sentences += _about_events(run, answer.sentences)
    if best := findings.better_earlier(run):
        say(f"Prefer the weights of {best['images']:,} images: {_checkpoint_of(run, best['images'])}.")
    going = findings.swd_trend(run)
    worse = best is not None and grown and (going is None or going.direction != "falling")
    if worse and not broken and not low:
        say(f"SWD got worse though nothing else looks wrong: in a new run, {_rate(run)} might prevent that.")
    if not broken:
        answer.sentences += _about_length(run, worse=worse)
    if swd and grown and (uneven := findings.weakest_level(swd[-1])):
        say(_about_weakest(*uneven))
    if low and grown:
        say(f"For more variation, in a new run: {_larger_batch(run)}, {_rate(run)} or more varied data.")
    times = findings.times_floor(swd[-1]) if swd else None
    if times is not None and times < 2:
        say(_measure_with_more(run, swd[-1].get("num_images")))
    if run.finished and not any(row["value"] is not None for row in run.evaluations):
        say("Measure it: metrics swd DATA RUN; or in a new run, while it goes: --set snapshots.metric_images=2048.")
    if answer.sentences:
        answer.verdict = "One candidate" if len(answer.sentences) == 1 else f"{len(answer.sentences)} candidates"
    return answer


def _about_breakdown(run: Run) -> list[str]:
    """What answers a late collapse, numbers that are not finite, and a discriminator that runs away."""
    said = []
    last = findings.last_varied(run)
    if last is not None and findings.collapsed(run):
        good = [
            path.name for images, path in run.checkpoints if images <= last and not findings.still_growing(run, images)
        ]
        weights = good[-1] if good else "no such checkpoint is kept; a larger snapshots.keep keeps more"
        gap, limit = findings.variation_gap(run.results("ms-ssim")[-1]), _number(run, "guards.ms_ssim_limit")
        late = gap is not None and limit is not None and gap <= limit
        lower = f" with --set guards.ms_ssim_limit={findings.COLLAPSE:g} (it is {limit:g})" if late else ""
        said.append(
            f"The samples varied like the reals for the last time at {last:,} images: use weights of that moment or "
            f"before ({weights}). {_roll_back(run, 'collapse')}{lower} goes back by itself and lowers the rates."
        )
    if bad := findings.non_finite(run):
        rate, guard = _rate(run, at=min(first for _, _, first in bad)), _roll_back(run, "non_finite")
        said.append(f"Numbers that are not finite: start again with {rate}, or go on with {guard}.")
    names = [name for name, _, _ in findings.jumps(run)]
    if "penalty" not in names and findings.steady_growth(run):
        names.append("penalty")
    if names:
        limits = [(f"guards.{_LIMITS[name][1]}", _number(run, f"guards.{_LIMITS[name][1]}")) for name in names]
        beyond = " or ".join(key if value is None else f"{key} ({value:g})" for key, value in limits)
        what = " and ".join(_LIMITS[name][0] for name in names)
        said.append(
            f"More images will not mend {what}: in a new run, {_rate(run)}; "
            f"{_roll_back(run, 'explosion')} goes back to a good checkpoint beyond {beyond}."
        )
    return said


def _about_events(run: Run, said_before: Sequence[str]) -> list[str]:
    said = []
    if back := [event for event in run.events if event.back_to is not None]:
        rates = dict.fromkeys(_rate(run, 1.0, at=event.images) for event in back)
        count = "once" if len(back) == 1 else f"{len(back)} times"
        said.append(f"The run was rolled back {count}: begin the next one with {' and '.join(rates)}.")
    ignored = {
        option for event in run.events for words, option in _GUARDS.items()
        if words in event.found and event.done == "went on" and run.option(option) == "go_on"
        and not any(f"{option}=roll_back" in sentence for sentence in said_before)
    }  # fmt: skip
    return said + [
        f"A guard warned and the run went on: --set {option}=roll_back returns to the last good checkpoint "
        "and lowers the learning rates."
        for option in sorted(ignored)
    ]


def _about_length(run: Run, *, worse: bool) -> list[str]:
    """Whether more images are the thing to ask for, of a run that is sound."""
    swd, going = run.results("swd"), findings.swd_trend(run)
    times = findings.times_floor(swd[-1]) if swd else None
    direction = going.direction if going else None
    # Of a run that goes on, the curve counts from where the generator was whole: while it grows, SWD may stand still.
    settled = going is not None and (run.finished or not findings.still_growing(run, int(going.since)))
    if settled and direction == "flat" and times is not None and times > 2:
        wider, rate = _wider_networks(run), _rate(run)
        return [f"Longer training alone may not help: in a new run, {wider}, {rate} or more data might."]
    if not run.finished and run.total_images and not worse:
        return [f"Let it run: {run.images_shown / run.total_images:.0%} of the planned images have been shown."]
    if run.finished and direction == "falling":
        longer = f"--set growth.total_kimg={1.5 * (run.total_images or 0) / 1000:g}"
        return [f"Train longer: SWD had not levelled off when the run ended. The same command with {longer} goes on."]
    return []


def _number(run: Run, key: str) -> float | None:
    """An option of the run that is a number."""
    value = run.option(key)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _planned_rate(run: Run, images: int) -> tuple[str, float | None]:
    """The option that decides the learning rate of the level at which `images` were shown, and its value."""
    stage = run.stage(images)
    level = stage[0] if stage else run.plan[-1].level if run.plan else None
    table = run.option("growth.learning_rate_by_resolution")
    if level is not None and isinstance(table, dict):
        value = table.get(1 << level)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"growth.learning_rate_by_resolution.{1 << level}", float(value)
    return "growth.learning_rate", _number(run, "growth.learning_rate")


def _caution(run: Run) -> float:
    """What the roll-backs so far have multiplied the planned learning rates with."""
    count = sum(event.back_to is not None for event in run.events)
    last = next((row for row in reversed(run.ticks) if row.get("lr_g")), None)
    planned = _planned_rate(run, last["images"])[1] if last else None
    if count and last and planned:
        return float(last["lr_g"]) / planned
    return float((_number(run, "guards.rate_factor") or 0.5) ** count)


def _rate(run: Run, factor: float = 0.5, *, at: int | None = None) -> str:
    """A setting that multiplies the learning rate of the level after `at` images, by default the present one.

    After a roll-back, that is the lower rate which the run has gone on with.
    """
    key, value = _planned_rate(run, run.images_shown if at is None else at)
    if value is None:
        return f"a lower {key}"
    now = value * _caution(run)
    return f"--set {key}={now * factor:.3g}" + (f" (it is {now:.3g})" if factor != 1 else "")


def _roll_back(run: Run, guard: str) -> str:
    """A setting of a guard, with its present answer where that is known and another one."""
    present = run.option(f"guards.{guard}")
    known = f" (it is {present})" if isinstance(present, str) and present != "roll_back" else ""
    return f"--set guards.{guard}=roll_back{known}"


def _wider_networks(run: Run) -> str:
    """Settings that double the width of the last level, ``min(fmap_base / 2^((r - 1) decay), fmap_max)`` at 2^r."""
    base = _number(run, "network.fmap_base")
    if base is None or not run.plan:
        return "wider networks"
    decay, most = _number(run, "network.fmap_decay"), _number(run, "network.fmap_max")
    wide = base / 2.0 ** ((run.plan[-1].level - 1) * (1.0 if decay is None else decay))
    aim = 2 * wide if most is None else 2 * min(wide, most)
    settings = [f"--set network.fmap_base={2 * base:g} (it is {base:g})"] if wide < aim else []
    if most is not None and most < aim:
        settings.append(f"--set network.fmap_max={2 * most:g} (it is {most:g})")
    return f"wider networks ({', '.join(settings)})"


def _larger_batch(run: Run) -> str:
    """A setting that doubles the minibatch of the last level."""
    if not run.plan:
        return "a larger growth.batch"
    last = run.plan[-1]
    return f"--set growth.batch_by_resolution.{1 << last.level}={2 * last.batch} (it is {last.batch})"


def _measure_with_more(run: Run, count: object) -> str:
    """Advice for a distance that the sample size decides."""
    beginning = "Measure with more images before comparing runs: SWD is within twice its floor at this sample size"
    data = run.info.get("data")
    have = data.get("num_images") if isinstance(data, dict) else None
    if not isinstance(count, int) or not isinstance(have, int):
        return f"{beginning}."
    if have < 2 * count + 2:
        return f"{beginning}, and the data set has no more than these."
    return f"{beginning} (--set snapshots.metric_images={min(2 * count, have // 2)})."


def _about_weakest(side: int, times: dict[int, float]) -> str:
    names = {max(times): "the finest detail", min(times): "layout and colour"}
    what = names.get(side, "middle-sized structure")
    least = min(times.values())
    return (
        f"Look at {what} first: at {side}{TIMES}{side} SWD is {times[side]:.1f} times its floor, "
        f"at the best level {least:.1f} times."
    )


def _checkpoint_of(run: Run, images: int) -> str:
    kept = dict(run.checkpoints).get(images)
    return kept.name if kept else "no checkpoint of that moment is kept; --set snapshots.keep_best=true keeps the best"
