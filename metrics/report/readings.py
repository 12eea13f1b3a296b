"""What the numbers of a run say, in words: is it learning, is it collapsing, what would I change?

Every sentence follows from a rule stated here and in docs/report.md, and carries the numbers it rests on. The
thresholds are rules of thumb of this project, not results of a paper.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from metrics.report.charts import TIMES
from metrics.report.run_directory import Row, Run
from metrics.report.scales import number_text
from metrics.report.trends import Trend, comparable, trend

AT_FLOOR = 1.25  # times the real-against-real floor: SWD can hardly tell more at this sample size
LEARNED = 0.5  # fall of SWD from the untrained generator that counts as learning
HARDLY = 0.1  # a smaller fall counts as none
WORSE = 1.25  # times the best SWD of the run
VARIATION = 0.02  # distance of MS-SSIM from the reals' that counts
COLLAPSE = 0.1  # MS-SSIM above the reals' by more than this looks like a collapse
RUNAWAY = 2.0  # growth of the critic's lead from one eighth of a level to the next that is pointed out
PENALTY_JUMP = 3.0  # the same for the gradient penalty
_SIDES = ("loss_d", "loss_g", "penalty", "score_real", "score_fake")


@dataclass
class Answer:
    """Answer to one question: a verdict of a few words, its tone (good, watch, bad or plain) and the reasons."""

    question: str
    verdict: str
    tone: str
    sentences: list[str] = field(default_factory=list)


def answers(run: Run) -> list[Answer]:
    """The three answers at the head of the report."""
    learning, collapse = is_learning(run), is_collapsing(run)
    return [learning, collapse, what_to_change(run)]


def is_learning(run: Run) -> Answer:
    """Judge by the average SWD: how far it fell, how far the floor is, where it is going."""
    answer = Answer("Is it learning?", "Not measured", "plain")
    results = run.results("swd")
    if not results:
        answer.sentences.append("No SWD has been recorded yet; the command metrics swd DATA RUN measures it.")
        return answer
    same = comparable(results)
    first, last = same[0], same[-1]
    if len(same) < len(results):
        answer.sentences.append(
            f"{len(results) - len(same)} earlier SWD results are left out of this comparison: other levels, number of images or "
            "protocol than the last one."
        )
    if len(same) < 2:
        answer.verdict = "Too early to say"
        answer.sentences.append(f"SWD is {number_text(last['value'])}; there is nothing yet to compare it with.")
        _about_floor(last, answer)
        return answer
    fall = 1 - last["value"] / first["value"] if first["value"] > 0 else 0.0
    start = "the untrained generator" if first["images"] == 0 else f"the first evaluation, at {first['images']:,} images"
    moved = f"fell by {fall:.0%}" if fall > 0 else f"rose by {-fall:.0%}"
    answer.sentences.append(f"SWD {moved} from {start}: {number_text(first['value'])} to {number_text(last['value'])}.")
    near_floor = _about_floor(last, answer)
    going = swd_trend(run)
    if going:
        answer.sentences.append(_about_trend("SWD", going))
    if best := better_earlier(run):
        answer.verdict, answer.tone = "It was better before", "watch"
        answer.sentences.append(
            f"Its best was {number_text(best['value'])} at {best['images']:,} images; the last is "
            f"{last['value'] / best['value'] - 1:.0%} above that."
        )
    elif fall < HARDLY:
        answer.verdict, answer.tone = "No sign of it yet", "watch"
    elif fall < LEARNED and not near_floor:
        answer.verdict, answer.tone = "A little", "watch"
    else:
        endings = {"falling": ", and still improves", "flat": ", and has levelled off", "rising": ", but now gets worse"}
        direction = "" if going is None else going.direction
        answer.verdict = f"It has learned{endings.get(direction, '')}"
        answer.tone = "watch" if direction == "rising" else "good"
    return answer


def is_collapsing(run: Run) -> Answer:
    """Judge by MS-SSIM among samples against that among reals, and by the numbers of the training itself."""
    answer = Answer("Is it collapsing?", "Variation is not measured", "plain")
    results = run.results("ms-ssim")
    if results:
        _about_variation(results, answer)
    else:
        answer.sentences.append("No MS-SSIM has been recorded yet, so nothing here tells how much the samples differ.")
    if broken := non_finite(run):
        answer.verdict, answer.tone = "The numbers broke down", "bad"
        answer.sentences.extend(broken)
    unrest = _unrest(run)
    if unrest and answer.tone in ("good", "plain"):
        answer.verdict, answer.tone = "Watch the discriminator", "watch"
    answer.sentences.extend(unrest)
    return answer


def what_to_change(run: Run) -> Answer:
    """Candidates that follow from the numbers; none of them is a finding."""
    answer = Answer("What would I change?", "Nothing stands out", "plain")
    say = answer.sentences.append
    results = run.results("swd")
    going, last = swd_trend(run), results[-1] if results else None
    if non_finite(run):
        say("Go back to a checkpoint before the first value that was not finite, with a lower learning rate.")
    if best := better_earlier(run):
        say(f"Prefer the weights near {best['images']:,} images{_checkpoint_near(run, best['images'])}.")
    if not run.finished and run.total_images:
        say(f"Let it run: {run.images_shown / run.total_images:.0%} of the planned images have been shown.")
    elif run.finished and going and going.direction == "falling":
        say("Train longer: SWD had not levelled off when the run ended.")
    elif run.finished and going and going.direction == "flat" and last and (_times_floor(last) or 0) > 2:
        say("More images of the same kind look unlikely to help much; more channels, a lower learning rate or more data might.")
    if last and (weakest := _weakest_level(last)):
        say(weakest)
    variation = run.results("ms-ssim")
    gap = _variation_gap(variation[-1]) if variation else None
    if gap is not None and gap > VARIATION:
        say("For more variation: a larger batch (the minibatch deviation sees more), a lower learning rate or more varied data.")
    if last and (_times_floor(last) or 9.0) < 2:
        say("Measure with more images before comparing runs: the SWD is within twice its floor at this sample size.")
    if answer.sentences:
        answer.verdict = "One candidate" if len(answer.sentences) == 1 else f"{len(answer.sentences)} candidates"
    return answer


def swd_trend(run: Run) -> Trend | None:
    """Direction of the average SWD at the end of the run; a change below 5% of its mean counts as flat."""
    results = run.results("swd")
    return trend([(row["images"], row["value"]) for row in comparable(results)], least_share=0.05) if results else None


def better_earlier(run: Run) -> Row | None:
    """The best SWD result if the last one is more than `WORSE` times as high."""
    results = run.results("swd")
    if not results:
        return None
    best = min(comparable(results), key=lambda row: row["value"])
    return best if results[-1]["value"] > WORSE * best["value"] > 0 else None


def non_finite(run: Run) -> list[str]:
    """One sentence for every curve of the training that held a value that was not finite."""
    found = []
    for key in _SIDES:
        where = [row["images"] for row in run.ticks if key in row and row[key] is None]
        if where:
            found.append(f"{key} was not finite in {len(where)} of {len(run.ticks)} ticks, first at {where[0]:,} images.")
    return found


def _about_floor(last: Row, answer: Answer) -> bool:
    times = _times_floor(last)
    if times is None:
        return False
    floor = number_text(last["floor"]["value"])
    if times <= AT_FLOOR:
        answer.sentences.append(f"It is at the real-against-real floor ({floor}): at this sample size SWD can hardly tell more.")
        return True
    answer.sentences.append(f"It is {times:.1f} times the real-against-real floor of {floor}.")
    return False


def _about_trend(name: str, going: Trend, *, relative: bool = True) -> str:
    if going.direction == "flat":
        return f"{name} has been level since {going.since:,.0f} images, within its scatter."
    amount = f"{abs(going.change) / going.mean:.0%} of its mean" if relative and going.mean else number_text(abs(going.change))
    return f"{name} is {going.direction}: by {amount} since {going.since:,.0f} images."


def _about_variation(results: Sequence[Row], answer: Answer) -> None:
    last = results[-1]
    pairs = f", {last['num_pairs']:,} pairs" if isinstance(last.get("num_pairs"), int) else ""
    gap = _variation_gap(last)
    if gap is None:
        answer.sentences.append(
            f"MS-SSIM among samples is {number_text(last['value'])}{pairs}; without that of the reals it cannot be judged."
        )
        return
    beside = f"{number_text(last['value'])} beside {number_text(last['real_value'])}{pairs}"
    if gap > VARIATION:
        answer.verdict, answer.tone = ("It looks like it", "bad") if gap > COLLAPSE else ("Variation is low", "watch")
        answer.sentences.append(f"MS-SSIM of the samples is {gap:.2f} above the reals': they vary less than the data ({beside}).")
    elif gap < -VARIATION:
        answer.verdict, answer.tone = "No sign of it", "good"
        answer.sentences.append(
            f"MS-SSIM of the samples is {-gap:.2f} below the reals' ({beside}): they differ more from one another than reals do. "
            "Noise in the samples has the same effect."
        )
    else:
        answer.verdict, answer.tone = "No sign of it", "good"
        answer.sentences.append(f"The samples vary as much as the data: MS-SSIM {beside}.")
    going = trend([(row["images"], row["value"]) for row in results], least=VARIATION)
    if going and going.direction == "rising":
        answer.sentences.append(_about_trend("MS-SSIM", going, relative=False))


def _variation_gap(row: Row) -> float | None:
    return None if row.get("real_value") is None else row["value"] - row["real_value"]


def _times_floor(row: Row) -> float | None:
    value = (row.get("floor") or {}).get("value")
    return row["value"] / value if value else None


def _weakest_level(row: Row) -> str | None:
    """The level whose SWD is the highest multiple of its floor, if that is 1.5 times the lowest multiple."""
    floors = (row.get("floor") or {}).get("levels") or {}
    times = {int(side): value / floors[side] for side, value in (row.get("levels") or {}).items() if value and floors.get(side)}
    if len(times) < 2 or max(times.values()) < 1.5 * min(times.values()):
        return None
    worst = max(times, key=lambda side: times[side])
    what = "the finest detail" if worst == max(times) else "layout and colour" if worst == min(times) else "middle-sized structure"
    return (
        f"Look at {what} first: at {worst}{TIMES}{worst} SWD is {times[worst]:.1f} times its floor, elsewhere from "
        f"{min(times.values()):.1f} times."
    )


def _unrest(run: Run) -> list[str]:
    """Growth of the critic's lead and of its penalty within the present level, once that has fully faded in.

    Compares the median of the last eighth of the level's ticks with that of the eighth before; both need 5 ticks.
    """
    if not run.ticks:
        return []
    last = run.ticks[-1]
    ticks = [row for row in run.ticks if row.get("level") == last.get("level") and row.get("alpha") in (None, 1)]
    part = len(ticks) // 8
    if part < 5:
        return []
    said = []
    gaps = [row["score_real"] - row["score_fake"] for row in ticks if None not in (row.get("score_real"), row.get("score_fake"))]
    penalties = [row["penalty"] for row in ticks if row.get("penalty") is not None]
    for values, jump, text in [
        (gaps, RUNAWAY, "The discriminator's lead (score of reals minus fakes)"),
        (penalties, PENALTY_JUMP, "The gradient penalty"),
    ]:
        if len(values) < 2 * part:
            continue
        before, now = statistics.median(values[-2 * part : -part]), statistics.median(values[-part:])
        if now > jump * before > 0:
            said.append(f"{text} grew from {number_text(before)} to {number_text(now)} over the last ticks of this level.")
    return said


def _checkpoint_near(run: Run, images: int) -> str:
    if not run.checkpoints:
        return ""
    return f" ({min(run.checkpoints, key=lambda entry: abs(entry[0] - images))[1].name})"
