"""Features that were computed once: on disk, row by row, so that an interrupted measurement goes on where it was.

An entry belongs to a set of images and a network, both by their content: the digest of the set, the digest of the
weights, the version of the code and everything else that decides a value. No path is part of it, so a set that was
moved is found again, and one that was changed is not taken for the old one.

``ENTRY/entry.json`` says what it is, ``ENTRY/rows`` holds the features of image k at row k (float32), and
``ENTRY/digests`` the XXH3-64 of that row. A row counts only if its digest is right, so whatever a crash tears is
computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.atomic import write_text
from datasets.errors import InputError

_DIGEST_BYTES = 8


def default_folder() -> Path:
    """``growgan/features`` in the user's cache folder (``XDG_CACHE_HOME``, or ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "growgan" / "features"


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
        text = json.dumps({**key, "width": width}, indent=1, sort_keys=True)
        self.path = folder / hashlib.sha256(text.encode()).hexdigest()[:32]
        self._row_bytes = 4 * width
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "entry.json").exists():
                write_text(self.path / "entry.json", text + "\n")
            self._rows, self._digests = (
                os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o666) for name in ("rows", "digests")
            )
        except OSError as error:
            raise InputError(
                f"the cache of features {folder} cannot be written ({error.strerror}); "
                "name another folder with --cache, or pass --no-cache"
            ) from None

    def get(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features of the given images as far as they are known.

        Returns
        -------
        features : ndarray of float32, shape (n, width)
            Undefined where they are not known.
        known : ndarray of bool, shape (n,)
        """
        found = np.zeros((len(rows), self._row_bytes // 4), np.float32)
        known = np.zeros(len(rows), np.bool_)
        for place, row in enumerate(rows.tolist()):
            digest = os.pread(self._digests, _DIGEST_BYTES, row * _DIGEST_BYTES)
            if len(digest) < _DIGEST_BYTES or not any(digest):
                continue
            content = os.pread(self._rows, self._row_bytes, row * self._row_bytes)
            if xxhash.xxh3_64_digest(content) == digest and len(content) == self._row_bytes:
                found[place] = np.frombuffer(content, np.float32)
                known[place] = True
        return found, known

    def put(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> None:
        """Keep the features of the given images, shape (n, width).

        Raises
        ------
        InputError
            If the disk is full.
        """
        try:
            for row, values in zip(rows.tolist(), features, strict=True):
                content = np.ascontiguousarray(values, np.float32).tobytes()
                os.pwrite(self._rows, content, row * self._row_bytes)
                os.pwrite(self._digests, xxhash.xxh3_64_digest(content), row * _DIGEST_BYTES)
        except OSError as error:
            raise InputError(
                f"the cache of features {self.path} cannot be written ({error.strerror}); "
                "make room, name another folder with --cache, or pass --no-cache"
            ) from None

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._rows, self._digests):
            os.close(descriptor)
