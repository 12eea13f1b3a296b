import json

import h5py
import numpy as np
import pytest
from PIL import Image
from pyramids import noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.inspection import inspect


def test_what_is_said_of_a_data_set(photos, make):
    (photos / "bad.png").write_text("hello")
    summary = make(photos, skip_bad=True, shuffle=7)
    found = inspect(summary.path).to_json()
    assert json.loads(json.dumps(found)) == found
    manifest = open_pyramid(summary.path).manifest
    assert (found["format"], found["num_images"], found["resolution"]) == ("hdf5", 9, 16)
    assert found["bytes"] == summary.path.stat().st_size
    assert found["content_digest"] == manifest.content_digest
    assert [level["name"] for level in found["levels"]] == ["data4x4", "data8x8", "data16x16"]
    assert found["levels"][1] == {
        "name": "data8x8",
        "level": 3,
        "shape": [9, 3, 8, 8],
        "bytes": 9 * 3 * 64,
        "sha256": manifest.level_digests["data8x8"],
    }
    assert found["options"]["shuffle"] == 7
    assert found["provenance"]["source"] == "photos"
    assert [item["path"] for item in found["skipped"]] == ["bad.png"]
    assert found["skipped"][0]["reason"].startswith("bad.png is not an image")


def test_without_a_ledger_it_is_not_known_what_was_skipped(photos, make):
    summary = make(photos)
    assert inspect(summary.path).skipped == []
    summary.ledger.unlink()
    assert inspect(summary.path).skipped is None
    assert inspect(summary.path).to_json()["skipped"] is None


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(InputError, match="does not exist; name a pyramid"):
        inspect(tmp_path / "missing.h5")


@pytest.mark.parametrize(
    ("name", "storage", "kind", "files"),
    [
        ("a.h5", {}, "hdf5", ["a.h5"]),
        ("a.lmdb", {"encoding": "png"}, "lmdb", ["a.lmdb"]),
        ("a.h5", {"shards": 2}, "hdf5", ["index.json", "shard-00000.h5", "shard-00001.h5"]),
        ("a.lmdb", {"shards": 2, "encoding": "webp"}, "lmdb", ["index.json", "shard-00000.lmdb", "shard-00001.lmdb"]),
    ],
)
def test_formats_encodings_and_shards(tmp_path, name, storage, kind, files):
    found = inspect(write(tmp_path / name, noise(5), **storage))
    assert (found.format, found.encoding) == (kind, storage.get("encoding", "raw"))
    assert [file for file, _ in found.files] == files
    assert found.bytes == sum(size for _, size in found.files) > 0
    assert json.loads(json.dumps(found.to_json()))["files"][0]["name"] == files[0]


def test_classes_are_counted(tmp_path):
    path = write(tmp_path / "a.h5", noise(5), labels=[2, 0, 2, 2, 0], label_names=["cat", "never", "dog"])
    assert inspect(path).classes == [("cat", 2), ("never", 0), ("dog", 3)]
    assert inspect(path).to_json()["classes"][1] == {"name": "never", "rows": 0}
    path = write(tmp_path / "b.h5", noise(5), labels=[2, 0, 2, 2, 0])
    assert inspect(path).classes == [("0", 2), ("1", 0), ("2", 3)]
    assert inspect(write(tmp_path / "c.h5", noise(5))).to_json()["classes"] is None


def test_what_a_pyramid_can_be_made_of_is_said(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["data4x4"] = np.zeros((2, 3, 4, 4), np.uint8)
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "folder" / "a.png")
    for name, kind in (("old.h5", "hdf5_2017"), ("folder", "folder")):
        message = rf"{name} is not a pyramid but a source of images \({kind}: .*\); make .* toolkit make-pyramid "
        with pytest.raises(InputError, match=message):
            inspect(tmp_path / name)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match=r"text is not a pyramid \("):
        inspect(tmp_path / "text")
