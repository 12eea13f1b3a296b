"""The facts around the curves: headline, tiles, table of levels, and what the run says of itself."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from datasets.levels import resolution_of
from metrics.report.charts import TIMES
from metrics.report.fields import Row
from metrics.report.run_directory import LevelPlan, Run
from metrics.report.scales import count_text, number_text
from metrics.report.trends import comparable

FLOOR_NAME = "real against real"
_LEAST_PATIENCE = 600.0  # seconds
_DASH = "\u2013"
_DOT = " \u00b7 "


def title(run: Run) -> str:
    """What the report is called: the data set's name, else the run directory's."""
    return text_of(run.info, "data", "name") or run.path.resolve().name


def subject(run: Run) -> str:
    """One sentence: what was trained on what."""
    info = run.info
    words = ["A", text_of(info, "networks", "architecture"), "generator"]
    weights = _get(info, "networks", "generator_parameters")
    if isinstance(weights, int):
        words.append(f"of {count_text(weights)} weights")
    count, side = _get(info, "data", "num_images"), _get(info, "data", "resolution")
    words.append(f"trained on {count:,} images" if isinstance(count, int) else "trained on images")
    if isinstance(side, int):
        words.append(f"of {side}{TIMES}{side} pixels")
    return " ".join(word for word in words if word) + "."


def state(run: Run) -> dict[str, str]:
    """How far the run is: `text` for the badge, `more` beside it, and the badge's tone."""
    shown, total = run.images_shown, run.total_images
    if run.finished:
        return {"tone": "good", "text": "Finished", "more": f"{shown:,} images shown"}
    when = f"; last entry {local_time(run.logged_at)}" if run.logged_at is not None and run.ticks else ""
    share = f" {shown / total:.0%}" if total else ""
    of = f"{shown:,} of {total:,} images" if total else f"{shown:,} images shown"
    if run.standing == "going":
        return {"tone": "plain", "text": f"Going on{',' if share else ''}{share}", "more": of}
    if run.standing == "stopped":
        return {"tone": "watch", "text": f"Stopped{' at' if share else ''}{share}", "more": of + when}
    return {"tone": "watch" if total else "plain", "text": f"At{share}" if total else "In progress", "more": of + when}


def patience(run: Run) -> float:
    """Seconds after which the next report of a run that is going should have come: three snapshots' time, and a bit."""
    moments = [images for images, _ in run.snapshots]
    at = [row["seconds"] for row in run.ticks if row["images"] in moments and row.get("seconds") is not None]
    longest = max((after - before for before, after in itertools.pairwise([0.0, *at][-4:])), default=0.0)
    return max(_LEAST_PATIENCE, 3 * longest)


def tiles(run: Run) -> list[dict[str, str]]:
    """The numbers at the head of the page, each with what it has to be compared with."""
    made = []
    if swd := run.results("swd"):
        last, first = swd[-1], comparable(swd)[0]
        floor = (last["floor"] or {}).get("value")
        beside = [] if floor is None else [f"{FLOOR_NAME} {number_text(floor)}"]
        if first["images"] == 0 and first is not last:
            beside.append(f"untrained {number_text(first['value'])}")
        made.append({"name": "SWD, average", "value": number_text(last["value"]), "beside": _DOT.join(beside)})
    if ms_ssim := run.results("ms-ssim"):
        real = (ms_ssim[-1]["reference"] or {}).get("value")
        note = "" if real is None else f"among reals {number_text(real)}"
        made.append({"name": "MS-SSIM of samples", "value": number_text(ms_ssim[-1]["value"]), "beside": note})
    note = f"of {run.total_images:,}" if run.total_images and not run.finished else ""
    made.append({"name": "Images shown", "value": f"{run.images_shown:,}", "beside": note})
    if run.ticks and run.ticks[-1].get("seconds"):
        speed = run.ticks[-1].get("images_per_sec")
        note = "" if speed is None else f"last {number_text(speed)} images/s"
        made.append({"name": "Training time", "value": duration_text(run.ticks[-1]["seconds"]), "beside": note})
    return made


