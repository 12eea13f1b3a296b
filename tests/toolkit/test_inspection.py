import json

import pytest

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
