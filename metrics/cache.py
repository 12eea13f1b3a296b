"""What was computed once: on disk, row by row, so that an interrupted measurement goes on where it was.

An entry belongs to a set of images and a network, both by their content: the digest of the set, the digest of the
weights, the version of the code and everything else that decides a value. No path is part of it, so a set that was
moved is found again, and one that was changed is not taken for the old one.

``ENTRY/entry.json`` says what it is, ``ENTRY/rows`` holds the features of image k at row k (float32), and
``ENTRY/digests`` the XXH3-64 of that row. A row counts only if its digest is right, so whatever a crash tears is
computed again. SWD keeps the sorted projections of the reals in such rows. An entry of facts, such as its floor, has
``ENTRY/facts.json``, which is whole or not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.atomic import write_all, write_text
from datasets.errors import InputError

_DIGEST_BYTES = 8


def default_folder() -> Path:
    """``growgan/features`` in the user's cache folder (``XDG_CACHE_HOME``, or ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "growgan" / "features"


class Rows(Protocol):
    """Numbered rows of equally many numbers, each known or not."""

    def read_into(self, rows: NDArray[np.int64], found: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Copy rows to the rows of `found`; say which were known."""
        ...

    def put(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
        """Keep rows."""
        ...


class RowsInMemory:
    """Such rows in memory, shape (count, width)."""

    def __init__(self, count: int, width: int) -> None:
        self._values, self._known = np.empty((count, width), np.float32), np.zeros(count, np.bool_)

    def read_into(self, rows: NDArray[np.int64], found: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Copy rows to the rows of `found`; say which were known."""
        known = self._known[rows]
        for place in np.flatnonzero(known):
            found[place] = self._values[rows[place]]
        return known

    def put(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
        """Keep rows."""
        self._values[rows] = features
        self._known[rows] = True


class Facts:
    """A few facts about a set of images, JSON-able.

    Parameters
    ----------
    folder, key
        See `FeatureCache`.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._path = _entry(folder, key) / "facts.json"

    def get(self) -> dict[str, Any] | None:
        """Facts that were put, if any."""
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, facts: Mapping[str, Any]) -> None:
        """Keep facts in place of what was kept before."""
        with _refusing(self._path.parent):
            write_text(self._path, json.dumps(facts) + "\n")


def _entry(folder: Path, key: Mapping[str, Any]) -> Path:
    """Folder of an entry, which says what it holds."""
    text = json.dumps(key, indent=1, sort_keys=True)
    path = folder / hashlib.sha256(text.encode()).hexdigest()[:32]
    with _refusing(folder):
        path.mkdir(parents=True, exist_ok=True)
        if not (path / "entry.json").exists():
            write_text(path / "entry.json", text + "\n")
    return path


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """One line in place of what the system says."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the cache {path} cannot be written ({error.strerror}); "
            "make room, name another folder with --cache, or pass --no-cache"
        ) from None


class FeatureCache:
    """Features of one set of images by one network.

    Parameters
    ----------
    folder : Path
        Where all entries are; made if it is missing.
    key : mapping
        Everything that decides a feature, JSON-able.
    width : int
        Numbers per image.

    Raises
    ------
    InputError
        If the folder cannot be written.

    Notes
    -----
    Processes that share an entry write equal bytes, so they need no lock.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], width: int) -> None:
        self.path = _entry(folder, {**key, "width": width})
        self._row_bytes = 4 * width
        with _refusing(folder):
            self._rows, self._digests = (
                os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o666) for name in ("rows", "digests")
            )
        self.close = weakref.finalize(self, _close, self._rows, self._digests)
        """Close the files; happens with the last reference too."""

    def get(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features of the given images as far as they are known.

        Returns
        -------
        features : ndarray of float32, shape (n, width)
            Undefined where they are not known.
        known : ndarray of bool, shape (n,)
        """
        found = np.zeros((len(rows), self._row_bytes // 4), np.float32)
        return found, self.read_into(rows, found)

    def read_into(self, rows: NDArray[np.int64], found: NDArray[np.float32]) -> NDArray[np.bool_]:
        """`get` into memory that is there, contiguous rows of shape (n, width)."""
        known = np.zeros(len(rows), np.bool_)
        for place, row in enumerate(rows.tolist()):
            digest = os.pread(self._digests, _DIGEST_BYTES, row * _DIGEST_BYTES)
            if len(digest) < _DIGEST_BYTES or not any(digest):
                continue
            content = found[place].view(np.uint8)
            read = os.preadv(self._rows, [content], row * self._row_bytes)
            known[place] = read == self._row_bytes and xxhash.xxh3_64_digest(content) == digest
        return known

    def knows(self, rows: NDArray[np.int64]) -> bool:
        """Whether the features of all these images are known and whole."""
        room = np.empty((1, self._row_bytes // 4), np.float32)
        return all(self.read_into(rows[k : k + 1], room).all() for k in range(len(rows)))

    def put(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
        """Keep the features of the given images, shape (n, width).

        Raises
        ------
        InputError
            If the disk is full.
        """
        with _refusing(self.path):
            for row, values in zip(rows.tolist(), features, strict=True):
                content = memoryview(np.ascontiguousarray(values, np.float32)).cast("B")  # type: ignore[arg-type]
                write_all(self._rows, content, row * self._row_bytes)
                os.pwrite(self._digests, xxhash.xxh3_64_digest(content), row * _DIGEST_BYTES)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
