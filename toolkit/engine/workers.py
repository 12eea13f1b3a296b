"""The same function on many things at once, in the threads of this machine: results in order, memory bounded.

Threads, not processes: Pillow, numpy, xxHash and JPEG decoders release the interpreter's lock, and no pixels are copied
from one process to another. `toolkit.engine.cluster` does the same on many machines.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol, TypeVar

from toolkit.engine.allocator import keep_freed_memory

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 8  # tasks for each thread; joblib looks for results every 10 ms, and until then no thread shall stand idle


class StoppedError(Exception):
    """Raised by a function that looked at the stop sign and gave up."""


class Workers(Protocol):
    """Whoever computes: threads here, or processes on many machines.

    Attributes
    ----------
    size : int
        Number of tasks that are computed at a time.
    """

    size: int

    def in_order(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Generator[Result, None, None]:
        """Yield ``function(task)`` for every task, in the order of the tasks.

        Only a bounded number of tasks, the same for any number of tasks, is begun or done ahead of the one yielded.
        An exception comes at its place in the order. When the generator ends, by exhaustion, an exception or
        ``close``, nothing runs on.
        """
        ...


class Threads:
    """Threads of this process; see `Workers`."""

    def __init__(self, size: int) -> None:
        self.size = size

    def in_order(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Generator[Result, None, None]:
        """Compute with threads; see `Workers`."""
        return in_order(function, tasks, self.size, threading.Event())


@contextlib.contextmanager
def hired(jobs: int, scheduler: str | None = None) -> Iterator[Workers]:
    """Workers: `jobs` threads, or the cluster behind a scheduler, see `toolkit.engine.cluster`."""
    if scheduler is None:
        keep_freed_memory()
        yield Threads(jobs)
        return
    from toolkit.engine.cluster import Cluster

    with Cluster(scheduler) as cluster:
        yield cluster


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Gate:
    """Lets task number n begin when the results before n - `ahead` have been taken, and knows who is inside.

    joblib hands out new tasks as old ones are done, whether anybody takes the results or not, and must not be made to
    wait while it does so. So it is the tasks that wait; as they begin in their order, the next one wanted never does.
    """

    def __init__(self, ahead: int, stop: threading.Event) -> None:
        self._changed = threading.Condition()
        self._limit, self._ahead, self._inside, self._stop = ahead, ahead, 0, stop

    def enter(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: number < self._limit or self._stop.is_set())
            if self._stop.is_set():
                raise StoppedError
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def taken(self, number: int) -> None:
        with self._changed:
            self._limit = number + 1 + self._ahead
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait for those who are inside."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._inside == 0)


def in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, stop: threading.Event
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for every task, in the order of the tasks, computed by `jobs` threads.

    At most a few tasks for each thread are begun or done ahead of the one yielded. An exception comes at its place in
    the order. When the generator ends, by exhaustion, an exception or ``close``, no thread is inside `function` any
    more: what it uses can be closed. `stop` is set before that wait, so that a long-running function can look at it
    and raise `StoppedError`.
    """
    import joblib  # here: not every command computes

    gate = _Gate(_AHEAD * jobs, stop)

    def run(number: int, task: Task) -> tuple[Result | None, BaseException | None]:
        try:
            gate.enter(number)
        except StoppedError as error:
            return None, error
        try:
            return function(task), None
        except BaseException as error:  # noqa: BLE001  joblib would raise whichever comes first, not the first in order
            return None, error
        finally:
            gate.leave()

    def calls() -> Iterator[tuple[Callable[..., object], tuple[int, Task], dict[str, object]]]:
        for number, task in enumerate(tasks):
            if stop.is_set():
                return
            yield run, (number, task), {}

    parallel = joblib.Parallel(jobs, backend="threading", return_as="generator", batch_size=1, pre_dispatch=2 * jobs)
    results = parallel(calls())
    try:
        for number, (result, error) in enumerate(results):
            if error is not None:
                raise error
            yield result
            gate.taken(number)
    finally:
        gate.close()
        for _ in results:  # the rest gives up at once; closing joblib's generator instead would make it warn
            pass
