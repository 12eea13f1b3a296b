import dataclasses
import json
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from datasets.errors import InputError
from toolkit.build import build
from toolkit.engine.output import Output
from toolkit.estimate import estimate
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.transforms import Crop


@pytest.fixture
def folder(tmp_path, rng):
    """Forty smooth images of 160x120, so that PNG has something to do."""
    path = tmp_path / "images"
    path.mkdir()
    for number in range(40):
        image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((160, 120))
        image.save(path / f"{number:03d}.jpg")
    return path


@pytest.mark.parametrize(
    ("name", "encoding", "shards", "options", "tolerance"),
    [
        ("a.h5", None, 1, {"resolution": 64}, 0.01),
        ("a.h5", None, 3, {"resolution": 64}, 0.05),
        ("a.lmdb", "raw", 1, {"resolution": 64}, 0.1),
        ("a.lmdb", "png", 1, {"resolution": 64}, 0.1),
        ("a.h5", None, 1, {"crop": Crop("tile", tile=32, stride=16)}, 0.01),
        ("a.h5", None, 1, {"resolution": 64, "max_images": 7}, 0.1),
    ],
)
def test_rows_and_bytes_are_those_of_the_build(folder, tmp_path, bars, name, encoding, shards, options, tolerance):
    output = Output(path=tmp_path / name, encoding=encoding, shards=shards)
    found = estimate(folder, output, Options(**options), jobs=2, progress=bars)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    made = build(folder, output, Options(**options), jobs=2, progress=bars)
    assert found.rows == made.manifest.num_images
    assert found.resolution == made.manifest.resolution
    assert found.bytes == pytest.approx(made.bytes, rel=tolerance, abs=12_000)
    assert found.missing_bytes == 0
    assert 0 < found.seconds < 60
    assert 10**7 < found.memory_bytes < found.free_memory_bytes


def test_bad_images_are_named_and_counted(folder, tmp_path, bars):
    for number in range(10):
        (folder / f"0{number:02d}.jpg").write_bytes(b"\xff\xd8\xff no more")
    found = estimate(
        folder, Output(path=tmp_path / "a.h5"), Options(resolution=64, skip_bad=True), jobs=1, progress=bars
    )
    assert [name for name, _ in found.bad] == [f"0{number:02d}.jpg" for number in range(10)]
    assert found.left_out == {"bad": 10}
    assert found.rows == 30
    assert str(tmp_path) not in json.dumps(found.to_json())
    table = dict(found.table())
    assert table["left out"] == "bad 10 of 40"
    assert "000.jpg cannot be decoded" in table["bad image"] or "000.jpg is not an image" in table["bad image"]


def test_criteria_are_applied_to_the_sample(folder, tmp_path, bars):
    options = Options(resolution=32, criteria=Criteria(min_sharpness=3.0))
    with pytest.raises(InputError, match=r"none of 40 images tried can be used; the first: 000\.jpg: blurred: "):
        estimate(folder, Output(path=tmp_path / "a.h5"), options, jobs=1, progress=bars)
    Image.new("RGB", (40, 40)).save(folder / "small.png")
    options = Options(resolution=32, criteria=Criteria(min_size=50))
    found = estimate(folder, Output(path=tmp_path / "a.h5"), options, jobs=1, progress=bars)
    assert found.left_out == {"too small": 1}
    assert found.rows == 40


def test_a_disk_that_is_too_small_is_told(folder, tmp_path, bars, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 200_000, 200_000))
    found = estimate(folder, Output(path=tmp_path / "a.h5"), Options(resolution=64), jobs=1, progress=bars)
    assert found.missing_bytes == found.bytes - 200_000 > 0
    assert found.to_json()["missing_bytes"] == found.missing_bytes
    assert "(200.0 kB free: " in dict(found.table())["disk"]
    assert dict(found.table())["disk"].endswith(" MISSING)")


def test_numbers_are_written_for_people(folder, tmp_path, bars):
    found = estimate(folder, Output(path=tmp_path / "a.h5"), Options(resolution=64), jobs=2, progress=bars)
    found = dataclasses.replace(
        found, seconds=3 * 3600 + 7 * 60, rows=1_234_567, bytes=2_500_000_000, free_bytes=10**12
    )
    table = dict(found.table())
    assert table["time"].startswith("about 3 h 7 min with 2 threads")
    assert table["rows"] == "1,234,567 of 64x64, 5 levels"
    assert table["disk"] == "2.5 GB (1.0 TB free)"
    assert dict(dataclasses.replace(found, seconds=7199).table())["time"].startswith("about 2 h 0 min")


def test_what_cannot_be_estimated(folder, tmp_path, bars):
    Image.new("RGB", (64, 64)).save(folder / "square.png")
    with pytest.raises(InputError, match=r"the crops are 64 to 120 pixels wide; say the side of a row: --resolution"):
        estimate(folder, Output(path=tmp_path / "a.h5"), Options(), jobs=1, progress=bars)
    with pytest.raises(InputError, match="does not exist"):
        estimate(folder, Output(path=tmp_path / "no" / "a.h5"), Options(), jobs=1, progress=bars)
    with pytest.raises(InputError, match="--resolution 63 is not a side"):
        estimate(folder, Output(path=tmp_path / "a.h5"), Options(resolution=63), jobs=1, progress=bars)
