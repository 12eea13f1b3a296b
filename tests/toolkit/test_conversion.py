"""Pyramids in another format are the same pyramids: content, names, labels, options, provenance, ledger."""

import itertools

import h5py
import lmdb
import numpy as np
import pytest
from pyramids import assert_rows, listing, noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.derived.conversion import convert_pyramid, layout_of
from toolkit.engine.output import Output
from toolkit.verification import verify

STORED = {
    "set.h5": {},
    "set.lmdb": {},
    "png.lmdb": {"encoding": "png"},
    "webp.lmdb": {"encoding": "webp"},
    "shards.h5": {"shards": 3},
    "shards.lmdb": {"shards": 2, "encoding": "webp"},
}
OPTIONS = {"crop": "centre", "shuffle": 3}
ODD = ["ü/日本.jpg", "../../x.png", "new\nline", "\udcff", "x" * 300, "", "/etc/passwd", "a@1,2"]


def convert(path, out, bars, *, resolution=None, labels=True, **storage):
    return convert_pyramid(
        path, Output(path=out, **storage), resolution=resolution, labels=labels, jobs=2, progress=bars
    )


def full(path, **storage):
    """A pyramid with everything."""
    return write(
        path,
        noise(8),
        names=ODD,
        labels=[0, 2, 2, 0, 2, 0, 0, 0],
        label_names=["cat", "never", "dog"],
        options=OPTIONS,
        provenance={"source": "photos", "libraries": {"pillow": "1"}},
        **storage,
    )


@pytest.mark.parametrize(("one", "two"), list(itertools.permutations(STORED, 2)))
def test_every_format_into_every_other(tmp_path, bars, one, two):
    path = full(tmp_path / one, **STORED[one])
    (tmp_path / "to").mkdir()
    out = tmp_path / "to" / two
    done = convert(path, out, bars, **STORED[two])
    before, after = open_pyramid(path), open_pyramid(out)
    assert_rows(out, noise(8))
    assert after.manifest.content_digest == before.manifest.content_digest == done.manifest.content_digest
    assert after.sources() == ODD
    assert after.labels().tolist() == [0, 2, 2, 0, 2, 0, 0, 0]
    assert (after.manifest.label_names, after.manifest.num_classes) == (["cat", "never", "dog"], 3)
    assert after.manifest.options == OPTIONS
    assert after.manifest.provenance["source"] == "photos"
    assert after.manifest.provenance["libraries"] == {"pillow": "1"}
    assert [step["to"] for step in after.manifest.provenance["conversions"]] == [
        "lmdb" if two.endswith("lmdb") else "hdf5"
    ]
    assert after.encoding == STORED[two].get("encoding", "raw")
    assert verify(out, jobs=1, progress=bars, rebuild_levels=True).faults == []


def test_foreign_programs_read_the_result(tmp_path, bars):
    """With h5py and lmdb alone."""
    path = full(tmp_path / "set.h5")
    convert(path, tmp_path / "out.lmdb", bars)
    convert(tmp_path / "out.lmdb", tmp_path / "out.h5", bars)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["data16x16"][...], noise(8))
    with lmdb.open(str(tmp_path / "out.lmdb"), subdir=False, readonly=True, lock=False) as data, data.begin() as read:
        for row, image in enumerate(noise(8)):
            assert read.get(f"data16x16/{row:08d}".encode()) == image.tobytes()


def test_a_lower_finest_level(tmp_path, bars):
    path = full(tmp_path / "set.h5")
    out = tmp_path / "small.lmdb"
    convert(path, out, bars, resolution=8, encoding="png")
    before, after = open_pyramid(path), open_pyramid(out)
    assert after.manifest.resolution == 8
    for level in (2, 3):
        np.testing.assert_array_equal(after.level(level)[:], before.level(level)[:])
    for name in ("data4x4", "data8x8"):
        assert after.manifest.level_digests[name] == before.manifest.level_digests[name]
    (step,) = after.manifest.provenance["conversions"]
    assert step["resolution"] == 8
    assert step["of"] == {
        "name": "set.h5",
        "content_digest": before.manifest.content_digest,
        "num_images": 8,
        "resolution": 16,
    }


