"""What is particular to shards; what every format must do is in tests/contracts."""

import json
import shutil

import numpy as np
import pytest

from datasets import formats
from datasets.errors import InputError
from datasets.levels import pyramid


def write(path, images, shards=3, names=None, labels=None):
    with formats.create(path, len(images), images.shape[-1], shards=shards) as writer:
        writer.write(range(len(images)), writer.pack(pyramid(images)))
        return writer.finish(names or [str(row) for row in range(len(images))], labels, provenance={"source": "x"})


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".h5", ".lmdb"])
def test_every_shard_is_a_pyramid_of_consecutive_rows(tmp_path, images, suffix):
    path = tmp_path / f"set{suffix}"
    whole = write(path, images, shards=3, labels=[k % 4 for k in range(10)])
    assert sorted(file.name for file in path.iterdir()) == ["index.json", *(f"shard-0000{k}{suffix}" for k in range(3))]
    index = json.loads((path / "index.json").read_text())
    assert [entry["num_images"] for entry in index["shards"]] == [3, 3, 4]
    for entry in index["shards"]:
        shard = formats.open_pyramid(path / entry["file"])
        rows = slice(entry["first_row"], entry["first_row"] + entry["num_images"])
        assert np.array_equal(shard.level(4), images[rows])
        assert shard.sources() == [str(row) for row in range(10)][rows]
        assert shard.labels().tolist() == [k % 4 for k in range(10)][rows]
        assert shard.manifest.content_digest == entry["content_digest"]
        assert shard.manifest.provenance == whole.provenance


def test_a_missing_shard_is_named(tmp_path, images):
    write(tmp_path / "set.h5", images)
    (tmp_path / "set.h5" / "shard-00001.h5").unlink()
    with pytest.raises(InputError, match=r"set\.h5: the shard shard-00001\.h5 is missing"):
        formats.open_pyramid(tmp_path / "set.h5")


def test_swapped_shards_are_named(tmp_path, images):
    write(tmp_path / "set.h5", images)
    one, two = (tmp_path / "set.h5" / f"shard-0000{k}.h5" for k in (0, 1))
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    with pytest.raises(InputError, match=r"shard-00000\.h5 is not the shard that index\.json describes"):
        formats.open_pyramid(tmp_path / "set.h5")


@pytest.mark.parametrize("same", ["pixels", "names"])
def test_a_foreign_shard_is_named(tmp_path, images, same):
    write(tmp_path / "set.h5", images)
    other = images if same == "pixels" else 255 - images
    write(tmp_path / "other.h5", other, names=[f"other{row}" for row in range(10)] if same == "pixels" else None)
    shutil.copy(tmp_path / "other.h5" / "shard-00002.h5", tmp_path / "set.h5" / "shard-00002.h5")
    with pytest.raises(InputError, match=r"shard-00002\.h5 is not the shard that index\.json describes"):
        formats.open_pyramid(tmp_path / "set.h5")


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_a_damaged_shard_is_named(tmp_path, images, damage):
    write(tmp_path / "set.h5", images)
    (tmp_path / "set.h5" / "shard-00001.h5").write_bytes(damage)
    with pytest.raises(InputError, match=r"shard-00001\.h5 (is not a pyramid|cannot be read|is cut short)"):
        formats.open_pyramid(tmp_path / "set.h5")


def test_every_changed_character_of_the_index_is_noticed(tmp_path, images, rng):
    write(tmp_path / "set.h5", images[:2], shards=2)
    index = tmp_path / "set.h5" / "index.json"
    text = index.read_bytes()
    for place in rng.choice(len(text), 200, replace=False).tolist():
        changed = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        if changed.split() == text.split():
            continue
        index.write_bytes(changed)
        with pytest.raises(InputError):
            formats.open_pyramid(tmp_path / "set.h5")
    index.write_bytes(text)
    formats.open_pyramid(tmp_path / "set.h5")


def test_a_folder_with_another_index_is_not_a_pyramid(tmp_path):
    (tmp_path / "index.json").write_text('{"name": "a web page"}')
    assert not formats.is_pyramid(tmp_path)


@pytest.mark.parametrize(("shards", "allowed"), [(0, 10), (-1, 10), (11, 10)])
def test_numbers_of_shards_that_cannot_be(tmp_path, shards, allowed):
    with pytest.raises(InputError, match=rf"10 images cannot be cut into {shards} shards; use 1 to {allowed}"):
        formats.create(tmp_path / "set.h5", 10, 16, shards=shards)
    with pytest.raises(InputError, match="use 1 to 256"):
        formats.create(tmp_path / "set.h5", 1000, 16, shards=257)
    assert list(tmp_path.iterdir()) == []


def test_many_shards_of_one_row_each(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    write(tmp_path / "set.h5", images, shards=40)
    pixels = formats.open_pyramid(tmp_path / "set.h5").level(3)
    rows = np.random.default_rng(2).integers(0, 40, 100)
    assert np.array_equal(pixels.gather(rows), images[rows])
    assert len(formats.open_pyramid(tmp_path / "set.h5").files()) == 41


def test_a_file_is_replaced_by_shards_but_a_foreign_folder_is_not(tmp_path, images):
    with formats.create(tmp_path / "set.h5", 2, 4) as writer:
        writer.write([0, 1], writer.pack(pyramid(np.zeros((2, 3, 4, 4), np.uint8))))
        writer.finish(["a", "b"])
    write(tmp_path / "set.h5", images)
    write(tmp_path / "set.h5", 255 - images, shards=2)
    assert np.array_equal(formats.open_pyramid(tmp_path / "set.h5").level(4), 255 - images)
    assert [file.name for file in tmp_path.iterdir()] == ["set.h5"]
