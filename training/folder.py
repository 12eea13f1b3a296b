"""The run directory: what lies where, who may write, and how its logs survive a kill."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from datasets.atomic import write_text
from datasets.errors import InputError
from training import checkpoint

_TRIES, _PAUSE = 11, 0.3  # of taking the lock, and seconds between them


class RunFolder:
    """A run directory, locked against a second writer while it is open.

    Attributes
    ----------
    path : Path
        The folder. Inside: ``config.yaml`` (resolved configuration), ``run.json`` (what, on what, with which
        versions), ``log.jsonl`` and ``log.csv`` (losses and speed), ``metrics.jsonl`` (measurements), ``events.jsonl``
        (what guards found and did), ``samples/`` (grids) and ``checkpoints/``.

    Raises
    ------
    InputError
        If the folder holds something else, cannot be written, or another process is training in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.run_file = path / "run.json"
        self.log_file = path / "log.jsonl"
        self.metrics_file = path / "metrics.jsonl"
        self.events_file = path / "events.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self._lock: IO[str] | None = None

    @property
    def exists(self) -> bool:
        """True if a run began here."""
        return self.config_file.exists()

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; --out must name a folder for the run")
        if self.path.is_dir() and not self.exists and any(not _is_ours(p.name) for p in self.path.iterdir()):
            raise InputError(
                f"{self.path} holds files but no run (no config.yaml); choose a new or empty folder for --out"
            )
        try:
            for folder in (self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise InputError(f"cannot write the run directory {self.path}: {error.strerror}") from None
        if not self._locked():
            self._lock.close()
            raise InputError(f"another process is training in {self.path}; wait for it or choose another --out")
        for folder in (self.path, self.samples, self.checkpoints):
            for stray in folder.glob(".*.partial"):  # what a killed process left unfinished
                stray.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def _locked(self) -> bool:
        """Whether the lock is ours; one that was killed a moment ago takes a while to let go of it."""
        for _ in range(_TRIES):
            try:
                fcntl.flock(cast("IO[str]", self._lock), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            else:
                return True
        return False

    def append(self, file: Path, record: Mapping[str, Any]) -> None:
        """Add a line to a JSONL log, flushed to disk; a number that is not finite is written as null."""
        with file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(_finite(record), allow_nan=False) + "\n")
            log.flush()
            os.fsync(log.fileno())  # a checkpoint must never outlive the lines before it

    def trim(self, log: Path, images: int) -> None:
        """Forget the lines of a log after `images` images, and any that a kill tore."""
        if log.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            write_text(log, "".join(f"{line}\n" for line in lines if _images_of(line) <= images))

    def rewind(self, images: int) -> None:
        """Forget what was written after `images` images, so that a resumed run writes everything once."""
        for log in (self.log_file, self.metrics_file):
            self.trim(log, images)
        for grid in self.samples.glob("fakes-*.png"):
            number = grid.stem.removeprefix("fakes-")
            if number.isdecimal() and int(number) > images:
                grid.unlink()
        for path in checkpoint.listed(self.checkpoints):  # only broken ones are newer than the one resumed from
            if checkpoint.images_of(path) > images:
                path.unlink()

    def last_checkpoint(self, until: int | None = None) -> tuple[checkpoint.Checkpoint | None, list[str]]:
        """Newest checkpoint that is whole, or None, and what was wrong with newer ones.

        Parameters
        ----------
        until : int, optional
            Only checkpoints after at most so many images count.
        """
        faults: list[str] = []
        for path in checkpoint.listed(self.checkpoints):
            if until is not None and checkpoint.images_of(path) > until:
                continue
            try:
                return checkpoint.load(path), faults
            except InputError as error:
                faults.append(str(error))
        return None, faults

    def save_checkpoint(self, state: checkpoint.Checkpoint, keep: int, precious: Collection[int] = ()) -> None:
        """Write a checkpoint, and remove all but the newest `keep` and those at the `precious` numbers of images."""
        checkpoint.save(checkpoint.path_of(self.checkpoints, state.images), state)
        for path in checkpoint.listed(self.checkpoints)[keep:]:
            if checkpoint.images_of(path) not in precious:
                path.unlink()

    def checkpoint_images(self) -> list[int]:
        """Images shown at every checkpoint, newest first."""
        return [checkpoint.images_of(path) for path in checkpoint.listed(self.checkpoints)]

    def results(self) -> list[dict[str, Any]]:
        """All measurements so far, oldest first."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if _images_of(line) < float("inf")]


def _is_ours(name: str) -> bool:
    """True for names that a run writes before its config.yaml, so that a kill at that moment loses nothing."""
    return name in (".lock", "run.json", "samples", "checkpoints") or name.endswith(".partial")


def _images_of(line: str) -> float:
    """Images shown at a line of a log; infinity for a line that was torn by a kill."""
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return value


def read_checkpoint(path: Path, groups: Collection[str]) -> tuple[Path, checkpoint.Checkpoint]:
    """Newest whole checkpoint of a run directory, or the checkpoint file itself.

    Parameters
    ----------
    path : Path
        A run directory or one checkpoint.
    groups : collection of str
        Groups of tensors to read.

    Raises
    ------
    InputError
        If there is none.
    """
    if path.is_file():
        return path, checkpoint.load(path, groups)
    if not path.exists():
        raise InputError(f"{path} does not exist; name a run directory or a checkpoint")
    candidates = checkpoint.listed(path / "checkpoints")
    if not candidates:
        raise InputError(f"{path} holds no checkpoints/checkpoint-*.safetensors; name a run directory or a checkpoint")
    faults = []
    for candidate in candidates:
        try:
            return candidate, checkpoint.load(candidate, groups)
        except InputError as error:
            faults.append(str(error))
    raise InputError(f"no checkpoint of {path} is whole: {'; '.join(faults)}")
