"""The same function on many things at once, results in order, memory bounded.

Threads, not processes: Pillow, numpy, xxHash and file writes release the interpreter's lock, and pixels need not be
copied from one process to another.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int) -> Generator[Result]:
    """Yield ``function(task)`` for every task, in the order of the tasks, computed by `jobs` threads.

    Few more tasks than threads are begun at any time. When the generator ends, by an exception, by ``close`` or at the
    end, no thread is inside `function` any more, so what the function uses can be closed.
    """
    if jobs == 1:
        yield from map(function, tasks)
        return
    from joblib import Parallel, delayed  # half a second to import, which `toolkit --help` need not wait for

    stopped = threading.Event()
    running = threading.Semaphore(jobs)

    def run(task: Task) -> Result | None:
        with running:
            return None if stopped.is_set() else function(task)

    parallel = Parallel(n_jobs=jobs, backend="threading", return_as="generator")
    try:
        yield from parallel(delayed(run)(task) for task in tasks)
    finally:
        stopped.set()
        for _ in range(jobs):
            running.acquire()
