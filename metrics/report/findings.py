"""What can be computed from a run's numbers: falls, trends, gaps and jumps, each by one stated rule.

The thresholds are rules of thumb of this project, not results of a paper; docs/report.md lists them.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from metrics.report.fields import Row
from metrics.report.run_directory import Run
from metrics.report.trends import Trend, comparable, trend

AT_FLOOR = 1.25  # times the real-against-real floor: SWD can hardly tell more at this sample size
WORSE = 1.25  # times the best SWD of the run
VARIATION = 0.02  # distance of MS-SSIM from the reals' that counts
COLLAPSE = 0.1  # MS-SSIM above the reals' by more than this looks like a collapse
LEAD_JUMP = 2.0  # growth of the discriminator's lead within a level that is pointed out
PENALTY_JUMP = 3.0  # the same for the gradient penalty; and its growth over half a level that is
UNEVEN = 1.5  # ratio between levels, in multiples of their floors, from which one is pointed out
_PART = 8  # a level's ticks are compared by eighths
_FEWEST = 5  # ticks of such a part
_FINITE = ("loss_d", "loss_g", "penalty", "score_real", "score_fake")


def times_floor(result: Row) -> float | None:
    """An SWD result in multiples of its real-against-real floor."""
    floor = (result["floor"] or {}).get("value")
    return float(result["value"] / floor) if floor else None


def at_floor(result: Row) -> bool:
    """Whether an SWD result is within `AT_FLOOR` of its floor, or above it by no more than twice its standard error."""
    times = times_floor(result)
    if times is None:
        return False
    floor = result["floor"]
    return times <= AT_FLOOR or not differ(result, floor)


def differ(one: Row, other: Row) -> bool:
    """Whether two values lie further apart than twice the standard error of their difference, as far as that is known.

    The error of a floor is seldom known; it is taken for 0.
    """
    error = math.hypot(one.get("standard_error") or 0.0, other.get("standard_error") or 0.0)
    return abs(float(one["value"] - other["value"])) > 2 * error


def floor_is_high(result: Row) -> bool:
    """Whether the floor was measured with fewer images than the value, and so lies too high for it."""
    floor = result["floor"] or {}
    return floor.get("num_images") not in (None, result.get("num_images"))


def swd_trend(run: Run) -> Trend | None:
    """Direction of the average SWD at the end of the run; a change below 5% of its mean counts as flat."""
    return trend(_points(comparable(run.results("swd"))), least_share=0.05)


def better_earlier(run: Run) -> Row | None:
    """The best SWD result, if the last one is more than `WORSE` times as high, and by more than their errors."""
    results = comparable(run.results("swd"))
    best = min(results, key=lambda row: float(row["value"]), default=None)
    return best if best and results[-1]["value"] > WORSE * best["value"] and differ(results[-1], best) else None


def weakest_level(result: Row) -> tuple[int, dict[int, float]] | None:
    """The level whose SWD is the highest multiple of its floor, if that is `UNEVEN` times the lowest multiple.

    Returns
    -------
    (int, dict of int to float) or None
        Its resolution, and the multiples of all levels by resolution.
    """
    floors = (result["floor"] or {}).get("levels") or {}
    levels = (result["levels"] or {}).items()
    times = {int(side): value / floors[side] for side, value in levels if value and floors.get(side)}
    if len(times) < 2 or max(times.values()) < UNEVEN * min(times.values()):
        return None
    return max(times, key=lambda side: times[side]), times


def variation_gap(result: Row) -> float | None:
    """MS-SSIM among samples minus MS-SSIM among reals; above zero, the samples vary less."""
    real = (result["reference"] or {}).get("value")
    return None if real is None else float(result["value"] - real)


def variation_differs(result: Row) -> bool:
    """Whether MS-SSIM of samples and reals differ by more than `VARIATION` and twice their standard error."""
    gap, reference = variation_gap(result), result["reference"] or {}
    error = math.hypot(result.get("standard_error") or 0.0, reference.get("standard_error") or 0.0)
    return gap is not None and abs(gap) > max(VARIATION, 2 * error)


def variation_trend(results: Sequence[Row]) -> Trend | None:
    """Direction of MS-SSIM at the end of the run; a change below `VARIATION` counts as flat."""
    return trend(_points(comparable(results)), least=VARIATION)


def variation_grows(results: Sequence[Row]) -> bool:
    """Whether MS-SSIM falls at the end; with too few results for a trend, whether it fell since the first of them."""
    if going := variation_trend(results):
        return going.direction == "falling"
    points = _points(comparable(results))
    return bool(points) and points[-1][1] < points[0][1] - VARIATION


def collapsed(run: Run) -> bool:
    """Whether the grown generator's last MS-SSIM lies more than `COLLAPSE` above the reals', and does not fall."""
    results = run.results("ms-ssim")
    if not results or not variation_differs(results[-1]) or variation_grows(results):
        return False
    return (variation_gap(results[-1]) or 0.0) > COLLAPSE and not still_growing(run, results[-1]["images"])


def last_varied(run: Run) -> int | None:
    """Images shown at the grown generator's last MS-SSIM that did not differ from the reals'."""
    rows = [row for row in run.results("ms-ssim") if row["images"] and not still_growing(run, row["images"])]
    near = [int(row["images"]) for row in rows if variation_gap(row) is not None and not variation_differs(row)]
    return near[-1] if near else None


def still_growing(run: Run, images: int) -> bool:
    """Whether the generator had not fully reached its last level after `images` images."""
    stage = run.stage(images)
    return stage is not None and bool(run.plan) and (stage[0] < run.plan[-1].level or stage[1] < 1)


def non_finite(run: Run) -> list[tuple[str, int, int]]:
    """Curves of the training that were not finite somewhere: name, number of such ticks, images shown at the first."""
    found = []
    for key in _FINITE:
        where = [row["images"] for row in run.ticks if key in row and row[key] is None]
        if where:
            found.append((key, len(where), where[0]))
    return found


def jumps(run: Run) -> list[tuple[str, float, float]]:
    """What grew within the present level, once that has fully faded in: name, median before, median now.

    Compares the last eighth of the level's ticks with the eighth before; both need five ticks.
    """
    found = []
    for name, jump in (("lead", LEAD_JUMP), ("penalty", PENALTY_JUMP)):
        parts = _medians(run, name)
        if parts and parts[-1] > jump * parts[-2] > 0:
            found.append((name, parts[-2], parts[-1]))
    return found


def steady_growth(run: Run) -> tuple[float, float] | None:
    """Medians of a gradient penalty that grew steadily within the present level, once that has fully faded in.

    Those of the first and the last of the level's last four eighths, if each is above the one before and the last
    more than `PENALTY_JUMP` times the first; an eighth needs five ticks.
    """
    parts = _medians(run, "penalty")[-4:]
    if len(parts) < 4 or any(now <= before for before, now in itertools.pairwise(parts)):
        return None
    return (parts[0], parts[-1]) if parts[-1] > PENALTY_JUMP * parts[0] > 0 else None


def _medians(run: Run, name: str) -> list[float]:
    """Medians of the lead or the penalty over eighths of the present level's fully faded ticks; none if too few."""
    level = run.ticks[-1].get("level") if run.ticks else None
    ticks = [row for row in run.ticks if row.get("level") == level and row.get("alpha") in (None, 1)]
    size = len(ticks) // _PART
    values = [_lead(row) if name == "lead" else row.get(name) for row in ticks]
    known = [value for value in values if value is not None]
    if size < _FEWEST:
        return []
    ends = list(range(len(known), size - 1, -size))[:_PART]
    medians = [statistics.median(known[end - size : end]) for end in reversed(ends)]
    return medians if len(medians) > 1 else []


def _points(results: Sequence[Row]) -> list[tuple[float, float]]:
    """Points of a trend. The untrained generator makes noise, which is no part of where a run is going."""
    return [(row["images"], row["value"]) for row in results if row["images"] > 0]


def _lead(row: Row) -> float | None:
    real, fake = row.get("score_real"), row.get("score_fake")
    return None if real is None or fake is None else float(real - fake)
