"""All ways of storing a pyramid, found by listing datasets/formats, and how tests write one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from datasets import formats
from datasets.levels import pyramid


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way of storing a pyramid."""

    format: str
    suffix: str
    encoding: str
    shards: int

    def __str__(self) -> str:
        return f"{self.format}{self.suffix}-{self.encoding}"

    def path(self, folder: Path) -> Path:
        return folder / f"set{self.suffix}"

    def create(self, path, num_images, resolution, **how):
        shards = min(self.shards, num_images)
        return formats.create(path, num_images, resolution, shards=shards, encoding=self.encoding, **how)


SINGLE = [
    Variant(name, suffix, encoding, 1)
    for suffix, name in formats.suffixes().items()
    for encoding in formats.load(name).ENCODINGS
]
SHARDED = [Variant("shards", suffix, formats.load(name).ENCODINGS[0], 3) for suffix, name in formats.suffixes().items()]
VARIANTS = [*SINGLE, *SHARDED]


def some_images(count=6, side=16):
    return np.random.default_rng(count).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def write(variant, path, images, order=None, names=None, provenance=None, **labels):
    with variant.create(path, len(images), images.shape[-1]) as writer:
        rows = list(order) if order is not None else list(range(len(images)))
        for part in (rows[:2], rows[2:]):
            writer.write(part, writer.pack(pyramid(images[part])))
        names = names or [f"{row}.png" for row in range(len(images))]
        return writer.finish(names, options={"crop": "centre"}, provenance=provenance or {}, **labels)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def bytes_of(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return b"".join(file.read_bytes() for file in files)
