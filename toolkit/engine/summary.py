"""What a build did, counted from its ledger."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from datasets.formats import open_pyramid
from datasets.levels import levels_up_to, resolution_of
from datasets.manifest import Manifest
from toolkit import ledger
from toolkit.ledger import Entry
from toolkit.selection import kind_of


class Tally:
    """Counts the entries of a ledger.

    Attributes
    ----------
    images : int
        Images of the source that gave rows.
    source_bytes : int
        Size of their files.
    applied : Counter of str
        What was done -> to how many images.
    skipped : Counter of str
        Why images were left out -> how many: ``bad``, or the names in `toolkit.selection`.
    """

    def __init__(self) -> None:
        self.images = self.source_bytes = 0
        self.applied: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Count all entries."""
        tally = cls()
        for _ in tally.watch(entries):
            pass
        return tally

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Count the entries while they pass."""
        for entry in entries:
            if entry.skipped is None:
                self.images += 1
                self.source_bytes += entry.bytes or 0
                self.applied.update(entry.applied)
            else:
                self.skipped[kind_of(entry.skipped)] += 1
            yield entry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a build did.

    Attributes
    ----------
    path, ledger : Path
        The data set and the ledger beside it.
    skipped_sheet : Path or None
        Picture of the images that were left out, if there are any.
    score_sheet : Path or None
        Picture of the images of highest and lowest scores, if they have scores.
    manifest : Manifest
        As it is in the data set.
    images : int
        Images of the source that gave rows.
    applied, skipped : dict of str to int
        See `Tally`.
    bytes : int
        Size of the data set.
    rows_kept : int
        Rows that an interrupted build had made before.
    seconds : float
        Wall time of this run.
    """

    path: Path
    ledger: Path
    skipped_sheet: Path | None
    score_sheet: Path | None
    manifest: Manifest
    images: int
    applied: dict[str, int]
    skipped: dict[str, int]
    bytes: int
    rows_kept: int
    seconds: float

    @classmethod
    def of(
        cls,
        path: Path,
        tally: Tally,
        *,
        skipped_sheet: Path | None,
        score_sheet: Path | None,
        rows_kept: int,
        seconds: float,
    ) -> Self:
        """Summary of a data set that is whole."""
        pyramid = open_pyramid(path)
        return cls(
            path=path,
            ledger=ledger.path_of(path),
            skipped_sheet=skipped_sheet,
            score_sheet=score_sheet,
            manifest=pyramid.manifest,
            images=tally.images,
            applied=dict(sorted(tally.applied.items())),
            skipped=dict(sorted(tally.skipped.items())),
            bytes=sum(file.stat().st_size for file in pyramid.files()),
            rows_kept=rows_kept,
            seconds=seconds,
        )

    @property
    def rows_per_sec(self) -> float:
        """Rows made per second of wall time."""
        return (self.manifest.num_images - self.rows_kept) / max(self.seconds, 1e-9)

    @property
    def megabytes_per_sec(self) -> float:
        """Megabytes (10**6 bytes) of the data set made per second of wall time."""
        return self.rows_per_sec * self.bytes / self.manifest.num_images / 1e6

    def table(self) -> list[tuple[str, object]]:
        """Facts for people: what it is, and what was done."""
        manifest = self.manifest
        side, skipped = manifest.resolution, sum(self.skipped.values())
        rows = f"{manifest.num_images} of {side}x{side}, and every level down to {resolution_of(2)}x{resolution_of(2)}"
        facts = {
            "data set": f"{self.path} ({self.bytes / 1e6:.1f} MB)",
            "ledger": self.ledger,
            "images": f"{self.images} used, {skipped} left out",
            "left out": counts(self.skipped),
            "picture of these": self.skipped_sheet,
            "best and worst": self.score_sheet,
            "rows": rows + (f"; {self.rows_kept} of them were there" if self.rows_kept else ""),
            "classes": manifest.num_classes,
            "applied": counts(self.applied) or "nothing",
            "speed": f"{self.rows_per_sec:.1f} images/s, {self.megabytes_per_sec:.1f} MB/s, {self.seconds:.1f} s",
            "content digest": manifest.content_digest,
        }
        return [(name, value) for name, value in facts.items() if value]

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "ledger": str(self.ledger),
            "skipped_sheet": None if self.skipped_sheet is None else str(self.skipped_sheet),
            "score_sheet": None if self.score_sheet is None else str(self.score_sheet),
            "images": self.images,
            "skipped": sum(self.skipped.values()),
            "skipped_by_reason": self.skipped,
            "applied": self.applied,
            "rows": manifest.num_images,
            "rows_kept": self.rows_kept,
            "resolution": manifest.resolution,
            "levels": [resolution_of(level) for level in levels_up_to(manifest.top_level)],
            "num_classes": manifest.num_classes,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "rows_per_sec": round(self.rows_per_sec, 3),
            "megabytes_per_sec": round(self.megabytes_per_sec, 3),
            "content_digest": manifest.content_digest,
            "options": dict(manifest.options),
            "provenance": dict(manifest.provenance),
        }


def counts(numbers: dict[str, int]) -> str:
    """What was counted, on one line."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
