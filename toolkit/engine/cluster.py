"""The same function on many things at once, by the workers of a Dask cluster, through joblib's Dask backend.

The cluster shares a file system with this machine: workers open the source themselves, under the same path, and send
back what is to be written; this process alone writes. A task goes out again when its worker dies; when the last one has
died that is said, and for two minutes the work waits for another. Whatever could give other pixels than here (versions
of growgan and of the libraries that decode) is refused by the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import logging
import pickle
import re
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from datasets.console import say
from datasets.errors import InputError
from toolkit.engine.versions import deciding_versions

Task = TypeVar("Task")
Result = TypeVar("Result")

PREFIX = "dask://"
_TIMEOUT = 10.0  # seconds to wait for the scheduler and for a first worker
_STALLED = 600.0  # seconds after which a task that has not come back never will
_LOOK = 1.0  # seconds between two looks at whether there is a worker
_SILENT = 5.0  # seconds without any worker after which that is said: one that is restarted needs no words
_ABANDONED = 120.0  # seconds without any worker after which the work ends
_PER_ROUND = 2  # tasks for each core in one call of joblib; two calls are under way at a time


class Cluster:
    """Workers of the Dask scheduler at an address such as ``dask://10.0.0.1:8786``; see `workers.Workers`.

    joblib hands out all tasks of one call whether their results are taken or not. So tasks go out in rounds, two at a
    time: while one is being taken the cluster computes the next.

    Raises
    ------
    InputError
        If Dask is not installed, the address is none, or no scheduler or worker answers.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        host = address.removeprefix(PREFIX)
        if host == address or "/" in host or not re.fullmatch(r".+:\d+", host):
            raise InputError(f"--scheduler {address} is no address of a Dask scheduler; write {PREFIX}HOST:PORT")
        try:
            import distributed
            import joblib
        except ImportError:
            raise InputError(f"--scheduler {address} needs Dask; install it with pip install growgan[dask]") from None
        self._joblib = joblib
        for name in ("distributed", "distributed.client", "distributed.core", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised, and told in one line
        try:
            socket.create_connection(_host_and_port(host), _TIMEOUT).close()  # Dask would try again and again
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions that differ: what matters of them is checked below
                self._client = distributed.Client(f"tcp://{host}", timeout=_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"no Dask scheduler answers at {host} ({reason}); start one (dask scheduler) or leave --scheduler out"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=_TIMEOUT)
        except TimeoutError:
            self._client.close()
            raise self._no_workers() from None
        # Asked first: a worker that cannot load what it is sent does not say so, but ends.
        found = self._client.run(importlib.metadata.version, "growgan", on_error="return")
        for worker, answer in found.items():
            if isinstance(answer, BaseException):
                self._client.close()
                raise InputError(f"worker {worker} has no growgan ({answer}); install it there")
        self.size = max(1, sum(self._client.ncores().values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def in_order(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Generator[Result, None, None]:
        """Compute on the cluster; see `toolkit.engine.workers.Workers`. `function` and tasks must be picklable."""
        # Once for all tasks: opening the source again costs a worker time. Versions first: others may not load it.
        work = pickle.dumps((deciding_versions(), pickle.dumps(function)))
        waiting = iter(tasks)
        rounds: deque[Generator[tuple[Result | None, InputError | None], None, None]] = deque()
        backends: list[Any] = []
        with contextlib.ExitStack() as stack, self._one_line():
            stack.callback(_drop, rounds)
            stack.enter_context(self._watched(backends))
            while True:
                while len(rounds) < 2 and (calls := list(islice(waiting, _PER_ROUND * self.size))):
                    backends[:] = [*backends[-1:], _backend(self._client, self.size)]
                    rounds.append(self._begin(backends[-1], work, calls))
                if not rounds:
                    return
                for result, error in rounds[0]:
                    if error is not None:
                        raise error
                    yield result  # type: ignore[misc]  # there is no result only if there is an error
                rounds.popleft()

    def _begin(self, backend: Any, work: bytes, tasks: list[Task]) -> Generator[Any, None, None]:
        with self._joblib.parallel_config(backend=backend):
            parallel = self._joblib.Parallel(
                return_as="generator", batch_size=1, pre_dispatch="all", timeout=_STALLED, n_jobs=-1
            )
        outcome: Generator[Any, None, None] = parallel((_Call(work, task), (), {}) for task in tasks)
        return outcome

    @contextlib.contextmanager
    def _watched(self, backends: list[Any]) -> Iterator[None]:
        """Say it when there is no worker left, and end the work of the `backends` if none comes: Dask waits forever."""
        done = threading.Event()

        def watch() -> None:
            seen, told = time.monotonic(), False
            while not done.wait(_LOOK):
                try:
                    present = bool(self._client.ncores())
                except (Exception, asyncio.CancelledError):  # noqa: BLE001, S112  the work itself tells of a lost scheduler
                    continue
                gone = time.monotonic() - seen
                if present:
                    if told:
                        say(f"a worker is there again at {self._address}; going on")
                    seen, told = time.monotonic(), False
                elif gone > _ABANDONED:
                    for backend in list(backends):
                        backend.abandon(self._no_workers(f" left; none came for {_ABANDONED:.0f} s"))
                elif gone > _SILENT and not told:
                    say(f"no worker is left at {self._address}; waiting for one, up to {_ABANDONED:.0f} s")
                    told = True

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(_LOOK)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what Dask raises into one line."""
        import distributed

        try:
            yield
        except distributed.scheduler.KilledWorker as error:
            raise InputError(
                f"{_name_of(str(error.task))} killed every worker that tried it, the last {error.last_worker.address}; "
                "see its log, and give workers more memory or leave that image out"
            ) from None
        except TimeoutError:
            raise self._no_workers() from None
        except (OSError, distributed.client.FutureCancelledError):
            raise InputError(
                f"the connection to the Dask scheduler {self._address} was lost; see that it runs"
            ) from None

    def _no_workers(self, since: str = "") -> InputError:
        return InputError(f"the scheduler {self._address} has no workers{since}; start some with dask worker HOST:PORT")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _backend(client: Any, num_cores: int) -> Any:
    """Dask backend of joblib, except for three things.

    With one core joblib would compute in this process, and with none it would give up at once. The backend forgets to
    say that a task failed without a result, as one does that kills its workers: joblib would wait for it forever. And
    what it waits for can be abandoned.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(client=client)
            self._unfinished: dict[Any, Callable[[Any], None]] = {}

        def effective_n_jobs(self, n_jobs: int) -> int:  # noqa: ARG002  joblib's
            return max(2, num_cores)

        def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
            future = super().submit(func, callback)
            self._unfinished[future] = callback
            future.add_done_callback(self._finish)
            return future

        def _finish(self, future: Any) -> None:
            callback = self._unfinished.pop(future)
            if future.exception():
                callback(future.exception())

        def abandon(self, error: Exception) -> None:
            for callback in list(self._unfinished.values()):
                callback(error)

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend()


class _Call:
    """One task as it travels. Its name shows on Dask's dashboard and in Dask's errors."""

    def __init__(self, work: bytes, task: Any) -> None:
        self._work, self._task = work, task
        self.__name__ = f"<{getattr(task, 'title', 'task')}>"

    def __call__(self) -> tuple[Any, InputError | None]:
        try:
            function = _load(self._work)
            return function(self._task), None
        except InputError as error:  # as a value: joblib would raise whichever comes first, not the first in order
            return None, error


@functools.lru_cache(maxsize=4)
def _load(work: bytes) -> Callable[[Any], Any]:
    """Open what the function works on, once in a worker."""
    import distributed

    where = distributed.get_worker().address
    versions, pickled = pickle.loads(work)  # noqa: S301  from the client, who may run any code here anyway
    _check_versions(where, versions)
    try:
        function: Callable[[Any], Any] = pickle.loads(pickled)  # noqa: S301
    except (InputError, OSError) as error:
        raise InputError(f"worker {where}: {error}; all workers must see the source under the same path") from None
    return function


def _check_versions(where: str, expected: Mapping[str, str]) -> None:
    found = deciding_versions()
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"worker {where} has {name} {found.get(name)}, but this machine {expected.get(name)}, so its pixels "
                "could differ; install the same versions everywhere"
            )


def _name_of(key: str) -> str:
    """Name of the task in a key of Dask's."""
    return key.partition("<")[2].partition(">")[0] or "a task"


def _drop(rounds: deque[Generator[Any, None, None]]) -> None:
    """Forget the rounds under way; Dask then cancels what nobody waits for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib warns of results that are not taken
        for round_ in rounds:
            round_.close()