def test_without_labels(tmp_path, bars):
    path = full(tmp_path / "set.h5")
    convert(path, tmp_path / "out.h5", bars, labels=False)
    reader = open_pyramid(tmp_path / "out.h5")
    assert reader.labels() is None
    assert reader.manifest.label_names is None
    assert reader.manifest.content_digest == open_pyramid(path).manifest.content_digest


def test_the_ledger_goes_along(photos, make, tmp_path, bars):
    summary = make(photos)
    convert(summary.path, tmp_path / "out.lmdb", bars)
    ledger = tmp_path / "out.lmdb.ledger.jsonl"
    assert ledger.read_bytes() == (tmp_path / "set.h5.ledger.jsonl").read_bytes()
    assert verify(tmp_path / "out.lmdb", jobs=1, progress=bars).ledger == "matches"
    ledger.write_text("changed\n")
    convert(tmp_path / "out.lmdb", tmp_path / "other.h5", bars)  # a ledger of something else is not carried on
    assert "other.h5.ledger.jsonl" not in listing(tmp_path)
    assert "ledger_sha256" not in open_pyramid(tmp_path / "other.h5").manifest.provenance


@pytest.mark.parametrize(
    ("resolution", "message"),
    [(32, "has no level of 32 pixels; it has 4, 8, 16"), (17, "--resolution 17 is not a side a pyramid can have")],
)
def test_levels_that_are_not_there(tmp_path, bars, resolution, message):
    path = full(tmp_path / "set.h5")
    with pytest.raises(InputError, match=message):
        convert(path, tmp_path / "out.h5", bars, resolution=resolution)
    assert listing(tmp_path) == ["set.h5"]


@pytest.mark.parametrize(
    ("name", "to", "layout"),
    [
        ("a.h5", None, "hdf5"),
        ("a.H5", None, "hdf5"),
        ("a.lmdb", None, "lmdb"),
        ("a.zip", None, "stylegan-zip"),
        ("a.h5", "hdf5", "hdf5"),
        ("a.h5", "hdf5-2017", "hdf5-2017"),
        ("a", "folder", "folder"),
        ("a.h5", "folder", "folder"),
        ("a", "tfrecord", "tfrecord"),
    ],
)
def test_what_a_name_asks_for(tmp_path, name, to, layout):
    assert layout_of(tmp_path / name, to) == layout


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("a", None, r"its suffix does not say what to make; use one of \.h5, \.lmdb, \.zip, or pass --to"),
        ("a.tfrecords", None, "its suffix does not say what to make"),
        ("a", "hdf5", r"the name of a pyramid of the format hdf5 ends in \.h5"),
        ("a.h5", "lmdb", r"the name of a pyramid of the format lmdb ends in \.lmdb"),
        ("a.zip", "hdf5", r"ends in \.h5"),
        ("a", "stylegan-zip", r"the name of a stylegan-zip ends in \.zip"),
    ],
)
def test_names_that_contradict(tmp_path, name, to, message):
    with pytest.raises(InputError, match=message):
        layout_of(tmp_path / name, to)


@pytest.mark.parametrize("name", ["out.h5", "out.lmdb"])
def test_what_encodings_there_are(tmp_path, bars, name):
    path = full(tmp_path / "set.h5")
    with pytest.raises(InputError, match="cannot store pixels as 'jpeg'"):
        convert(path, tmp_path / name, bars, encoding="jpeg")
    with pytest.raises(InputError, match=r"cannot be cut into 9 shards|8"):
        convert(path, tmp_path / name, bars, shards=9)
    assert listing(tmp_path) == ["set.h5"]
