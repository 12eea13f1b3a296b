"""The journal of a build: what is known and done so far, so that a killed build goes on where it was.

It lies beside the unfinished data set as ``.OUT.journal.partial`` and goes when the data set is whole. The first line
is the key of the build: all that decides its bytes. Every further line is a record: what was found out about an image
(``look``), or what was written of it (``done``); or what the source itself found out beforehand (``found``, see
`toolkit.sources.Source.prepare`). A record of what was written is appended only after the rows themselves are on disk
for good.

A line is 16 hexadecimal digits, a space and a JSON object. The digits are the XXH3-64 of the object's text, seeded with
the number that the line before has there: a line is trusted if it and all lines before it are whole and in their
places. Whatever follows the last of these is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import xxhash

from datasets.atomic import claim, flush_data, flush_folder, partial_path, system_errors
from datasets.errors import InputError

_DIGITS = 16
_READ_BYTES = 1 << 10  # longer than nearly every line
Kind = Literal["look", "done", "found"]
Record = Mapping[str, Any]


class Journal:
    """The journal of a data set that is being made, held by this process alone.

    A journal with another key is emptied.

    Parameters
    ----------
    data_set : Path
        What is being made.
    key : mapping
        What decides its bytes, in JSON's types.

    Attributes
    ----------
    path : Path
        Where the journal lies.
    continued : bool
        It holds what an interrupted build with the same key has done.
    replaced : bool
        It held what a build with another key had done.
    finished : mapping or None
        What `finish` was told by an interrupted build with the same key, which had everything but its end.

    Raises
    ------
    InputError
        If another process holds the journal, or it cannot be written.
    """

    def __init__(self, data_set: Path, key: Record) -> None:
        self.continued = self.replaced = False
        self.finished: Record | None = None
        self._end = self._checksum = 0
        self._places: dict[str, array[int]] = {kind: array("q") for kind in get_args(Kind)}
        self._places_of_parts: dict[tuple[str, int, int], int] = {}
        self.path, self._descriptor = _claim(data_set)
        try:
            self._load(json.loads(json.dumps(key)))
        except BaseException:
            self.close()
            raise

    def _load(self, key: Record) -> None:
        """Take over the lines that can be trusted, if they are of the same build."""
        lines = self._lines()
        first = next(lines, None)
        if first is not None and first[1] == {"key": key}:
            self.continued = True
            for place, record in lines:
                self._remember(place, record)
        else:
            self.replaced = first is not None
            self._end = self._checksum = 0
        with system_errors(self.path):
            os.ftruncate(self._descriptor, self._end)
        if not self.continued:
            self.append([{"key": key}])
            self.sync()
            flush_folder(self.path.parent)

    def _lines(self) -> Iterator[tuple[int, Record]]:
        """Place and record of every line, up to the first that cannot be trusted."""
        with open(self._descriptor, "rb", closefd=False) as file:
            for line in file:
                text = line[_DIGITS + 1 : -1]
                checksum = xxhash.xxh3_64_intdigest(text, self._checksum)
                if line != _line(checksum, text):
                    return
                place, self._end, self._checksum = self._end, self._end + len(line), checksum
                yield place, json.loads(text)

    def _remember(self, place: int, record: Record) -> None:
        if "finish" in record:
            self.finished = record["finish"]
        for kind in self._places:
            if kind in record:
                index, part = record[kind], record.get("part", 0)
                if part:
                    self._places_of_parts[kind, index, part] = place
                else:
                    places = self._places[kind]
                    places.extend([-1] * (index + 1 - len(places)))
                    places[index] = place

    @property
    def has_rows(self) -> bool:
        """Some rows were written and are on disk."""
        return len(self._places["done"]) > 0

    def append(self, records: Iterable[Record]) -> None:
        """Add records; they are safe from a crash of the machine after `sync`."""
        lines, places, end, checksum = [], [], self._end, self._checksum
        for record in records:
            text = json.dumps(record, separators=(",", ":")).encode("ascii")
            checksum = xxhash.xxh3_64_intdigest(text, checksum)
            lines.append(_line(checksum, text))
            places.append((end, record))
            end += len(lines[-1])
        try:
            with system_errors(self.path):
                view, place = memoryview(b"".join(lines)), self._end
                while view:
                    written = os.pwrite(self._descriptor, view, place)
                    view, place = view[written:], place + written
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end, self._checksum = end, checksum
        for place, record in places:
            self._remember(place, record)

    def sync(self) -> None:
        """Wait until all records are on disk."""
        with system_errors(self.path):
            flush_data(self._descriptor)

    def find(self, kind: Kind, index: int, part: int = 0) -> dict[str, Any] | None:
        """Latest record of an image, or of the part of it that begins with crop number `part`."""
        if part:
            place = self._places_of_parts.get((kind, index, part), -1)
        else:
            place = self._places[kind][index] if index < len(self._places[kind]) else -1
        if place < 0:
            return None
        line = b""
        while not line.endswith(b"\n"):
            read = os.pread(self._descriptor, _READ_BYTES, place + len(line))
            line += read[: read.index(b"\n") + 1] if b"\n" in read else read
        record: dict[str, Any] = json.loads(line[_DIGITS + 1 :])
        return record

    def finish(self, facts: Record) -> None:
        """Note that only publishing is left to be done."""
        self.append([{"finish": facts}])
        self.sync()

    def discard(self) -> None:
        """Remove the journal."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file, which stays."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def path_of(data_set: Path) -> Path:
    """Path of the journal of a data set that is being made."""
    return partial_path(_name(data_set))


def _name(data_set: Path) -> Path:
    return data_set.with_name(f"{data_set.name}.journal")


def _line(checksum: int, text: bytes) -> bytes:
    return b"%016x %s\n" % (checksum, text)


def _claim(data_set: Path) -> tuple[Path, int]:
    """Open the journal of a data set for this process alone; the lock goes with the process."""
    with system_errors(data_set):
        try:
            return claim(_name(data_set), empty=False)
        except InputError:
            raise InputError(f"another process is making {data_set}; wait for it or choose another name") from None
