"""What a finished data set is, told from its manifest, labels and ledger without reading a pixel."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from datasets import formats
from datasets.errors import InputError
from datasets.formats import PyramidReader
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
        Name of the module in `datasets.formats` that its files are of.
    encoding : str
        How its pixels are stored.
    files : list of (str, int)
        Name and bytes of every file; more than one if it consists of shards.
    manifest : Manifest
    classes : list of (str, int) or None
        Name of every class and number of its rows; None if there are no labels.
    skipped : list of (str, str) or None
        Images of the source that were left out, and why; None if there is no ledger beside the data set.
    """

    path: Path
    format: str
    encoding: str
    files: list[tuple[str, int]]
    manifest: Manifest
    classes: list[tuple[str, int]] | None
    skipped: list[tuple[str, str]] | None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for _, size in self.files)

    def levels(self) -> list[dict[str, Any]]:
        """Name, resolution, shape, bytes of pixels and digest of every level, coarsest first."""
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
        classes = None if self.classes is None else [{"name": name, "rows": rows} for name, rows in self.classes]
        return {
            "path": str(self.path),
            "format": self.format,
            "encoding": self.encoding,
            "bytes": self.bytes,
            "files": [{"name": name, "bytes": size} for name, size in self.files],
            "num_images": self.manifest.num_images,
            "resolution": self.manifest.resolution,
            "content_digest": self.manifest.content_digest,
            "levels": self.levels(),
            "classes": classes,
            "skipped": skipped,
            **{key: manifest[key] for key in ("options", "provenance", "sources_digest", "labels_digest")},
            **{key: manifest[key] for key in ("schema", "version")},
        }


def inspect(path: Path) -> Inspection:
    """Open a data set of any format and say what it is.

    Raises
    ------
    InputError
        If there is no finished data set at `path`. If there is something that one can be made of, it says what.
    """
    try:
        reader = formats.open_pyramid(path)
    except InputError as error:
        raise InputError(_source_line(path) or str(error)) from None
    ledger_path = ledger.path_of(path)
    skipped = None
    if ledger_path.is_file():
        skipped = [(entry.path, entry.skipped) for entry in ledger.read(ledger_path) if entry.skipped is not None]
    return Inspection(
        path=path,
        format=format_of(reader),
        encoding=reader.encoding,
        files=[(file.name, file.stat().st_size) for file in reader.files()],
        manifest=reader.manifest,
        classes=_classes(reader),
        skipped=skipped,
    )


def format_of(reader: PyramidReader) -> str:
    """Name of the format of an open pyramid, or of its shards: that of the module in `datasets.formats`."""
    name = type(reader).__module__.rpartition(".")[2]
    return name if num_shards(reader) == 1 else format_of(formats.open_pyramid(reader.files()[1]))


def num_shards(reader: PyramidReader) -> int:
    """Number of files that hold pixels: in a folder of shards, all but the index."""
    return len(reader.files()) - reader.path.is_dir()


def class_names(manifest: Manifest) -> list[str]:
    """Name of every class; its number if it has none."""
    if manifest.label_names is not None:
        return list(manifest.label_names)
    return [str(number) for number in range(manifest.num_classes or 0)]


def _classes(reader: PyramidReader) -> list[tuple[str, int]] | None:
    labels = reader.labels()
    if labels is None:
        return None
    names = class_names(reader.manifest)
    return list(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _source_line(path: Path) -> str | None:
    """What can be made of something that is no pyramid, if it is a source of images."""
    from toolkit import sources  # here, because it takes a moment and is needed for mistakes alone

    if not path.exists():
        return None
    kinds = [name for name in sources.recognise(path) if name != "pyramid"]
    if not kinds:
        return None
    what = sources.describe(kinds[0]).partition(":")[0].rstrip(".")
    return (
        f"{path} is not a pyramid but a source of images ({kinds[0]}: {what}); "
        f"make a pyramid of it with toolkit make-pyramid {path} OUT.h5"
    )
