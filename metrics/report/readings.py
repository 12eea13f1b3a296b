"""What the numbers of a run say, in words: is it learning, is it collapsing; `advice` has what I would change.

Every sentence follows from a rule of `findings` or of this file and carries the numbers it rests on.
"""

from __future__ import annotations

from collections.abc import Sequence

from metrics.report import findings
from metrics.report.advice import what_to_change
from metrics.report.answer import Answer, with_error
from metrics.report.fields import Row
from metrics.report.run_directory import Run
from metrics.report.scales import number_text
from metrics.report.trends import Trend, comparable

LEARNED = 0.5  # fall of SWD from the untrained generator that counts as learning
HARDLY = 0.1  # a smaller fall counts as none
LATELY = 0.9  # share of the images shown, after which an event decides the verdict
_JUMP_NAMES = {"lead": "The discriminator's lead (score of reals minus fakes)", "penalty": "The gradient penalty"}


def answers(run: Run) -> list[Answer]:
    """The three answers at the head of the report."""
    return [is_learning(run), is_collapsing(run), what_to_change(run)]


def is_learning(run: Run) -> Answer:
    """Judge by the average SWD: how far it fell, how far the floor is, where it is going."""
    answer = Answer("Is it learning?", "Not measured", "plain")
    say = answer.sentences.append
    results = run.results("swd")
    if not results:
        say("No SWD has been recorded yet; the command metrics swd DATA RUN measures it.")
        return answer
    same = comparable(results)
    first, last = same[0]["value"], same[-1]["value"]
    if others := len(results) - len(same):
        say(f"Not compared here: {others} earlier SWD results of other levels, number of images, protocol or reals.")
    if len(same) == 1 or first <= 0:
        answer.verdict = "Too early to say"
        say(f"SWD is {with_error(same[-1])}, with nothing yet to compare it with.")
    else:
        fall = 1 - last / first
        _judge_fall(run, fall, answer)
        at = same[0]["images"]
        start = "that of the untrained generator" if at == 0 else f"the first evaluation, at {at:,} images"
        moved = "fell by" if fall >= 0 else "rose by"
        say(f"SWD {moved} {abs(fall):.0%} from {start}: {with_error(same[0])} to {with_error(same[-1])}.")
    if (times := findings.times_floor(same[-1])) is not None:
        floor = number_text(same[-1]["floor"]["value"])
        if findings.floor_is_high(same[-1]):
            say(f"It is at least {times:.1f} times the real-against-real floor: {floor}, measured with fewer images.")
        elif findings.at_floor(same[-1]):
            say(f"It is at the real-against-real floor ({floor}): at this sample size SWD can hardly tell more.")
        else:
            say(f"It is {times:.1f} times the real-against-real floor of {floor}.")
    if going := findings.swd_trend(run):
        share = abs(going.change) / going.mean if going.mean else 0.0
        say(_direction("SWD", going, f"{share:.0%} of its mean"))
    if best := findings.better_earlier(run):
        above = f"{last / best['value'] - 1:.0%} above that" if best["value"] else "above that"
        say(f"Its best was {number_text(best['value'])} at {best['images']:,} images; the last is {above}.")
    for sentence in _other_distances(run):
        say(sentence)
    return answer


def is_collapsing(run: Run) -> Answer:
    """Judge by MS-SSIM among samples against that among reals, and by the numbers of the training itself."""
    answer = Answer("Is it collapsing?", "Variation is not measured", "plain")
    say = answer.sentences.append
    results = run.results("ms-ssim")
    if results:
        _judge_variation(run, results, answer)
    else:
        say("No MS-SSIM has been recorded yet, so nothing here tells how much the samples differ.")
    grown, steady = findings.jumps(run), findings.steady_growth(run)
    if (grown or steady) and answer.tone in ("good", "plain"):
        answer.verdict, answer.tone = "Watch the discriminator", "watch"
    for name, before, now in grown:
        say(f"{_JUMP_NAMES[name]} grew from {number_text(before)} to {number_text(now)} late in this level.")
    if steady and "penalty" not in [name for name, _, _ in grown]:
        start, end = map(number_text, steady)
        say(f"The gradient penalty rises steadily in this level: from {start} to {end}.")
    for name, count, first in findings.non_finite(run):
        answer.verdict, answer.tone = "The numbers broke down", "bad"
        say(f"{name} was not finite in {count} of {len(run.ticks)} ticks, first at {first:,} images.")
    if run.events:
        last = run.events[-1]
        if last.images > LATELY * run.images_shown and answer.tone in ("good", "plain"):
            answer.verdict, answer.tone = "A guard warned lately", "watch"
        number = "event 1" if len(run.events) == 1 else f"the last of {len(run.events)} events"
        say(f"The guards found something, {number} after {last.images:,} images: {last.found}; {last.done}.")
    return answer


