"""From a run to the text of its page: chooses the charts and fills the template."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import growgan
from metrics.report import KeptPictures, facts
from metrics.report.charts import TIMES, Chart, Series, draw, points_of
from metrics.report.evaluations import Evaluation
from metrics.report.pictures import read_gallery
from metrics.report.readings import answers
from metrics.report.run_directory import Run
from metrics.report.scales import count_text

_HERE = Path(__file__).parent


def render(
    run: Run,
    evaluations: Sequence[Evaluation] = (),
    *,
    follows: bool = False,
    kept: KeptPictures | None = None,
) -> str:
    """The whole page as one HTML text.

    Everything that comes from the run is escaped by the template engine; a content security policy in the page forbids
    every connection, and every script but ours, whose digest it names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count_text, grouped=lambda value: f"{value:,}", stage=facts.stage_text, duration=facts.duration_text
    )
    now = time.time()
    script = (_HERE / "script.js").read_text(encoding="utf-8")
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    return environment.get_template("template.html").render(
        style=Markup(style),  # noqa: S704  our own file
        script=Markup(script),  # noqa: S704  our own file
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=growgan.__version__,
        run=run,
        title=facts.title(run),
        subject=facts.subject(run),
        digest=facts.text_of(run.info, "data", "content_digest"),
        state=facts.state(run),
        written=now,
        written_text=facts.local_time(now),
        follows=follows and run.going,
        overdue=now + facts.patience(run),
        tiles=facts.tiles(run),
        answers=answers(run),
        warnings=facts.warnings(run),
        gallery=read_gallery(run, kept),
        score_charts=score_charts(run),
        evaluations=evaluations,
        training_charts=training_charts(run),
        levels=facts.level_rows(run),
        facts=facts.fact_groups(run),
        command=facts.text_of(run.info, "command"),
    )


def score_charts(run: Run) -> list[Chart]:
    """SWD per level, MS-SSIM, and whatever other metric has been recorded, over the images shown."""
    metrics = dict.fromkeys(row["metric"] for row in run.evaluations)
    charts = [_swd_chart(run) if metric == "swd" else _metric_chart(run, metric) for metric in metrics]
    return [chart for chart in charts if chart]


def training_charts(run: Run) -> list[Chart]:
    """Losses, scores, penalty and speed over the images shown."""

    def chart(title: str, subtitle: str, curves: Sequence[tuple[str, str]], *, log: bool = False) -> Chart | None:
        series = [Series(name=name, points=points_of(run.ticks, key), colour=k) for k, (key, name) in enumerate(curves)]
        return draw(title, subtitle, series, end=run.images_shown, plan=run.plan, events=run.events, log=log)

    losses = [("loss_d", "discriminator"), ("loss_g", "generator")]
    scores = [("score_real", "reals"), ("score_fake", "fakes")]
    terms = [("penalty", "gradient penalty"), ("drift", "drift")]
    norms = [("grad_norm_d", "discriminator"), ("grad_norm_g", "generator")]
    charts = [
        chart("Losses", "of the two networks; they need not fall", losses),
        chart("Scores", "what the discriminator gives", scores),
        chart("Regularisation", "terms in the discriminator's loss", terms, log=True),
        chart("Gradients", "length of the gradient by all weights of a network", norms, log=True),
        chart("Speed", "images per second", [("images_per_sec", "images/s")], log=True),
    ]
    return [chart for chart in charts if chart]


def _swd_chart(run: Run) -> Chart | None:
    results = run.results("swd")
    sides = sorted({int(side) for row in results for side in row["levels"] or {}}, reverse=True)
    floors: dict[str, Any] = {}
    for row in results:
        floors.update((row["floor"] or {}).get("levels") or {})
    series = [
        Series(
            name=f"{side}{TIMES}{side}",
            points=[(row["images"], (row["levels"] or {}).get(str(side))) for row in results],
            colour=k % 7,
            floor=floors.get(str(side)),
        )
        for k, side in enumerate(sides)
    ]
    if len(sides) != 1:
        series.append(Series(name="average", points=points_of(results, "value"), colour=7, strong=True))
    return draw(
        "Sliced Wasserstein distance",
        f"distance to the reals, {TIMES}1000; lower is better",
        series,
        end=run.images_shown,
        plan=run.plan,
        events=run.events,
        log=True,
        floor_name=facts.FLOOR_NAME,
    )


def _metric_chart(run: Run, metric: str) -> Chart | None:
    """One curve of the values, with a dashed line where the reals are if the results say."""
    results = run.results(metric)
    beside = [(row["reference"] or row["floor"] or {}).get("value") for row in results]
    floor = next((value for value in reversed(beside) if value is not None), None)
    curve = Series(name=metric.upper(), points=points_of(results, "value"), colour=0, floor=floor, strong=True)
    subtitle, floor_name = "over the images shown", "reals"
    if metric == "ms-ssim":
        subtitle, floor_name = "among samples; higher than among reals means less variation", "among reals"
    elif any(row["floor"] for row in results):
        subtitle, floor_name = "samples against reals", facts.FLOOR_NAME
    return draw(
        metric.upper(),
        subtitle,
        [curve],
        end=run.images_shown,
        plan=run.plan,
        events=run.events,
        floor_name=floor_name,
    )
