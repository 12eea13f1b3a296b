"""An LSUN category: one small value inside a leaf page, two on pages of their own."""

from __future__ import annotations

from pathlib import Path

import lmdb

from source_examples import Example, noise, png

SIDES = [(9, 8), (80, 60), (60, 80)]


def make(where: Path) -> Example:
    folder = where / "tower_val_lmdb"
    pixels = [noise(number, *side) for number, side in enumerate(SIDES)]
    names = [f"{number:x}" * 40 for number in (3, 10, 12)]
    with lmdb.open(str(folder), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        for name, image in zip(names, pixels, strict=True):
            transaction.put(name.encode(), png(image))
    return Example(folder, pixels, names=names)
