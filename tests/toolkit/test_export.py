"""The files of other tools, read back without ours: by PIL, zipfile, json, h5py, and an oracle of TFRecord."""

import fcntl
import json
import os
import shutil
import zipfile

import h5py
import numpy as np
import pytest
from oracles import tfrecord
from PIL import Image
from pyramids import listing, noise, pixels, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.manifest import one_hot
from toolkit.build import build
from toolkit.derived.conversion import LAYOUTS, export
from toolkit.engine.output import Output
from toolkit.options import Options

RECORD_BYTES = {4: 98, 8: 247, 16: 823, 32: 3127, 64: 12343}
NAMES = {"stylegan-zip": "out.zip", "tfrecord": "out", "folder": "out", "hdf5-2017": "out.h5"}
SOURCES = {"set.h5": {}, "set.lmdb": {"encoding": "webp"}, "many.h5": {"shards": 2}}


def run(path, out, layout, bars, *, resolution=None, labels=True, jobs=2):
    return export(path, out, layout, resolution=resolution, labels=labels, jobs=jobs, progress=bars)


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A pyramid of every kind, with labels and names that would like to be elsewhere."""
    names = [f"../../{row}" for row in range(7)]
    labels = {"labels": [0, 2, 0, 1, 2, 2, 0], "label_names": ["cat", "ant", "dog"]}
    return write(tmp_path / request.param, noise(7), names=names, **labels, **SOURCES[request.param])


@pytest.mark.parametrize("resolution", [None, 8])
def test_stylegan_zip(source, tmp_path, bars, resolution):
    done = run(source, tmp_path / "out.zip", "stylegan-zip", bars, resolution=resolution)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        assert names == [*(f"00000/img{row:08d}.png" for row in range(7)), "dataset.json"]
        assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
        found = [np.asarray(Image.open(archive.open(name))).transpose(2, 0, 1) for name in names[:7]]
        content = json.loads(archive.read("dataset.json"))
    np.testing.assert_array_equal(found, pixels(source)[3 if resolution else 4])
    assert content["labels"] == [[name, label] for name, label in zip(names, [0, 2, 0, 1, 2, 2, 0], strict=False)]
    assert content["label_names"] == ["cat", "ant", "dog"]
    assert (done.files, done.bytes) == (1, (tmp_path / "out.zip").stat().st_size)
    assert listing(tmp_path) == sorted(["out.zip", source.name])


def test_folders_of_the_zip(tmp_path, bars):
    """As the converter of StyleGAN3 names them: eight digits, the folder by the first five."""
    path = write(tmp_path / "set.h5", noise(1002, 4))
    run(path, tmp_path / "out.zip", "stylegan-zip", bars)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = archive.namelist()
        assert names[999:1003] == [
            "00000/img00000999.png",
            "00001/img00001000.png",
            "00001/img00001001.png",
            "dataset.json",
        ]
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
        image = np.asarray(Image.open(archive.open(names[1001])))
    np.testing.assert_array_equal(image.transpose(2, 0, 1), noise(1002, 4)[1001])


@pytest.mark.parametrize("layout", ["stylegan-zip", "hdf5-2017"])
def test_equal_pyramids_give_equal_files_whatever_the_number_of_threads(tmp_path, bars, layout):
    path = write(tmp_path / "set.h5", noise(300, 8), labels=[0, 1, 2] * 100, label_names=["a", "b", "c"])
    for jobs in (1, 3):
        run(path, tmp_path / f"{jobs}{NAMES[layout][3:]}", layout, bars, jobs=jobs)
    one, two = (tmp_path / f"{jobs}{NAMES[layout][3:]}" for jobs in (1, 3))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("resolution", [None, 8])
def test_tfrecord(source, tmp_path, bars, jobs, resolution):
    done = run(source, tmp_path / "out", "tfrecord", bars, resolution=resolution, jobs=jobs)
    top = 3 if resolution else 4
    names = [f"out-r0{level}.tfrecords" for level in range(2, top + 1)]
    assert listing(tmp_path / "out") == [*names, "out-rxx.labels"]
    for level in range(2, top + 1):
        content = (tmp_path / "out" / f"out-r0{level}.tfrecords").read_bytes()
        assert len(content) == 7 * RECORD_BYTES[2**level]
        images = []
        for payload in tfrecord.payloads(content):
            shape, data = tfrecord.example(payload)
            images.append(np.frombuffer(data, np.uint8).reshape(shape))
        np.testing.assert_array_equal(images, pixels(source)[level])
    labels = np.load(tmp_path / "out" / "out-rxx.labels", allow_pickle=False)
    assert (labels.dtype, labels.shape) == (np.float32, (7, 3))
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 2, 0, 1, 2, 2, 0]])
    assert json.loads(json.dumps(done.to_json()))["num_classes"] == 3
    rows = 7 * (top - 1)
    assert (bars.bars[-1].total, bars.bars[-1].count) == (rows, rows)


def test_records_keep_their_order(tmp_path, bars):
    """More rows than a batch has, all different."""
    path = write(tmp_path / "set.h5", noise(1003, 4))
    run(path, tmp_path / "tf", "tfrecord", bars, jobs=3)
    content = (tmp_path / "tf" / "tf-r02.tfrecords").read_bytes()
    found = [tfrecord.example(payload)[1] for payload in tfrecord.payloads(content, check=False)]
    assert found == [image.tobytes() for image in noise(1003, 4)]
    assert listing(tmp_path / "tf") == ["tf-r02.tfrecords"]


@pytest.mark.parametrize("resolution", [None, 8])
def test_folder(source, tmp_path, bars, resolution):
    done = run(source, tmp_path / "out", "folder", bars, resolution=resolution)
    names = [f"{row:06d}.png" for row in range(7)]
    assert listing(tmp_path / "out") == [*names, "dataset.json"]
    found = [np.asarray(Image.open(tmp_path / "out" / name)).transpose(2, 0, 1) for name in names]
    np.testing.assert_array_equal(found, pixels(source)[3 if resolution else 4])
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["labels"] == [[name, label] for name, label in zip(names, [0, 2, 0, 1, 2, 2, 0], strict=True)]
    assert (done.files, done.num_classes) == (8, 3)
    assert done.bytes == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(("count", "names"), [(1000, None), (1001, ["000", "001"])])
def test_more_than_a_thousand_lie_in_sub_folders(tmp_path, bars, count, names):
    """And a pyramid of the files is the pyramid again, order and labels included."""
    numbers = np.random.default_rng(1).integers(0, 5, count).tolist()
    path = write(tmp_path / "set.h5", noise(count, 4), labels=numbers, label_names=list("vwxyz!"))
    done = run(path, tmp_path / "png", "folder", bars)
    found = [name for name in listing(tmp_path / "png") if name != "dataset.json"]
    assert found == (names or [f"{row:06d}.png" for row in range(1000)])
    if names:
        assert listing(tmp_path / "png" / "001") == ["001000.png"]
    build(tmp_path / "png", Output(path=tmp_path / "again.h5"), Options(), jobs=2, progress=bars)
    again = open_pyramid(tmp_path / "again.h5")
    assert again.manifest.content_digest == done.content_digest
    assert again.labels().tolist() == numbers
    assert again.manifest.label_names == list("vwxyz!")
    run(path, tmp_path / "plain", "folder", bars, labels=False)
    build(tmp_path / "plain", Output(path=tmp_path / "plain.h5"), Options(), jobs=2, progress=bars)
    assert open_pyramid(tmp_path / "plain.h5").labels() is None  # the sub-folders are no classes
    assert open_pyramid(tmp_path / "plain.h5").manifest.content_digest == done.content_digest


@pytest.mark.parametrize("layout", ["stylegan-zip", "tfrecord", "hdf5-2017"])
def test_what_is_written_is_read_again_as_a_source(source, tmp_path, bars, layout):
    """To the same pyramid, labels included."""
    run(source, tmp_path / NAMES[layout], layout, bars)
    build(tmp_path / NAMES[layout], Output(path=tmp_path / "again.lmdb"), Options(), jobs=2, progress=bars)
    one, two = open_pyramid(source), open_pyramid(tmp_path / "again.lmdb")
    assert two.manifest.content_digest == one.manifest.content_digest
    assert two.labels().tolist() == one.labels().tolist()
    if layout == "stylegan-zip":  # the others have no place for names
        assert two.manifest.label_names == one.manifest.label_names


def test_hdf5_of_2017(source, tmp_path, bars):
    """Every level down to 1x1 by h5py, and the labels beside."""
    run(source, tmp_path / "out.h5", "hdf5-2017", bars)
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {f"data{1 << level}x{1 << level}" for level in range(5)}
        for level in (2, 3, 4):
            np.testing.assert_array_equal(file[f"data{1 << level}x{1 << level}"][...], pixels(source)[level])
        means = noise(7).reshape(7, 3, 2, 8, 2, 8).mean(axis=(3, 5))
        np.testing.assert_array_equal(file["data2x2"][...], np.rint(means))
    np.testing.assert_array_equal(np.load(tmp_path / "out-labels.npy"), one_hot([0, 2, 0, 1, 2, 2, 0], 3))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_can_be_left_out(source, tmp_path, bars, layout):
    done = run(source, tmp_path / NAMES[layout], layout, bars, labels=False)
    assert done.num_classes is None
    if layout == "stylegan-zip":
        with zipfile.ZipFile(tmp_path / "out.zip") as archive:
            assert json.loads(archive.read("dataset.json")) == {"labels": None}
    elif layout == "folder":
        assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == {"labels": None}
    elif layout == "hdf5-2017":
        assert listing(tmp_path) == sorted(["out.h5", source.name])
    else:
        assert not [name for name in listing(tmp_path / "out") if name.endswith("labels")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("row", [0, 6])
def test_a_damaged_row_is_named_and_nothing_is_left(tmp_path, bars, layout, row):
    path = write(tmp_path / "set.h5", noise(7))
    with h5py.File(path, "r+") as file:
        file["data16x16"][row, 1, 2, 3] ^= 1
    message = rf"set\.h5: data16x16, row {row} \(image00{row}\.png\): the pixels do not match their digest"
    with pytest.raises(InputError, match=message):
        run(path, tmp_path / NAMES[layout], layout, bars)
    assert listing(tmp_path) == ["set.h5"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_digests_are_found(tmp_path, bars, layout):
    path = write(tmp_path / "set.h5", noise(7))
    with h5py.File(path, "r+") as file:
        file["digests/data16x16"][2, 3] ^= 1
    with pytest.raises(InputError, match="data16x16: the digests of its rows do not match the manifest"):
        run(path, tmp_path / NAMES[layout], layout, bars)
    assert listing(tmp_path) == ["set.h5"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("folder", "exists already; choose another name|is a folder; name a file"),
        ("file", "exists already"),
        ("missing/out", r"the folder .*missing does not exist; create it first"),
        ("n" * 255, "File name too long"),
    ],
)
def test_outputs_that_cannot_be_made(tmp_path, bars, layout, out, message):
    path = write(tmp_path / "set.h5", noise(7))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises((InputError, OSError), match=message):
        run(path, tmp_path / out, layout, bars)
    assert listing(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_may_not_be_written(tmp_path, bars, layout, monkeypatch):
    path = write(tmp_path / "set.h5", noise(7))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # tests may run as root, whom no permission stops
    with pytest.raises(InputError, match=r"cannot write .*out.*: no permission to write into"):
        run(path, tmp_path / NAMES[layout], layout, bars)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_that_cannot_fit_is_refused(tmp_path, bars, layout, monkeypatch):
    path = write(tmp_path / "set.h5", noise(7))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2000}))
    with pytest.raises(InputError, match=r"its files need 0\.0 MB, but .* has 0\.0 MB free"):
        run(path, tmp_path / NAMES[layout], layout, bars)


@pytest.mark.parametrize(("layout", "call"), [("folder", "sync"), ("tfrecord", "sync"), ("stylegan-zip", "fsync")])
def test_a_full_disk_at_the_end(tmp_path, bars, layout, call, monkeypatch):
    path = write(tmp_path / "set.h5", noise(7))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match=r"cannot write .*out.*: No space left on device"):
        run(path, tmp_path / NAMES[layout], layout, bars)
    assert listing(tmp_path) == ["set.h5"]


def test_what_a_killed_export_left_is_removed(tmp_path, bars):
    path = write(tmp_path / "set.h5", noise(7))
    (tmp_path / ".out.partial" / "000").mkdir(parents=True)
    (tmp_path / ".out.partial" / "000" / "000000.png").write_text("half")
    (tmp_path / ".out.zip.partial").write_text("half" * 100_000)
    run(path, tmp_path / "out", "tfrecord", bars)
    run(path, tmp_path / "out.zip", "stylegan-zip", bars)
    assert listing(tmp_path / "out") == [f"out-r0{level}.tfrecords" for level in (2, 3, 4)]
    assert listing(tmp_path) == ["out", "out.zip", "set.h5"]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert len(archive.namelist()) == 8


@pytest.mark.parametrize("layout", ["folder", "tfrecord", "stylegan-zip"])
def test_two_exports_to_one_name(tmp_path, bars, layout):
    path = write(tmp_path / "set.h5", noise(7))
    other = tmp_path / f".{NAMES[layout]}.partial"
    if layout == "stylegan-zip":
        other.write_text("theirs")
    else:
        other.mkdir()
        (other / "theirs").write_text("theirs")
    descriptor = os.open(other, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match=r"another process is writing .*out.*; wait for it"):
        run(path, tmp_path / NAMES[layout], layout, bars)
    assert (other if other.is_file() else other / "theirs").read_text() == "theirs"
    os.close(descriptor)