def level_rows(run: Run) -> list[dict[str, str]]:
    """One row of the table of levels for every level of the schedule; what has not happened yet is a dash."""
    return [_level_row(plan, run.ticks) for plan in run.plan]


def fact_groups(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Named groups of what run.json says of data, networks, hardware and versions."""
    groups = []
    for key in ("data", "networks", "hardware", "versions"):
        value = run.info.get(key)
        if isinstance(value, dict) and value:
            groups.append((key.title(), [(str(name).replace("_", " "), _plain(item)) for name, item in value.items()]))
    named = [(key, text_of(run.info, key)) for key in ("preset", "started")]
    groups.append(("Run", [*((key, text) for key, text in named if text), ("folder", run.path.resolve().name)]))
    return groups


def warnings(run: Run) -> list[str]:
    """Warnings that the last result of every metric carries, without repetition."""
    last = {row["metric"]: row for row in run.evaluations}.values()
    return list(dict.fromkeys(f"{row['metric']}: {_plain(text)}" for row in last for text in row["warnings"] or []))


def stage_text(stage: tuple[int, float] | None) -> str:
    """Level and fade as a caption: 16x16, 40% faded in."""
    if stage is None:
        return ""
    side = resolution_of(stage[0])
    fading = "" if stage[1] >= 1 else f", {stage[1]:.0%} faded in"
    return f"{side}{TIMES}{side}{fading}"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: 4 min 52 s."""
    rest = round(seconds)
    if rest < 1:
        return f"{seconds:.2g} s"
    parts: list[tuple[int, str]] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def text_of(info: Mapping[str, Any], *keys: str) -> str:
    """A nested field as text; empty if it is absent."""
    value = _get(info, *keys)
    return "" if value is None else _plain(value)


def _level_row(plan: LevelPlan, all_ticks: Sequence[Row]) -> dict[str, str]:
    ticks = [row for row in all_ticks if row.get("level") == plan.level]
    rates = list(dict.fromkeys(_rates(row) for row in ticks if row.get("lr_g") is not None))
    if not rates and plan.learning_rate is not None:
        rates = [f"{plan.learning_rate:g}"]
    speeds = [row["images_per_sec"] for row in ticks if row.get("images_per_sec") is not None]
    memory = [row["peak_memory_mib"] for row in ticks if row.get("peak_memory_mib") is not None]
    seconds = _seconds_in(all_ticks, plan.level)
    side = resolution_of(plan.level)
    return {
        "level": f"{side}{TIMES}{side}",
        "from": f"{plan.start:,}",
        "faded in": f"{plan.fade_end:,}" if plan.fade_end > plan.start else _DASH,
        "to": f"{plan.end:,}",
        "batch": str(plan.batch),
        "learning rate": ", ".join(rates) or _DASH,
        "images/s": number_text(statistics.median(speeds)) if speeds else _DASH,
        "time": duration_text(seconds) if seconds > 0 else _DASH,
        "peak memory": f"{max(memory):,.0f} MiB" if memory else _DASH,
    }


def _rates(row: Row) -> str:
    generator, discriminator = row["lr_g"], row.get("lr_d")
    return f"{generator:g}" if discriminator in (None, generator) else f"{generator:g} G, {discriminator:g} D"


def _seconds_in(ticks: Sequence[Row], level: int) -> float:
    """Wall time of the ticks of a level, each from the end of the tick before to its own end."""
    total, before = 0.0, 0.0
    for row in ticks:
        if row.get("seconds") is not None:
            total += row["seconds"] - before if row.get("level") == level else 0.0
            before = row["seconds"]
    return total


def local_time(moment: float) -> str:
    """A moment, in seconds since the epoch, to the minute."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def _get(info: Mapping[str, Any], *keys: str) -> Any:
    value: Any = info
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:,}"
    return str(value)
