"""LMDB pyramids: one file; key ``data{r}x{r}/{row:08d}`` -> one image, raw or losslessly encoded.

Written with the LMDB library, a transaction for every 64 MB, each of which is on disk before the next one begins: a
power cut loses the last one at most. Read without the library, see `datasets.lmdb_pages`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from datasets import blocks
from datasets.atomic import claim, publish, system_errors
from datasets.codecs import ENCODERS, decode
from datasets.errors import InputError
from datasets.levels import levels_up_to, name_of
from datasets.lmdb_pages import MAGIC, LmdbPages
from datasets.manifest import ROW_DIGEST_BYTES, Manifest, checked_labels
from datasets.packing import Packed
from datasets.pixels import EncodedPixels, Pixels, ScatteredPixels, check_level
from datasets.writing import FileWriter

SUFFIX = ".lmdb"
ENCODINGS = tuple(ENCODERS)
_DIGITS = 8  # of a row's number in its keys: keys sorted as text are sorted by row, for 100 million rows
_LAYOUT_SCHEMA = "growgan.pyramid.layout"
_TRANSACTION_BYTES = 64_000_000  # it is held in memory
_PAGE_BYTES = 4096
_ENTRY_ROOM = 8 * _PAGE_BYTES  # more than an entry takes beside its value: the rest of its last page, and the tree
_MAP_STEP = 1 << 30  # by so much the map grows; of addresses, not of memory or disk


def recognises(path: Path) -> bool:
    """True if the file starts with a meta page of LMDB and holds a manifest, or is too damaged to tell."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(20)[16:] != MAGIC.to_bytes(4, "little"):
            return False
    try:
        return LmdbPages(path).get(b"manifest") is not None
    except InputError:
        return True


