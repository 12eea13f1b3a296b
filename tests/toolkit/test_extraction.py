"""Chosen rows as PNG files, whatever their sources are called."""

import io
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyramids import listing, noise, pixels, write

from datasets.errors import InputError
from toolkit.derived.extraction import extract, parse_rows, random_rows

HOSTILE = ["../../x.png", "/etc/passwd", "a\0b", "..", "", "c" * 400, "\udcff", "new\nline", "CON", "~/.bashrc"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0", [0]),
        ("0,5,10-20", [0, 5, *range(10, 21)]),
        ("5,3,3,4-6", [3, 4, 5, 6]),
        (" 7 - 9 , 1", [1, 7, 8, 9]),
        ("29-29", [29]),
    ],
)
def test_rows_from_a_text(text, rows):
    assert parse_rows(text, 30) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no row and no range; write them as 0,5,10-20"),
        ("1,", "'' is no row"),
        ("a", "'a' is no row"),
        ("-1", "'-1' is no row"),
        ("1-", "'1-' is no row"),
        ("1-2-3", "'1-2-3' is no row"),
        ("1.5", "'1.5' is no row"),
        ("٣", "is no row"),
        ("9" * 5000, "is no row"),
        ("30", "there is no row 30; the rows are 0 to 29"),
        ("5-30", "there is no row 30"),
        ("0-999999999999", "there is no row 999999999999"),
        ("7-5", "7-5 runs backwards; write 5-7"),
    ],
)
def test_texts_that_are_no_rows(text, message):
    with pytest.raises(InputError, match=message):
        parse_rows(text, 30)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 99), min_size=1))
def test_any_rows_can_be_written(rows):
    assert parse_rows(",".join(map(str, rows)), 100) == sorted(rows)


def test_random_rows():
    assert random_rows(5, 0, 50) == random_rows(5, 0, 50) == sorted(random_rows(5, 0, 50))
    assert random_rows(5, 0, 50) != random_rows(5, 1, 50)
    assert random_rows(99, 3, 10) == list(range(10))


@pytest.mark.parametrize("name", ["set.h5", "set.lmdb"])
@pytest.mark.parametrize("resolution", [None, 4])
def test_files_and_index(tmp_path, bars, name, resolution):
    path = write(tmp_path / name, noise(10), names=HOSTILE, labels=[0, 1] * 5, label_names=["cat", "dog"], shards=2)
    (tmp_path / "a").mkdir()
    before = listing(tmp_path.parent), listing(tmp_path)
    rows = [9, 0, 4]
    done = extract(path, tmp_path / "a" / "out", rows, resolution=resolution, jobs=2, progress=bars)
    assert (listing(tmp_path.parent), listing(tmp_path)) == before  # no name has led out of the folder
    assert listing(tmp_path / "a") == ["out"]
    out = tmp_path / "a" / "out"
    assert listing(out) == ["index.json", "row000000.png", "row000004.png", "row000009.png"]
    for row in rows:
        image = np.asarray(Image.open(out / f"row{row:06d}.png"))
        np.testing.assert_array_equal(image.transpose(2, 0, 1), pixels(path)[4 if resolution is None else 2][row])
    index = json.loads((out / "index.json").read_text())
    assert index == done.images
    assert index[0] == {"file": "row000009.png", "row": 9, "source": "~/.bashrc", "label": 1, "class": "dog"}
    assert [entry["source"] for entry in index] == [HOSTILE[row] for row in rows]


def test_without_labels(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(2))
    done = extract(path, tmp_path / "out", [1], resolution=None, jobs=1, progress=bars)
    assert done.images == [{"file": "row000001.png", "row": 1, "source": "image001.png"}]
    assert done.resolution == 16


def test_only_damage_that_matters_is_an_error(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(6))
    with h5py.File(path, "r+") as file:
        file["data16x16"][3, 0, 0, 0] ^= 1
    extract(path, tmp_path / "out", [0, 1, 2, 4, 5], resolution=None, jobs=2, progress=bars)
    message = r"set\.h5: data16x16, row 3 \(image003\.png\): the pixels do not match"
    with pytest.raises(InputError, match=message):
        extract(path, tmp_path / "more", [2, 3], resolution=None, jobs=2, progress=bars)
    assert listing(tmp_path) == ["out", "set.h5"]


@pytest.mark.parametrize(("out", "message"), [("set.h5", "exists already"), ("a/b", "does not exist; create it first")])
def test_outputs_that_cannot_be_made(tmp_path, bars, out, message):
    path = write(tmp_path / "set.h5", noise(2))
    with pytest.raises(InputError, match=message):
        extract(path, tmp_path / out, [0], resolution=None, jobs=1, progress=bars)
    assert listing(tmp_path) == ["set.h5"]


def test_the_files_are_plain_png(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(1))
    extract(path, tmp_path / "out", [0], resolution=None, jobs=1, progress=bars)
    with Image.open(io.BytesIO((tmp_path / "out" / "row000000.png").read_bytes())) as image:
        assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (16, 16), {})
