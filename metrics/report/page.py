"""From a run to the text of its page: collects what the template shows and fills it."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

import growgan
from datasets.levels import resolution_of
from metrics.report.charts import TIMES, Chart, Series, draw, points_of
from metrics.report.pictures import read_gallery
from metrics.report.readings import answers
from metrics.report.run_directory import Row, Run
from metrics.report.scales import count_text, number_text
from metrics.report.trends import comparable

_HERE = Path(__file__).parent
_FLOOR = "real against real"
_DASH = "\u2013"


def render(run: Run) -> str:
    """The whole page as one HTML text.

    Everything that comes from the run is escaped by the template engine; a content security policy in the page forbids
    every connection, and every script but ours, whose digest it names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(count=count_text, number=number_text, grouped=lambda value: f"{value:,}")
    script = (_HERE / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("template.html").render(
        style=jinja2.utils.markupsafe.Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        script=jinja2.utils.markupsafe.Markup(script),
        script_digest=digest,
        version=growgan.__version__,
        run=run,
        title=_text(run.info, "data", "name") or run.path.resolve().name,
        subject=_subject(run),
        digest=_text(run.info, "data", "content_digest"),
        state=_state(run),
        tiles=_tiles(run),
        answers=answers(run),
        gallery=read_gallery(run),
        stage_text=stage_text,
        score_charts=score_charts(run),
        training_charts=training_charts(run),
        levels=level_rows(run),
        facts=_facts(run),
        warnings=_warnings(run),
        command=_text(run.info, "command"),
    )


def score_charts(run: Run) -> list[Chart]:
    """SWD per level, MS-SSIM, and whatever other metric has been recorded, over the images shown."""
    charts = [_swd_chart(run)]
    for metric in dict.fromkeys(row["metric"] for row in run.evaluations):
        if metric == "swd":
            continue
        results = run.results(metric)
        reals = [row["real_value"] for row in results if row.get("real_value") is not None]
        floors = [row["floor"]["value"] for row in results if (row.get("floor") or {}).get("value") is not None]
        name, floor_name = ("MS-SSIM", "among reals") if metric == "ms-ssim" else (metric, "reals")
        subtitle = "among samples; higher than among reals means less variation" if metric == "ms-ssim" else "over the images shown"
        curve = Series(name=name, points=points_of(results, "value"), colour=0, floor=(reals or floors or [None])[-1], strong=True)
        charts.append(draw(name, subtitle, [curve], end=run.images_shown, plan=run.plan, floor_name=floor_name))
    return [chart for chart in charts if chart]


def training_charts(run: Run) -> list[Chart]:
    """Losses, penalty, scores and speed over the images shown."""

    def chart(title: str, subtitle: str, curves: Sequence[tuple[str, str]], *, log: bool = False) -> Chart | None:
        series = [Series(name=name, points=points_of(run.ticks, key), colour=k) for k, (key, name) in enumerate(curves)]
        return draw(title, subtitle, series, end=run.images_shown, plan=run.plan, log=log)

    charts = [
        chart("Losses", "of the two networks; they need not fall", [("loss_d", "discriminator"), ("loss_g", "generator")]),
        chart("Scores", "what the discriminator gives", [("score_real", "reals"), ("score_fake", "fakes")]),
        chart("Regularisation", "terms in the discriminator's loss", [("penalty", "gradient penalty"), ("drift", "drift")], log=True),
        chart("Speed", "images per second", [("images_per_sec", "images/s")], log=True),
    ]
    return [chart for chart in charts if chart]


def level_rows(run: Run) -> list[dict[str, str]]:
    """One row of the table of levels for every level of the schedule; what has not happened yet is a dash."""
    rows = []
    for plan in run.plan:
        ticks = [row for row in run.ticks if row.get("level") == plan.level]
        rates = dict.fromkeys(_rates(row) for row in ticks if row.get("lr_g") is not None)
        memory = [row["peak_memory_mib"] for row in ticks if row.get("peak_memory_mib") is not None]
        speeds = [row["images_per_sec"] for row in ticks if row.get("images_per_sec") is not None]
        seconds = _seconds_in(run.ticks, plan.level)
        side = resolution_of(plan.level)
        rows.append(
            {
                "level": f"{side}{TIMES}{side}",
                "from": f"{plan.start:,}",
                "faded in": f"{plan.fade_end:,}" if plan.fade_end > plan.start else _DASH,
                "to": f"{plan.end:,}",
                "batch": str(plan.batch),
                "learning rate G / D": ", ".join(rates) or _DASH,
                "images/s": number_text(statistics.median(speeds)) if speeds else _DASH,
                "time": duration_text(seconds) if seconds else _DASH,
                "peak memory": f"{max(memory):,.0f} MiB" if memory else _DASH,
            }
        )
    return rows


def stage_text(stage: tuple[int, float] | None) -> str:
    """Level and fade as a caption: 16x16, 40% faded in."""
    if stage is None:
        return ""
    side = resolution_of(stage[0])
    fading = "" if stage[1] >= 1 else f", {stage[1]:.0%} faded in"
    return f"{side}{TIMES}{side}{fading}"


def duration_text(seconds: float) -> str:
    """A duration in its two largest units: 4 min 52 s."""
    whole = round(seconds)
    if whole < 1:
        return f"{seconds:.2g} s"
    units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    parts = []
    for size, unit in units:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def _swd_chart(run: Run) -> Chart | None:
    results = run.results("swd")
    sides = sorted({int(side) for row in results for side in row.get("levels") or {}}, reverse=True)
    floors: dict[str, Any] = {}
    for row in results:
        floors.update((row.get("floor") or {}).get("levels") or {})
    series = [
        Series(
            name=f"{side}{TIMES}{side}",
            points=[(row["images"], (row.get("levels") or {}).get(str(side))) for row in results],
            colour=k % 7,
            floor=floors.get(str(side)),
        )
        for k, side in enumerate(sides)
    ]
    if len(sides) != 1:
        series.append(Series(name="average", points=points_of(results, "value"), colour=7, strong=True))
    subtitle = f"distance to the reals, {TIMES}1000; lower is better"
    title = "Sliced Wasserstein distance"
    return draw(title, subtitle, series, end=run.images_shown, plan=run.plan, log=True, floor_name=_FLOOR)


def _subject(run: Run) -> str:
    """One sentence: what was trained on what."""
    info = run.info
    architecture = _text(info, "networks", "architecture")
    parts = [f"A {architecture} generator" if architecture else "A generator"]
    if isinstance(count := _get(info, "networks", "generator_parameters"), int):
        parts.append(f"of {number_text(count) if count < 1000 else count_text(float(f'{count:.3g}'))} weights")
    parts.append(f"trained on {_data_text(info)}")
    if preset := _text(info, "preset"):
        parts.append(f"with the preset {preset}")
    return " ".join(parts) + "."


def _data_text(info: Mapping[str, Any]) -> str:
    count, side = _get(info, "data", "num_images"), _get(info, "data", "resolution")
    images = f"{count:,} images" if isinstance(count, int) else "images"
    return f"{images} of {side}{TIMES}{side} pixels" if isinstance(side, int) else images


def _state(run: Run) -> dict[str, str]:
    shown, total = run.images_shown, run.total_images
    if run.finished:
        return {"tone": "good", "text": "Finished", "more": f"{shown:,} images shown"}
    when = f"; last entry {_local_time(run.logged_at)}" if run.logged_at is not None and run.ticks else ""
    if total is None:
        return {"tone": "plain", "text": "In progress", "more": f"{shown:,} images shown{when}"}
    return {"tone": "watch", "text": f"At {shown / total if total else 0:.0%}", "more": f"{shown:,} of {total:,} images{when}"}


def _tiles(run: Run) -> list[dict[str, str]]:
    """The numbers at the head of the page, each with what it has to be compared with."""
    tiles = []
    if swd := run.results("swd"):
        last, same = swd[-1], comparable(swd)
        beside = []
        if (floor := (last.get("floor") or {}).get("value")) is not None:
            beside.append(f"{_FLOOR} {number_text(floor)}")
        if same[0]["images"] == 0 and len(same) > 1:
            beside.append(f"untrained {number_text(same[0]['value'])}")
        tiles.append({"name": "SWD, average", "value": number_text(last["value"]), "beside": " \u00b7 ".join(beside)})
    if ms_ssim := run.results("ms-ssim"):
        real = ms_ssim[-1].get("real_value")
        beside_text = "" if real is None else f"among reals {number_text(real)}"
        tiles.append({"name": "MS-SSIM of samples", "value": number_text(ms_ssim[-1]["value"]), "beside": beside_text})
    of = f"of {run.total_images:,}" if run.total_images and not run.finished else ""
    tiles.append({"name": "Images shown", "value": f"{run.images_shown:,}", "beside": of})
    if run.ticks and run.ticks[-1].get("seconds"):
        speed = run.ticks[-1].get("images_per_sec")
        beside_text = "" if speed is None else f"last {number_text(speed)} images/s"
        tiles.append({"name": "Training time", "value": duration_text(run.ticks[-1]["seconds"]), "beside": beside_text})
    return tiles


def _facts(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of named facts for the end of the page; nested values are flattened with dots."""
    groups = []
    for name, key in [("Data", "data"), ("Networks", "networks"), ("Hardware", "hardware"), ("Versions", "versions")]:
        value = run.info.get(key)
        if isinstance(value, dict) and value:
            groups.append((name, [(str(field).replace("_", " "), _plain(item)) for field, item in value.items()]))
    if started := _text(run.info, "started"):
        groups.append(("Run", [("started", started), ("folder", run.path.resolve().name)]))
    return groups


def _warnings(run: Run) -> list[str]:
    """Warnings that the last result of every metric carries, without repetition."""
    last = {row["metric"]: row for row in run.evaluations}.values()
    return list(dict.fromkeys(f"{row['metric']}: {text}" for row in last for text in row.get("warnings") or []))


def _rates(row: Row) -> str:
    generator, discriminator = row["lr_g"], row.get("lr_d")
    return f"{generator:g}" if discriminator in (None, generator) else f"{generator:g} / {discriminator:g}"


def _seconds_in(ticks: Sequence[Row], level: int) -> float:
    """Wall time of the ticks of a level: from the end of the tick before to its own end."""
    total, before = 0.0, 0.0
    for row in ticks:
        if row.get("seconds") is None:
            continue
        if row.get("level") == level:
            total += row["seconds"] - before
        before = row["seconds"]
    return total


def _local_time(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def _get(info: Mapping[str, Any], *keys: str) -> Any:
    value: Any = info
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(info: Mapping[str, Any], *keys: str) -> str:
    value = _get(info, *keys)
    return "" if value is None else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{value:,}" if value >= 10_000 else str(value)
