"""Threads must change neither results nor errors."""

from __future__ import annotations

import threading

import pytest

from metrics.workers import num_workers, parallel_map


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_order_of_the_results(count: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.workers.num_workers", lambda: threads)
    assert parallel_map(lambda x: x * x, range(count)) == [x * x for x in range(count)]


def test_several_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics.workers.num_workers", lambda: 2)
    meeting = threading.Barrier(2, timeout=30)  # breaks unless two threads come
    parallel_map(lambda _: meeting.wait(), range(2))


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda x: 1 // x, [3, 2, 1, 0])


@pytest.mark.parametrize(("asked", "at_most"), [("1", 1), ("100000", None), ("", None), ("0", 1), ("many", None)])
def test_number_of_threads(asked: str, at_most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = num_workers()
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert num_workers() == (at_most or cores)
