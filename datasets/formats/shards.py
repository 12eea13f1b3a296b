"""Sharded pyramids: a folder with ``index.json`` and files of one of the other formats, read as one data set.

Every shard is a pyramid by itself, of consecutive rows. The index holds the manifest of the whole, and of each shard
its rows and the digest of its manifest, so that a missing, foreign or misplaced shard is found when the set is opened.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from datasets import formats
from datasets.atomic import claim_folder, empty_folder, partial_path, publish_folder, system_errors, write_text
from datasets.errors import InputError
from datasets.levels import level_of, levels_up_to
from datasets.manifest import Manifest, digest_of
from datasets.packing import Packed
from datasets.pixels import Pixels, SpanningPixels, check_level
from datasets.writing import FileWriter, PyramidWriter, check_whole, checked_rows, make_manifest

INDEX = "index.json"
SCHEMA = "growgan.pyramid.index"
LAYOUT_SCHEMA = "growgan.pyramid.layout"
VERSION = 1
MOST_SHARDS = 256  # all are open while they are written


def recognises(path: Path) -> bool:
    """True if it is a folder with an index of ours."""
    index = path / INDEX
    if not path.is_dir() or not index.is_file():
        return False
    with index.open("rb") as file:
        return SCHEMA.encode() in file.read(1000)


class Reader:
    """A finished sharded pyramid; see `datasets.formats.PyramidReader`.

    Raises
    ------
    InputError
        If the index or a shard is damaged, or a shard is missing, another set's, or in another one's place.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        fields = _read_index(self.path / INDEX)
        self.manifest = Manifest.from_json(json.dumps(fields["manifest"]), str(self.path / INDEX))
        self._shards = [self._open(entry) for entry in fields["shards"]]
        if sum(shard.manifest.num_images for shard in self._shards) != self.manifest.num_images:
            raise InputError(f"{self.path}: the shards have more or fewer rows than the whole; build it again")
        self.encoding = self._shards[0].encoding
        self._levels: dict[int, Pixels] = {}

    def __reduce__(self) -> tuple[type[Reader], tuple[Path]]:
        """Pickle the path alone."""
        return Reader, (self.path,)

    def _open(self, entry: Mapping[str, Any]) -> formats.PyramidReader:
        path = self.path / Path(entry["file"]).name
        if not path.is_file():
            raise InputError(f"{self.path}: the shard {path.name} is missing; copy it here or build the set again")
        shard = formats.open_pyramid(path)
        if shard.manifest.digest != entry["manifest_digest"]:
            raise InputError(
                f"{path} is not the shard that {INDEX} describes: it belongs to another set or another place; "
                "copy the right file here or build the set again"
            )
        return shard

    def level(self, level: int) -> Pixels:
        """Pixels of a level of all shards, uint8 of shape (N, 3, r, r), read-only."""
        if level not in self._levels:
            check_level(level, levels_up_to(self.manifest.top_level), self.path)
            self._levels[level] = SpanningPixels(self.path, level, [shard.level(level) for shard in self._shards])
        return self._levels[level]

    def row_digests(self, level: int) -> NDArray[np.uint8]:
        """Stored digests of a level, uint8 of shape (N, 16)."""
        return np.concatenate([shard.row_digests(level) for shard in self._shards])

    def sources(self) -> list[str]:
        """Name of the source of every row."""
        return [name for shard in self._shards for name in shard.sources()]

    def labels(self) -> NDArray[np.int64] | None:
        """Class of every row, int64 (N,); None if the pyramid has no labels."""
        parts = [labels for shard in self._shards if (labels := shard.labels()) is not None]
        return np.concatenate(parts) if len(parts) == len(self._shards) else None

    def files(self) -> list[Path]:
        """The index and the shards."""
        return [self.path / INDEX, *(file for shard in self._shards for file in shard.files())]


def _read_index(path: Path) -> dict[str, Any]:
    """Parse and check an index."""
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); it is damaged, build the set again") from None
    if not isinstance(fields, dict) or fields.get("version") != VERSION or fields.get("schema") != SCHEMA:
        raise InputError(f"{path} is no index of version {VERSION}; change to a newer growgan or build the set again")
    if fields.pop("digest", None) != digest_of(fields):
        raise InputError(f"{path} does not match its own digest; it is damaged, build the set again")
    return fields