def _other_distances(run: Run) -> list[str]:
    """Where every other metric with a floor, such as FID, came from and is, beside that floor."""
    said = []
    for metric in dict.fromkeys(row["metric"] for row in run.evaluations):
        same = comparable(run.results(metric)) if metric != "swd" and run.results(metric) else []
        if same and same[-1]["floor"] and same[-1]["floor"].get("value") is not None:
            start = f"went from {with_error(same[0])} to" if len(same) > 1 else "is"
            beside = with_error(same[-1]["floor"])
            said.append(f"{metric.upper()} {start} {with_error(same[-1])}; real against real it is {beside}.")
    return said


def _judge_fall(run: Run, fall: float, answer: Answer) -> None:
    going = findings.swd_trend(run)
    direction = going.direction if going else None
    last = run.results("swd")[-1]
    near_floor = findings.at_floor(last) and not findings.floor_is_high(last)
    if findings.better_earlier(run):
        answer.verdict, answer.tone = "It was better before", "watch"
    elif fall < LEARNED and findings.still_growing(run, last["images"]):
        answer.verdict = "Too early to say"  # images of a coarse level are far from the reals at every finer one
    elif (fall < HARDLY or not findings.differ(comparable(run.results("swd"))[0], last)) and not near_floor:
        answer.verdict, answer.tone = "No sign of it yet", "watch"
    elif fall < LEARNED and not near_floor:
        answer.verdict, answer.tone = "A little", "watch"
    elif direction == "rising":
        answer.verdict, answer.tone = "It has learned, but gets worse", "watch"
    else:
        ending = {"falling": ", and still improves", "flat": ", and has levelled off"}.get(direction or "", "")
        begun = "It has learned" if run.finished or direction == "flat" else "It is learning"
        answer.verdict, answer.tone = f"{begun}{ending}", "good"


def _judge_variation(run: Run, results: Sequence[Row], answer: Answer) -> None:
    say = answer.sentences.append
    last = results[-1]
    value, gap = number_text(last["value"]), findings.variation_gap(last)
    pairs = f"{last['num_pairs']:,} pairs" if isinstance(last.get("num_pairs"), int) else "pairs not counted"
    if gap is None:
        say(f"MS-SSIM among samples is {value} ({pairs}); without that among reals it cannot be judged.")
        return
    beside = f"{value} beside {number_text(last['reference']['value'])}, {pairs}"
    if not findings.variation_differs(last):
        answer.verdict, answer.tone = "No sign of it", "good"
        say(f"The samples vary about as much as the data: MS-SSIM {beside}.")
    elif gap > 0:
        answer.verdict, answer.tone = (
            ("It looks like it", "bad") if gap > findings.COLLAPSE else ("Variation is low", "watch")
        )
        if findings.variation_grows(results):
            answer.verdict, answer.tone = "Variation is low, but grows", "watch"
        say(f"MS-SSIM of the samples is {gap:.2f} above the reals': they vary less than the data ({beside}).")
        if findings.still_growing(run, last["images"]):
            answer.verdict, answer.tone = "Too early to say", "watch"
            say("The generator has not reached its full resolution: images without fine detail are more alike.")
    else:
        answer.verdict, answer.tone = "No sign of it", "good"
        say(f"MS-SSIM of the samples is {-gap:.2f} below the reals': they vary more than the data ({beside}).")
        say("Noise in the samples has the same effect.")
    if (going := findings.variation_trend(results)) and going.direction != "flat":
        say(_direction("MS-SSIM", going, number_text(abs(going.change), 2)))


def _direction(name: str, going: Trend, amount: str) -> str:
    if going.direction == "flat":
        return f"{name} has been level since {going.since:,.0f} images, within its scatter."
    return f"{name} is {going.direction}: by {amount} since {going.since:,.0f} images."
