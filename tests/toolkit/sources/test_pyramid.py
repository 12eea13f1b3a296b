"""Pyramids as sources of new ones."""

import numpy as np
import pytest
from oracles.array_files import pictures

from datasets import formats
from datasets.errors import InputError
from datasets.levels import pyramid
from toolkit.sources import open_source, recognise

IMAGES = pictures(6, 16)
LABELS = [1, 0, 2, 2, 0, 1]
NAMES = ["a/1.png", "a/2.png", "b/1.png", "a/1.png", "c.png", "d.png#0"]


@pytest.mark.parametrize(("name", "options"), [("x.h5", {}), ("x.lmdb", {"encoding": "png"}), ("x.h5", {"shards": 2})])
@pytest.mark.parametrize("labelled", [True, False])
def test_every_format(name, options, labelled, tmp_path):
    path = tmp_path / name
    with formats.create(path, 6, 16, **options) as writer:
        writer.write(range(6), writer.pack(pyramid(IMAGES)))
        writer.finish(NAMES, *((LABELS, ["ant", "bee", "cat"]) if labelled else ()))
    source = open_source(path)
    assert recognise(path) == ["pyramid"]
    items = [source[k] for k in range(6)]
    assert [item.name for item in items] == ["a/1.png#0", "a/2.png", "b/1.png", "a/1.png#3", "c.png", "d.png#0"]
    assert [item.label for item in items] == (LABELS if labelled else [None] * 6)
    assert source.label_names == (("ant", "bee", "cat") if labelled else None)
    assert all(np.array_equal(item.read(), image.transpose(1, 2, 0)) for item, image in zip(items, IMAGES, strict=True))


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "x.h5"
    with formats.create(path, 6, 16) as writer:
        writer.write(range(6), writer.pack(pyramid(IMAGES)))
        writer.finish(NAMES)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES[3].tobytes()) + 100] ^= 4
    path.write_bytes(content)
    source = open_source(path)
    source[2].read()
    with pytest.raises(InputError, match=r"x\.h5: data16x16, row 3 \(a/1\.png#3\): the pixels do not match"):
        source[3].read()


def test_an_hdf5_file_of_something_else_is_refused_as_a_pyramid(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = IMAGES
    with pytest.raises(InputError, match="has no manifest: it is an unfinished build or another tool's file"):
        open_source(tmp_path / "x.h5")
