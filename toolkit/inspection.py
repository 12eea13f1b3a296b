"""What a finished data set is, told from its manifest and its ledger without reading a pixel."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from datasets import formats
from datasets.levels import levels_up_to, name_of, resolution_of
from datasets.manifest import Manifest
from toolkit import ledger


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is known of a data set.

    Attributes
    ----------
    path : Path
    format : str
        Name of its module in `datasets.formats`.
    bytes : int
        Size of the file.
    manifest : Manifest
    skipped : list of (str, str) or None
        Images of the source that were left out, and why; None if there is no ledger beside the data set.
    """

    path: Path
    format: str
    bytes: int
    manifest: Manifest
    skipped: list[tuple[str, str]] | None

    def levels(self) -> list[dict[str, Any]]:
        """Name, resolution, shape, bytes and digest of every level, coarsest first."""
        rows = []
        for level in levels_up_to(self.manifest.top_level):
            side = resolution_of(level)
            shape = [self.manifest.num_images, self.manifest.channels, side, side]
            digest = self.manifest.level_digests[name_of(level)]
            num_bytes = self.manifest.num_images * self.manifest.channels * side * side
            rows.append({"name": name_of(level), "level": level, "shape": shape, "bytes": num_bytes, "sha256": digest})
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        manifest = dataclasses.asdict(self.manifest)
        skipped = None if self.skipped is None else [{"path": path, "reason": why} for path, why in self.skipped]
        return {
            "path": str(self.path),
            "format": self.format,
            "bytes": self.bytes,
            "num_images": self.manifest.num_images,
            "resolution": self.manifest.resolution,
            "content_digest": self.manifest.content_digest,
            "levels": self.levels(),
            "skipped": skipped,
            **{key: manifest[key] for key in ("options", "provenance", "sources_digest", "schema", "version")},
        }


def inspect(path: Path) -> Inspection:
    """Open a data set of any format and say what it is.

    Raises
    ------
    InputError
        If there is no finished data set at `path`.
    """
    reader = formats.open_pyramid(path)
    ledger_path = ledger.path_of(path)
    skipped = None
    if ledger_path.is_file():
        skipped = [(entry.path, entry.skipped) for entry in ledger.read(ledger_path) if entry.skipped is not None]
    return Inspection(
        path=path,
        format=type(reader).__module__.rpartition(".")[2],
        bytes=path.stat().st_size,
        manifest=reader.manifest,
        skipped=skipped,
    )
