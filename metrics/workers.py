"""How many threads the heavy parts use: decoding, filtering, sorting."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import threadpoolctl  # type: ignore[import-untyped]

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_workers() -> int:
    """Cores this process may use, or ``OMP_NUM_THREADS`` if that is smaller (schedulers and users set it)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(asked))) if asked.isdigit() else cores


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[function(item) for item in items]`` on all cores; for functions that spend their time outside of Python.

    The results and their order do not depend on the number of threads. The first exception is raised here.
    """
    todo, workers = list(items), num_workers()
    if workers == 1 or len(todo) < 2:
        return [function(item) for item in todo]
    size = math.ceil(len(todo) / (8 * workers))  # portions: handing over single items costs more than small items do
    portions = [todo[start : start + size] for start in range(0, len(todo), size)]
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda portion: [function(item) for item in portion], portions)
        return [result for part in parts for result in part]


@functools.cache
def _linear_algebra() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


def one_thread_a_product() -> contextlib.AbstractContextManager[object]:
    """Matrix products of numpy in this block use one thread each, for `parallel_map` to make one on every core.

    Threads of a library and threads of ours would wait for each other, on a busy machine most of the time.
    """
    limited: contextlib.AbstractContextManager[object] = _linear_algebra().limit(limits=1, user_api="blas")
    return limited