class Writer(PyramidWriter):
    """A sharded pyramid being written; see `datasets.writing.PyramidWriter`.

    It grows in a hidden folder, each shard under a hidden name in it, and gets its name when all are whole. A pyramid
    of that name is replaced.

    Parameters
    ----------
    path : Path or str
        Its suffix names the format of the shards.
    num_images, resolution, encoding, keep, resume
        See `datasets.formats.create`.
    shards : int
    """

    def __init__(
        self,
        path: Path | str,
        num_images: int,
        resolution: int,
        *,
        shards: int,
        encoding: str | None = None,
        keep: bool = False,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.num_images, self.resolution = num_images, resolution
        self._keep = keep
        self._finished = False
        if not 1 <= shards <= min(num_images, MOST_SHARDS):
            most = min(num_images, MOST_SHARDS)
            raise InputError(f"{path}: {num_images} images cannot be cut into {shards} shards; use 1 to {most}")
        if self.path.is_dir() and not recognises(self.path):
            raise InputError(f"{path} is a folder and not a pyramid; choose another name or remove it")
        self._firsts = [k * num_images // shards for k in range(shards + 1)]
        self._members: list[FileWriter] = []
        with system_errors(self.path):
            self._temporary, self._descriptor = claim_folder(self.path)
        try:
            with system_errors(self.path):
                self._begin(encoding, resume)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.pack = self._members[0].pack

    def _begin(self, encoding: str | None, resume: bool) -> None:
        """Open all members; with `resume` they find their files as they were left."""
        member = formats.writer_module(self.path)
        paths = [self._temporary / f"shard-{k:05d}{self.path.suffix}" for k in range(len(self._firsts) - 1)]
        layout = {
            "schema": LAYOUT_SCHEMA,
            "num_images": self.num_images,
            "resolution": self.resolution,
            "shards": len(paths),
            "encoding": encoding or member.ENCODINGS[0],
            "suffix": self.path.suffix,
        }
        self._layout = layout
        if resume and _layout_of(self._temporary / INDEX) == layout:
            for path in paths:
                if path.is_file():  # finished, but the whole was not
                    path.replace(partial_path(path))
            empty_folder(self._temporary, frozenset({INDEX, *(partial_path(path).name for path in paths)}))
        else:
            empty_folder(self._temporary)
        write_text(self._temporary / INDEX, json.dumps({"layout": layout}))
        for path, (first, end) in zip(paths, itertools.pairwise(self._firsts), strict=True):
            writer = member.Writer(path, end - first, self.resolution, encoding=encoding, keep=True, resume=resume)
            self._members.append(writer)

    def write(self, rows: Sequence[int] | NDArray[np.int64], packed: Packed) -> None:
        """See `PyramidWriter.write`."""
        numbers = checked_rows(rows, packed, self.num_images)
        owners = np.searchsorted(self._firsts, numbers, side="right") - 1
        cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(numbers)]
        for start, end in itertools.pairwise(cuts):
            if start < end:
                owner = int(owners[start])
                self._members[owner].write(numbers[start:end] - self._firsts[owner], packed[start:end])

    def flush(self) -> None:
        """See `PyramidWriter.flush`."""
        for member in self._members:
            member.flush()

    def stored(self, row: int) -> NDArray[np.uint8] | None:
        """See `PyramidWriter.stored`."""
        owner = bisect_right(self._firsts, row) - 1
        return self._members[owner].stored(row - self._firsts[owner])

    def finish(
        self,
        names: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64] | None = None,
        label_names: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """See `PyramidWriter.finish`."""
        missing = [member.missing() + first for member, first in zip(self._members, self._firsts, strict=False)]
        check_whole(np.concatenate(missing), self.num_images)
        levels = range(len(levels_up_to(level_of(self.resolution))))
        tables = (np.concatenate([member.digests[:, place] for member in self._members]) for place in levels)
        manifest = make_manifest(self, tables, names, labels, label_names, options, provenance)
        self.flush()
        entries = []
        for member, (first, end) in zip(self._members, itertools.pairwise(self._firsts), strict=True):
            part = None if labels is None else labels[first:end]
            found = member.finish(names[first:end], part, label_names, options, provenance)
            entries.append(
                {
                    "file": member.path.name,
                    "first_row": first,
                    "num_images": end - first,
                    "content_digest": found.content_digest,
                    "manifest_digest": found.digest,
                }
            )
        with system_errors(self.path):
            write_text(self._temporary / INDEX, self._index(manifest, entries))
            publish_folder(self._temporary, self.path)
        self._finished = True
        self.close()
        return manifest

    def discard(self) -> None:
        """See `PyramidWriter.discard`."""
        held = self._descriptor >= 0
        for member in self._members:
            member.close()
        if held:
            shutil.rmtree(self._temporary, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """See `PyramidWriter.close`."""
        for member in self._members:
            member.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished or self._keep:
            self.close()
        else:
            self.discard()

    def _index(self, manifest: Manifest, entries: list[dict[str, Any]]) -> str:
        fields = {
            "schema": SCHEMA,
            "version": VERSION,
            "layout": self._layout,
            "shards": entries,
            "manifest": json.loads(manifest.to_json()),
        }
        return json.dumps({**fields, "digest": digest_of(fields)}, indent=1) + "\n"


def _layout_of(index: Path) -> Any:
    """What the index of a hidden folder says of the shards it is for; None if it cannot be read."""
    try:
        fields = json.loads(index.read_bytes())
    except (OSError, ValueError):
        return None
    return fields.get("layout") if isinstance(fields, dict) else None
