"""The report while a run goes: when it is written, and what its errors cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datasets.errors import InputError
from training import live_report


def test_a_report_that_takes_long_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the processor time of this thread counts, not that of imports, nor what other programs take."""
    clock, busy, takes, written = [0.0], [0.0], [10.0], []

    def slow(run: Path, **options: Any) -> None:
        written.append(clock[0])
        clock[0] += 100 * takes[0]  # on a busy machine
        busy[0] += takes[0]

    monkeypatch.setattr(live_report, "write_report", slow)
    monkeypatch.setattr(live_report.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live_report.time, "thread_time", lambda: busy[0])
    report = live_report.LiveReport(tmp_path, wanted=True, say=print)

    def moments(begin: int) -> list[float]:
        written.clear()
        clock[0] = begin
        while clock[0] < begin + 200:
            report.write("going")
            clock[0] += 1
        return [moment - begin for moment in written]

    report.write("going", at_once=True)
    takes[0] = 0.5
    assert moments(1000) == [0, 75, 150]  # half a second of work in 50 seconds, and 25 more of pause
    takes[0] = 5.0
    clock[0] = 3000
    report.write("going")
    written.clear()
    begin = clock[0]
    while not written:
        report.write("going")
        clock[0] += 1
    assert written == [begin + 60]  # not 250
    (tmp_path / "metrics.jsonl").write_text("{}")
    count = len(written)
    report.write("going")
    report.write("going")
    assert len(written) == count + 1  # the first that has measurements
    report.write("stopped", at_once=True)
    assert len(written) == count + 2


def test_an_error_in_the_report_is_one_line_until_it_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception | None] = [InputError("a\nb"), MemoryError(), None, ValueError("again"), KeyError("and")]

    def write(*_: Any, **__: Any) -> None:
        if error := errors.pop(0):
            raise error

    said: list[str] = []
    monkeypatch.setattr(live_report, "write_report", write)
    report = live_report.LiveReport(tmp_path, wanted=True, say=said.append)
    for _ in range(5):
        report.write("going", at_once=True)
    assert said == [
        "warning: no report of the run for now (a b); the run goes on",
        "warning: no report of the run for now (ValueError: again); the run goes on",
    ]
