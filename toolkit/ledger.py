"""The ledger: what became of every image of a source, one JSON object a line, in source order.

It lies beside the data set as ``OUT.h5.ledger.jsonl``; the data set's manifest holds its SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What became of one image of the source.

    Attributes
    ----------
    path : str
        Where it lies inside the source.
    label : int or None
        Class number, if the source has classes.
    bytes : int or None
        Size of the image file; None, like all that follow, if the image could not be read that far.
    xxh3 : str or None
        XXH3-128 of the image file, in hexadecimal digits.
    format, mode : str or None
        File format and stored pixels by Pillow's names.
    width, height : int or None
        Size in pixels, upright.
    applied : tuple of str
        What was done to it: the names of `datasets.decode`, then ``cropped``, ``tiled``, ``reduced``, ``enlarged``.
    rows : tuple of int
        Rows of the data set that hold it, in the order of its tiles.
    skipped : str or None
        Why it was left out.
    details : dict
        What else is known of it, in JSON's types; not written if there is nothing.
    """

    path: str
    label: int | None = None
    bytes: int | None = None
    xxh3: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    applied: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    skipped: str | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


def path_of(data_set: Path) -> Path:
    """Path of the ledger of a data set."""
    return data_set.with_name(f"{data_set.name}.ledger.jsonl")


def write(path: Path, entries: Iterable[Entry]) -> str:
    """Write a ledger to `path`, not atomically, and return its SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for entry in entries:
            fields = {name: value for name, value in vars(entry).items() if name != "details" or value}
            line = json.dumps(fields, allow_nan=False).encode("ascii") + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()


def read(path: Path) -> Iterator[Entry]:
    """Read a ledger line by line.

    Raises
    ------
    InputError
        If a line is not an entry.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
                yield Entry(**{**fields, "applied": tuple(fields["applied"]), "rows": tuple(fields["rows"])})
            except (ValueError, TypeError, KeyError):
                raise InputError(f"{path}, line {number}: not a line of a ledger; build the data set again") from None
