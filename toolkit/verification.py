"""Read a whole data set again and compare every byte of pixels, digests, names and manifest with its digests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import formats
from datasets.errors import InputError
from datasets.formats import PyramidReader
from datasets.levels import levels_up_to, name_of
from datasets.manifest import level_digest, names_digest, row_digest
from toolkit import ledger
from toolkit.plan import Progress


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    path : Path
    content_digest : str
        Of the manifest.
    num_images : int
        Rows of every level; all were read.
    bytes : int
        Bytes of pixels that were read.
    faults : list of str
        One line for each fault: which level and row, and the source of the row. Empty if all is well.
    ledger : str
        ``matches``, ``missing`` or ``differs``; a ledger of another build is also one of the faults.
    """

    path: Path
    content_digest: str
    num_images: int
    bytes: int
    faults: list[str]
    ledger: str

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {**dataclasses.asdict(self), "path": str(self.path), "ok": not self.faults}


def verify(path: Path, progress: Progress) -> Verification:
    """Check a data set of any format against the digests inside it.

    Raises
    ------
    InputError
        If there is no finished data set at `path`, or it is too damaged to be opened. Every lesser damage is a fault in
        the result.
    """
    reader = formats.open_pyramid(path)
    manifest = reader.manifest
    faults: list[str] = []
    try:
        names = reader.sources()
        if names_digest(names) != manifest.sources_digest:
            faults.append("the names of the sources do not match their digest")
    except InputError as error:
        names = ["name unreadable"] * manifest.num_images
        faults.append(str(error))
    num_bytes = 0
    levels = levels_up_to(manifest.top_level)
    with progress(manifest.num_images * len(levels), "verifying rows") as bar:
        for level in levels:
            faults += _faults_of(reader, level, names, bar.update)
            num_bytes += reader.level(level).nbytes
    state = _ledger_state(path, manifest.provenance.get("ledger_sha256"))
    if state == "differs":
        faults.append(f"{ledger.path_of(path).name} is not the ledger of this data set, or was changed")
    return Verification(path, manifest.content_digest, manifest.num_images, num_bytes, faults, state)


def _faults_of(reader: PyramidReader, level: int, names: list[str], advance: Callable[[int], object]) -> list[str]:
    """Read every row of a level; one line for each that is not what was written."""
    faults = []
    pixels = reader.level(level)
    stored = reader.row_digests(level)
    if level_digest(stored) != reader.manifest.level_digests[name_of(level)]:
        faults.append(f"{name_of(level)}: the digests of its rows do not match the manifest")
    for row, name in enumerate(names):
        if row_digest(pixels[row]) != stored[row].tobytes():
            faults.append(f"{name_of(level)}, row {row} ({name}): the pixels do not match their digest")
        advance(1)
    return faults


def _ledger_state(path: Path, expected: object) -> str:
    """Compare the ledger beside a data set with the digest in the manifest."""
    ledger_path = ledger.path_of(path)
    if not ledger_path.is_file():
        return "missing"
    with ledger_path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "matches" if found == expected else "differs"
