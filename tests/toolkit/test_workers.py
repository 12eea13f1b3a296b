import contextlib
import threading
import time

import pytest

from toolkit.engine import workers
from toolkit.engine.workers import StoppedError, in_order, num_cores


class Counting:
    """A function that knows how many threads are inside it."""

    def __init__(self, seconds=0.001):
        self.lock = threading.Lock()
        self.inside = self.most = self.begun = 0
        self.seconds = seconds

    def __call__(self, task):
        with self.lock:
            self.inside += 1
            self.begun += 1
            self.most = max(self.most, self.inside)
        time.sleep(self.seconds if task % 3 else 4 * self.seconds)
        with self.lock:
            self.inside -= 1
        if task == 30:
            raise ValueError("task 30")
        return task


def assert_no_more_threads_than(before):
    """joblib does not wait for its idle threads to end, but they do."""
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_order(jobs):
    function = Counting()
    assert list(in_order(function, range(25), jobs, threading.Event())) == list(range(25))
    assert function.most == jobs


def test_work_does_not_run_far_ahead_of_its_use():
    function = Counting(0)
    with contextlib.closing(in_order(function, iter(range(10**9)), 2, threading.Event())) as results:
        for _ in range(10):
            next(results)
            time.sleep(0.002)
            assert function.begun <= 10 + 2 * workers._AHEAD + 1


def test_an_error_comes_at_its_place_and_nobody_is_left_inside():
    before, function, stop = threading.active_count(), Counting(), threading.Event()
    results, done = in_order(function, range(1000), 4, stop), []
    with pytest.raises(ValueError, match="task 30"):
        done.extend(results)
    assert function.inside == 0
    assert function.begun < 30 + 4 * workers._AHEAD + 5
    assert stop.is_set()
    assert_no_more_threads_than(before)


def test_closing_early_waits_for_the_threads():
    before, function, stop = threading.active_count(), Counting(0.02), threading.Event()
    with contextlib.closing(in_order(function, range(1000), 4, stop)) as results:
        assert next(results) == 0
    assert function.inside == 0
    assert stop.is_set()
    assert_no_more_threads_than(before)


def test_long_functions_can_look_at_the_sign():
    stop = threading.Event()

    def function(task):
        if task == 0:
            raise ValueError("first")
        if stop.wait(20):
            raise StoppedError
        raise AssertionError("nobody told it to stop")

    started = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        list(in_order(function, range(8), 2, stop))
    assert time.monotonic() - started < 5


def test_cores():
    assert num_cores() >= 1
