"""The same function on many things at once: results in order, memory bounded.

Threads, not processes: Pillow, numpy, xxHash and file writes release the interpreter's lock, and no pixels are copied
from one process to another.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Raised by a function that looked at the stop sign and gave up."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, stop: threading.Event
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for every task, in the order of the tasks, computed by `jobs` threads.

    At most twice as many tasks as threads are begun or done ahead of the one yielded. When the generator ends, by
    exhaustion, an exception or ``close``, no thread is inside `function` any more: what it uses can be closed. `stop`
    is set before that wait, so that a long-running function can look at it and raise `StoppedError`.
    """
    ahead: deque[Future[Result]] = deque()
    places = threading.Semaphore(jobs)

    def run(task: Task) -> Result:
        with places:
            if stop.is_set():
                raise StoppedError
            return function(task)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for task in tasks:
                ahead.append(pool.submit(run, task))
                if len(ahead) > 2 * jobs:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            stop.set()
            for future in ahead:
                future.cancel()
            # The pool's own wait misses a thread that an interrupt caught while it was being started.
            for _ in range(jobs):
                places.acquire()
            places.release(jobs)