class Reader:
    """A finished LMDB pyramid; see `datasets.formats.PyramidReader`.

    Raises
    ------
    InputError
        If the file is damaged, cut short, or has no manifest (an unfinished build, or another tool's file).
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pages = LmdbPages(self.path)
        manifest = self._pages.get(b"manifest")
        if manifest is None:
            raise InputError(
                f"{self.path} has no manifest: it is an unfinished build or another tool's file; "
                "make a pyramid with toolkit make-pyramid SOURCE OUT.lmdb"
            )
        self.manifest = Manifest.from_json(bytes(manifest), str(self.path))
        self.encoding = str(self._json(b"layout", dict).get("encoding"))
        if self.encoding not in ENCODINGS:
            raise InputError(f"{self.path}: unknown encoding {self.encoding!r}; update growgan or build it again")
        self._levels: dict[int, Pixels] = {}

    def __reduce__(self) -> tuple[type[Reader], tuple[Path]]:
        """Pickle the path alone: a spawned worker maps the file itself instead of receiving its pixels."""
        return Reader, (self.path,)

    def level(self, level: int) -> Pixels:
        """Pixels of a level, uint8 of shape (N, 3, r, r), read-only."""
        if level not in self._levels:
            check_level(level, levels_up_to(self.manifest.top_level), self.path)
            offsets, sizes = self._rows(name_of(level))
            pixels: Pixels
            if self.encoding == "raw":
                pixels = ScatteredPixels(self.path, level, self._pages.file, offsets)
                if (sizes != pixels.row_bytes).any():
                    raise InputError(f"{self.path}: rows of {name_of(level)} have a wrong size; build it again")
            else:
                pixels = EncodedPixels(self.path, level, self._pages.file, offsets, sizes, decode)
            self._levels[level] = pixels
        return self._levels[level]

    def _rows(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets and sizes of the values of all rows under a name."""
        numbers, offsets, sizes = self._pages.numbered(f"{name}/".encode(), _DIGITS)
        if not np.array_equal(numbers, np.arange(self.manifest.num_images)):
            raise InputError(f"{self.path}: rows of {name} are missing; it is damaged, build it again")
        return offsets, sizes

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, uint8 of shape (N, 16)."""
        levels = levels_up_to(self.manifest.top_level)
        check_level(level, levels, self.path)
        offsets, sizes = self._rows("digests")
        if (sizes != len(levels) * ROW_DIGEST_BYTES).any():
            raise InputError(f"{self.path}: digests have a wrong size; it is damaged, build it again")
        places = offsets + levels.index(level) * ROW_DIGEST_BYTES
        digests: NDArray[np.uint8] = self._pages.bytes[places[:, None] + np.arange(ROW_DIGEST_BYTES)]
        return digests

    def sources(self) -> list[str]:
        """Name of the source of every row."""
        names = [str(name) for name in self._json(b"sources", list)]
        if len(names) != self.manifest.num_images:
            raise InputError(f"{self.path}: {len(names)} names for {self.manifest.num_images} rows; build it again")
        return names

    def labels(self) -> NDArray[np.int64] | None:
        """Class of every row, int64 (N,); None if the pyramid has no labels."""
        if self.manifest.labels_digest is None:
            return None
        data = bytes(self._pages.get(b"labels") or b"")
        return checked_labels(np.frombuffer(data[: len(data) // 8 * 8], "<i8"), self.manifest, self.path)

    def files(self) -> list[Path]:
        """The one file it consists of."""
        return [self.path]

    def _json(self, key: bytes, kind: type[Any]) -> Any:
        try:
            value = json.loads(bytes(self._pages.get(key) or b""))
        except ValueError:
            value = None
        if not isinstance(value, kind):
            raise InputError(f"{self.path}: the entry {key.decode()} cannot be read; it is damaged, build it again")
        return value


class Writer(FileWriter):
    """An LMDB pyramid being written; see `datasets.writing.PyramidWriter`.

    The values of a row and its digests come with the same transaction, so a row whose digests are there is whole.
    """

    def __init__(
        self,
        path: Path | str,
        num_images: int,
        resolution: int,
        *,
        encoding: str | None = None,
        keep: bool = False,
        resume: bool = False,
    ) -> None:
        encoding = encoding or ENCODINGS[0]
        super().__init__(path, num_images, resolution, keep=keep, encode=ENCODERS[encoding])
        if num_images > 10**_DIGITS:
            raise InputError(f"{path}: {num_images} rows are more than {10**_DIGITS}; use --shards")
        layout = {"schema": _LAYOUT_SCHEMA, "num_images": num_images, "resolution": resolution, "encoding": encoding}
        self._layout = json.dumps(layout).encode("ascii")
        self._pending: list[NDArray[np.int64]] = []
        self._bytes = 0  # of the transaction that is open
        self._room = 0  # what the map can still take, at least
        self._environment: lmdb.Environment | None = None
        self._transaction: lmdb.Transaction | None = None
        with system_errors(self.path):
            self._temporary, self._descriptor = claim(self.path, empty=not resume)
        try:
            with self._errors():
                self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _begin(self) -> None:
        """Take over what is in the hidden file if it is of the same layout, otherwise empty it."""
        if not self._take_over():
            os.ftruncate(self._descriptor, 0)
        # No lock file: the lock on the hidden file keeps others out, and nobody reads it.
        size = os.fstat(self._descriptor).st_size
        self._environment = lmdb.open(os.fsencode(self._temporary), subdir=False, lock=False, map_size=size + _MAP_STEP)
        with self._environment.begin(write=True) as transaction:
            transaction.put(b"layout", self._layout)
            transaction.delete(b"manifest")  # of a `finish` that was cut off before the file got its name
        self._commit()

    def _take_over(self) -> bool:
        """Learn which rows are there; False if it is not a sound file of the same layout."""
        try:
            pages = LmdbPages(self._temporary)
            pages.check()  # the library is going to change the file, and trusts it
            numbers, offsets, sizes = pages.numbered(b"digests/", _DIGITS)
            layout = pages.get(b"layout")
        except InputError:
            return False
        width = len(self._levels) * ROW_DIGEST_BYTES
        if layout is None or bytes(layout) != self._layout or (sizes != width).any():
            return False
        if len(numbers):
            table = pages.bytes[offsets[:, None] + np.arange(width)]
            self.digests[numbers] = table.reshape(-1, len(self._levels), ROW_DIGEST_BYTES)
            self._stored[numbers] = self._written[numbers] = True
        return True

    def _store(self, rows: NDArray[np.int64], packed: Packed) -> None:
        with self._errors():
            for place, row in enumerate(rows.tolist()):
                number = f"{row:0{_DIGITS}d}"
                entries: dict[str, bytes | memoryview] = {}
                for level in self._levels:
                    value = packed.values[level][place]
                    entries[f"{name_of(level)}/{number}"] = value if isinstance(value, bytes) else value.data.cast("B")
                entries[f"digests/{number}"] = packed.digests[place].tobytes()
                self._put(entries)
        self._pending.append(rows)

    def _put(self, entries: Mapping[str, bytes | memoryview]) -> None:
        """Add entries, all by the same transaction."""
        size = sum(len(value) for value in entries.values())
        room = size + len(entries) * _ENTRY_ROOM
        if self._bytes + size > _TRANSACTION_BYTES or self._room < room:
            self._commit(room)
        if self._transaction is None:
            self._transaction = self._opened().begin(write=True)
        for key, data in entries.items():
            self._transaction.put(key.encode(), data)
        self._bytes += size
        self._room -= room

    def _commit(self, room: int = 0) -> None:
        """End the transaction, which brings it to disk, and make the map large enough for the next one."""
        environment, transaction = self._opened(), self._transaction
        self._transaction = None
        if transaction is not None:
            transaction.commit()
        information = environment.info()
        used = (information["last_pgno"] + 1) * _PAGE_BYTES
        if os.fstat(self._descriptor).st_size < used:  # pages that were never needed are not written
            os.ftruncate(self._descriptor, used)
        if information["map_size"] < used + room + _MAP_STEP // 2:
            environment.set_mapsize(used + room + _MAP_STEP)
        self._bytes, self._room = 0, environment.info()["map_size"] - used

    def _opened(self) -> lmdb.Environment:
        if self._environment is None:
            raise ValueError(f"the writer of {self.path} is closed")
        return self._environment

    def flush(self) -> None:
        """See `PyramidWriter.flush`."""
        if not self._pending:
            return
        with self._errors():
            self._commit()
        self._stored[np.concatenate(self._pending)] = True
        self._pending = []

    def finish(
        self,
        names: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        label_names: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """See `PyramidWriter.finish`."""
        manifest = self._manifest(names, labels, label_names, options, provenance)
        self.flush()
        entries = {"sources": json.dumps(list(names)).encode("ascii"), "manifest": manifest.to_json().encode("ascii")}
        if labels is not None:
            entries["labels"] = np.asarray(labels, "<i8").tobytes()
        with self._errors():
            self._put(entries)
            self._commit()
            end = (self._opened().info()["last_pgno"] + 1) * _PAGE_BYTES
            self._close_environment()
            blocks.append(self._descriptor, end, [(0, end)])
            publish(self._temporary, self.path)
        self._finished = True
        self.close()
        return manifest

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of the library or the system into one line; after it the writer is closed."""
        try:
            with system_errors(self.path):
                yield
        except lmdb.Error as error:
            self._close_environment()
            raise InputError(f"cannot write {self.path}: {str(error).rsplit(': ', 1)[-1]}") from None
        except InputError:
            self._close_environment()
            raise

    def _close_environment(self) -> None:
        if self._transaction is not None:
            self._transaction.abort()
        if self._environment is not None:
            self._environment.close()
        self._transaction = self._environment = None

    def discard(self) -> None:
        """See `PyramidWriter.discard`."""
        if self._descriptor >= 0:
            self._temporary.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """See `PyramidWriter.close`."""
        self._close_environment()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
