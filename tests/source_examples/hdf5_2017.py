"""Four images in a file of the 2017 Theano tools, without labels."""

from __future__ import annotations

from pathlib import Path

from oracles.array_files import pictures, write_hdf5_2017

from source_examples import Example


def make(where: Path) -> Example:
    images = pictures(4, 8)
    levels = {side: pictures(4, side, seed=side) for side in (1, 2, 4)}
    path = write_hdf5_2017(where / "tiny.h5", {**levels, 8: images}, None)
    return Example(path, list(images.transpose(0, 2, 3, 1)))
