"""What would I change: candidates that follow from a run's numbers, with the option that each one is."""

from __future__ import annotations

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


def what_to_change(run: Run) -> Answer:
    """Candidates that follow from the numbers; none of them is a finding."""
    answer = Answer("What would I change?", "Nothing stands out", "plain")
    say = answer.sentences.append
    swd, variation, going = run.results("swd"), run.results("ms-ssim"), findings.swd_trend(run)
    times = findings.times_floor(swd[-1]) if swd else None
    direction = going.direction if going else None
    rate = _option(run, "growth.learning_rate", 0.5)
    if findings.non_finite(run):
        say(f"Numbers that are not finite: start again with {rate}, or go on with --set guards.non_finite=roll_back.")
    _about_events(run, answer)
    if best := findings.better_earlier(run):
        say(f"Prefer the weights of {best['images']:,} images: {_checkpoint_of(run, best['images'])}.")
    if not run.finished and run.total_images:
        say(f"Let it run: {run.images_shown / run.total_images:.0%} of the planned images have been shown.")
    elif run.finished and direction == "falling":
        longer = f"--set growth.total_kimg={1.5 * (run.total_images or 0) / 1000:g}"
        say(f"Train longer: SWD had not levelled off when the run ended. The same command with {longer} goes on.")
    elif run.finished and direction == "flat" and times is not None and times > 2:
        wider = _option(run, "network.fmap_max", 2)
        say(f"Longer training alone may not help: in a new run, wider networks ({wider}), {rate} or more data might.")
    grown = not findings.still_growing(run, run.images_shown)
    if swd and grown and (uneven := findings.weakest_level(swd[-1])):
        say(_about_weakest(*uneven))
    low = variation and findings.variation_differs(variation[-1]) and (findings.variation_gap(variation[-1]) or 0) > 0
    if low and grown and not findings.variation_grows(variation):
        say(f"For more variation, in a new run: {_larger_batch(run)}, {rate} or more varied data.")
    if times is not None and times < 2:
        say(_measure_with_more(run, swd[-1].get("num_images")))
    if answer.sentences:
        answer.verdict = "One candidate" if len(answer.sentences) == 1 else f"{len(answer.sentences)} candidates"
    return answer


def _about_events(run: Run, answer: Answer) -> None:
    back = [event for event in run.events if event.back_to is not None]
    if back:
        now = next((row["lr_g"] for row in reversed(run.ticks) if row.get("lr_g")), None)
        lower = _option(run, "growth.learning_rate", 0.5) if now is None else f"--set growth.learning_rate={now:.3g}"
        count = "once" if len(back) == 1 else f"{len(back)} times"
        answer.sentences.append(f"The run was rolled back {count}: begin the next one with {lower}.")
    ignored = {
        option for event in run.events for words, option in _GUARDS.items()
        if words in event.found and event.done == "went on"
    }  # fmt: skip
    for option in sorted(ignored):
        if run.option(option) == "go_on":
            answer.sentences.append(
                f"A guard warned and the run went on: --set {option}=roll_back returns to the last good checkpoint "
                "and lowers the learning rates."
            )


def _option(run: Run, key: str, factor: float) -> str:
    """A setting with its present value times a factor."""
    value = run.option(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"a {'lower' if factor < 1 else 'higher'} {key}"
    return f"--set {key}={value * factor:.3g} (it is {value:g})"


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
