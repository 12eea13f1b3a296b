"""Loggers: what else is told of a run while it goes, besides the files of its folder.

One module per logger, found by listing this folder; other packages add theirs under the entry-point group
``training.loggers``. Either way it is a function ``open_logger(run, config, resumed_at) -> Logger | None``:

run : Path
    The run directory.
config : mapping
    All options of the run, nested, as in config.yaml.
resumed_at : int or None
    Images shown at the checkpoint that this session goes on from: whatever an earlier session told beyond it was
    undone and will be told again. None for a new run.

It returns None if it is not wanted here or not installed. A logger never endangers a run: one that fails is reported
once and told nothing more. docs/training.md has an example.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

GROUP = "training.loggers"


class Logger(Protocol):
    """Something that is told of a run as it goes. Only the first rank has loggers."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Take a line of log.jsonl; numbers may not be finite."""
        ...

    def metric(self, result: Mapping[str, Any]) -> None:
        """Take a line of metrics.jsonl."""
        ...

    def samples(self, images: int, grid: Path) -> None:
        """Take a grid of samples, a PNG file, after `images` images shown. It comes after its snapshot's metrics."""
        ...

    def rewind(self, images: int) -> None:
        """Forget what was told beyond `images` images shown, after a roll-back: it will be told anew."""
        ...

    def close(self) -> None:
        """Flush and close; the session ends."""
        ...


class Loggers:
    """All loggers of a session.

    Parameters
    ----------
    run, config, resumed_at
        For ``open_logger``, see the module.
    say : callable
        Takes a line for the user.
    """

    def __init__(
        self, run: Path, config: Mapping[str, Any], resumed_at: int | None, say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._open: dict[str, Logger] = {}
        for name, load in _found():
            try:
                logger = load()(run, config, resumed_at)
            except Exception as error:  # noqa: BLE001 - of any package
                self._report(name, error)
            else:
                if logger is not None:
                    self._open[name] = logger

    def log(self, record: Mapping[str, Any]) -> None:
        """Tell all of a line of log.jsonl."""
        self._tell("log", record)

    def metric(self, result: Mapping[str, Any]) -> None:
        """Tell all of a line of metrics.jsonl."""
        self._tell("metric", result)

    def samples(self, images: int, grid: Path) -> None:
        """Tell all of a grid of samples."""
        self._tell("samples", images, grid)

    def rewind(self, images: int) -> None:
        """Let all forget what was told beyond `images` images shown."""
        self._tell("rewind", images)

    def close(self) -> None:
        """Close all."""
        self._tell("close")
        self._open.clear()

    def _tell(self, method: str, *arguments: Any) -> None:
        for name, logger in list(self._open.items()):
            try:
                getattr(logger, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - of any package
                del self._open[name]
                self._report(name, error)

    def _report(self, name: str, error: Exception) -> None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._say(f"warning: the logger {name} failed ({reason}) and is switched off; the run goes on")


def _found() -> Iterator[tuple[str, Callable[[], Callable[..., Logger | None]]]]:
    """Name of every logger, and what imports its ``open_logger``."""
    for module in pkgutil.iter_modules(__path__):
        yield module.name, functools.partial(_load, f"{__name__}.{module.name}")
    for entry in entry_points(group=GROUP):
        yield entry.name, entry.load


def _load(module: str) -> Callable[..., Logger | None]:
    opener: Callable[..., Logger | None] = importlib.import_module(module).open_logger
    return opener
