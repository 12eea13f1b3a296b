"""The training command in several processes at once, as torchrun starts them, at the price of a fork each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

# All processes are forked from one that has imported the trainer already.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["training.run", "torch.utils.tensorboard", "sympy", "several_ranks"])


def start(size: int, arguments: Sequence[object], errors: Path, **faults: int) -> list[ForkServerProcess]:
    """Start ``training/run.py ARGUMENTS`` on so many ranks; what they write to stderr goes to ``{errors}{rank}``.

    After 40 images shown the rank that `faults` calls ``asleep`` does nothing more, and that called ``killed`` ends.
    """
    return _start(size, _train, [str(argument) for argument in arguments], str(errors), faults)


def wait_for_the_first(size: int, hung_after: float, busy: float) -> list[int | None]:
    """Exit codes of ranks that wait for the first one, which is `busy` for so many seconds."""
    return _ended(_start(size, _wait, hung_after, busy))


def run(size: int, arguments: Sequence[object], errors: Path) -> list[int | None]:
    """Exit codes of all ranks when they have ended."""
    return _ended(start(size, arguments, errors))


def _start(size: int, function: Callable[..., None], *arguments: object) -> list[ForkServerProcess]:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [
        {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} for rank in range(size)
    ]
    processes = [_FORKS.Process(target=function, args=(place, *arguments)) for place in places]
    for process in processes:
        process.start()
    return processes


def _ended(processes: list[ForkServerProcess]) -> list[int | None]:
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def _wait(place: dict[str, object], hung_after: float, busy: float) -> None:
    import torch

    from training.ranks import joined

    os.environ |= {name: str(value) for name, value in place.items()}
    with joined(torch.device("cpu"), hung_after) as ranks:
        ranks.any(False)
        if ranks.first:
            time.sleep(busy)
        ranks.wait()


def _train(place: dict[str, object], arguments: list[str], errors: str, faults: dict[str, int]) -> None:
    import torch

    from datasets import console
    from training import loop, run
    from training.step import update

    def faulty(state: Any, *rest: Any) -> Any:
        if state.images >= 40 and faults.get("killed") == place["RANK"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if state.images >= 40 and faults.get("asleep") == place["RANK"]:
            time.sleep(150)
        return update(state, *rest)

    os.environ |= {name: str(value) for name, value in place.items()}
    os.dup2(os.open(f"{errors}{place['RANK']}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    torch.set_num_threads(1)
    loop.update = faulty
    sys.argv = ["training/run.py", *arguments]
    console.run(run.cli)
