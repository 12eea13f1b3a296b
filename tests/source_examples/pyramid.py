"""Three rows of a pyramid, two of which come from images of the same name."""

from __future__ import annotations

from pathlib import Path

from oracles.array_files import pictures

from datasets import formats
from datasets.levels import pyramid
from source_examples import Example

LABELS = [2, 0, 2]


def make(where: Path) -> Example:
    images = pictures(3, 8)
    path = where / "set.h5"
    with formats.create(path, len(images), 8) as writer:
        writer.write(range(len(images)), writer.pack(pyramid(images)))
        writer.finish(["a.png", "b.png", "a.png"], LABELS, ["ant", "bee", "cat"])
    return Example(path, list(images.transpose(0, 2, 3, 1)), LABELS, ["a.png#0", "b.png", "a.png#2"])
