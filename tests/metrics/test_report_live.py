"""The report of a run that is going: how the run stands, what the page follows, events, pictures read once."""

import fcntl
import itertools
import json
import shutil

import pytest
from report_page import Page, rendered
from synthetic_run import write_lines, write_run

from metrics.report import page, pictures, write_report
from metrics.report.pictures import reduce_grid as reduce
from metrics.report.run_directory import read_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_that_goes_on_can_be_followed_and_a_finished_one_need_not(run, tmp_path):
    going = write_run(tmp_path / "going", stop_at=0.5)

    def boxes(*arguments, **options):
        shown = Page(write_report(*arguments, **options).read_text(encoding="utf-8"))
        policy = next(
            meta["content"] for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        )
        follows = shown.all("main")[0]["data-state"] == "going"
        assert follows == ("frame-src 'self' file:;" in policy)  # nothing else may be loaded, and only then
        found = [box["id"] for box in shown.all("input") if box["type"] == "checkbox"]
        assert found == ["follow"] * follows
        return found

    assert boxes(going, standing="going")
    assert not boxes(going, standing="stopped")
    assert not boxes(going)  # nothing tells that a trainer is at work
    assert not boxes(going, tmp_path / "copy.html", standing="going")  # nobody rewrites that one
    assert not boxes(run, standing="going")


def test_whether_a_run_goes_on_is_seen_from_its_lock(tmp_path):
    going = write_run(tmp_path / "going", stop_at=0.5)
    assert "At 50% 200,000 of 400,000 images; last entry" in rendered(going).text
    with (going / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Going on, 50% 200,000 of 400,000 images" in rendered(going).text
    assert "Stopped at 50% 200,000 of 400,000 images; last entry" in rendered(going).text
    with (going / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the report has let it go


def test_when_the_report_was_written_and_when_the_next_one_is_due(run, tmp_path, monkeypatch):
    monkeypatch.setattr(page.time, "time", lambda: 1_700_000_000.0)
    going = write_run(tmp_path / "going", stop_at=0.5, ticks=10, snapshots=6)
    rows = [json.loads(line) for line in (going / "log.jsonl").read_text().splitlines()]
    for k, row in enumerate(rows):
        row["seconds"] = 1000.0 * (k + 1)
    write_lines(going / "log.jsonl", rows)
    main = Page(write_report(going, standing="going").read_text(encoding="utf-8")).all("main")[0]
    assert float(main["data-written"]) == 1_700_000_000.0
    assert float(main["data-overdue"]) == 1_700_000_000.0 + 3 * 2000  # a snapshot every other tick


EVENTS = [
    {
        "images": 120_000,
        "seconds": 130.0,
        "found": "the gradient penalty exploded: 1e+06, beyond 1000",
        "done": "went on",
    },
    {
        "images": 210_000,
        "seconds": 260.0,
        "found": "training diverged: loss_d not finite",
        "done": "back",
        "back_to": 200_000,
    },
]


def test_events_are_listed_and_marked(run):
    assert "Events" not in rendered(run).text
    write_lines(run / "events.jsonl", EVENTS)
    shown = rendered(run)
    assert ("h2", "Events") in shown.texts
    listed = [text for tag, text in shown.texts if "exploded: 1e+06" in text or "diverged: loss_d" in text]
    assert listed[1:] == [EVENTS[1]["found"], EVENTS[0]["found"]]  # newest first; the first is in the answers
    assert "back after 210,000 images, 4 min 20 s of training" in shown.text
    for chart in page.training_charts(read_run(run)) + page.score_charts(read_run(run)):
        assert chart.events == [(30.0, "1"), (50.0, "2")]  # of 400,000; where the run went on from
    answer = "the last of 2 events after 210,000 images: training diverged: loss_d not finite; back."
    assert answer in shown.text


def test_many_events_stay_readable(run):
    write_lines(run / "events.jsonl", [EVENTS[0] | {"images": 1000 * k, "found": f"thing {k}"} for k in range(1, 301)])
    shown = rendered(run)
    assert "295 earlier events" in shown.text
    chart = page.training_charts(read_run(run))[0]
    labelled = [at for at, text in chart.events if text]
    assert min(after[0] - before[0] for before, after in itertools.pairwise(chart.events)) >= 0.8
    assert min(after - before for before, after in itertools.pairwise(labelled)) >= 7
    assert len(chart.events) > 50
    assert len(labelled) > 8


def test_pictures_are_read_once_for_many_reports(run, monkeypatch):
    opened = []
    monkeypatch.setattr(pictures, "reduce_grid", lambda *args: opened.append(args) or reduce(*args))
    kept = {}
    first = write_report(run, kept=kept).read_bytes()
    count = len(opened)
    assert count == 14  # reals, the latest, twelve moments
    second = write_report(run, kept=kept).read_bytes()
    assert len(opened) == count
    assert len(first) == len(second)
    grid = run / "samples" / "fakes-000400000.png"
    grid.write_bytes((run / "samples" / "reals.png").read_bytes())
    write_report(run, kept=kept)
    assert len(opened) == count + 2  # the latest, and the last moment
