import fcntl
import json
import os
import struct

import google_crc32c
import h5py
import numpy as np
import pytest
from conftest import scene, write_pyramid
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import tfrecord
from PIL import Image

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.build import build
from toolkit.export import export_folder, export_tfrecord
from toolkit.export_tfrecord import frame
from toolkit.plan import Options

RECORD_BYTES = {4: 98, 8: 247, 16: 823, 32: 3127, 64: 12343, 128: 49214, 256: 196670, 512: 786494, 1024: 3145795}


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def pyramid_of(tmp_path):
    def pyramid_of(count=5, resolution=16, seed=3):
        return write_pyramid(tmp_path / "set.h5", scene(count, resolution, seed))

    return pyramid_of


@pytest.mark.parametrize("function", [tfrecord.crc32c, google_crc32c.value])
def test_the_published_checksum(function):
    """Check value of CRC-32C in every catalogue, and the vectors of RFC 3720, appendix B.4."""
    assert function(b"123456789") == 0xE3069283
    assert function(bytes(32)) == 0x8A9136AA
    assert function(b"\xff" * 32) == 0x62A8AB43
    assert function(bytes(range(32))) == 0x46DD794E


def test_the_checksum_is_computed_by_compiled_code():
    """Otherwise exporting a large set would take days."""
    assert google_crc32c.implementation == "c"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_checksums_agree(content):
    assert google_crc32c.value(content) == tfrecord.crc32c(content)


@pytest.mark.parametrize("side", RECORD_BYTES)
def test_sizes_of_records(side):
    """Of the files that the 2017 tools wrote."""
    assert len(frame(np.zeros((3, side, side), np.uint8))) == RECORD_BYTES[side]


def test_the_published_listing_of_cifar10():
    """Sizes of cifar10-r02..r05.tfrecords, 50,000 images, in the listing of the 2017 tools."""
    sizes = {4: 4_900_000, 8: 12_350_000, 16: 41_150_000, 32: 156_350_000}
    for side, size in sizes.items():
        assert 50_000 * len(frame(np.zeros((3, side, side), np.uint8))) == size


def test_a_record_byte_for_byte():
    """Written out by hand from feature.proto; a 1x1 image."""
    shape = b"\x0a\x05shape\x12\x07\x1a\x05\x0a\x03\x03\x01\x01"
    data = b"\x0a\x04data\x12\x07\x0a\x05\x0a\x03\x07\x08\x09"
    entries = b"\x0a" + bytes([len(shape)]) + shape + b"\x0a" + bytes([len(data)]) + data
    payload = b"\x0a" + bytes([len(entries)]) + entries
    record = frame(np.array([7, 8, 9], np.uint8).reshape(3, 1, 1))
    assert record[:8] == struct.pack("<Q", len(payload))
    assert record[12:-4] == payload


@pytest.mark.parametrize("jobs", [1, 3])
def test_all_levels_come_back_from_tfrecord_files(pyramid_of, tmp_path, bars, jobs):
    path = pyramid_of(5, 64)
    done = export_tfrecord(path, tmp_path / "scenes", jobs=jobs, progress=bars)
    reader = open_pyramid(path)
    assert listing(tmp_path) == ["scenes", "set.h5"]
    assert listing(tmp_path / "scenes") == [f"scenes-r0{level}.tfrecords" for level in range(2, 7)]
    for level in range(2, 7):
        side = 2**level
        content = (tmp_path / "scenes" / f"scenes-r0{level}.tfrecords").read_bytes()
        assert len(content) == 5 * RECORD_BYTES[side]
        images = []
        for payload in tfrecord.payloads(content, check=side <= 32):
            shape, data = tfrecord.example(payload)
            assert shape == (3, side, side)
            images.append(np.frombuffer(data, np.uint8).reshape(shape))
        np.testing.assert_array_equal(images, reader.level(level))
    assert done.bytes == 5 * sum(RECORD_BYTES[2**level] for level in range(2, 7))
    assert json.loads(json.dumps(done.to_json()))["resolutions"] == [4, 8, 16, 32, 64]
    assert (bars.bars[-1].total, bars.bars[-1].count) == (25, 25)


def test_batches_keep_the_order(pyramid_of, tmp_path, bars):
    """More rows than a batch has, all different."""
    images = np.random.default_rng(0).integers(0, 256, (1003, 3, 4, 4), dtype=np.uint8)
    path = write_pyramid(tmp_path / "set.h5", images)
    export_tfrecord(path, tmp_path / "tf", jobs=3, progress=bars)
    content = (tmp_path / "tf" / "tf-r02.tfrecords").read_bytes()
    found = [tfrecord.example(payload)[1] for payload in tfrecord.payloads(content, check=False)]
    assert found == [image.tobytes() for image in images]


@pytest.mark.parametrize("resolution", [None, 16, 8])
def test_images_come_back_from_a_folder(pyramid_of, tmp_path, bars, resolution):
    path = pyramid_of(12)
    done = export_folder(path, tmp_path / "png", resolution=resolution, jobs=2, progress=bars)
    files = sorted((tmp_path / "png").iterdir())
    assert [file.name for file in files] == [f"{row:06d}.png" for row in range(12)]
    assert (done.files, done.bytes) == (12, sum(file.stat().st_size for file in files))
    found = [np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files]
    np.testing.assert_array_equal(found, open_pyramid(path).level(3 if resolution == 8 else 4))


@pytest.mark.parametrize(("count", "names"), [(1000, None), (1001, ["000", "001"])])
def test_more_than_a_thousand_lie_in_sub_folders(tmp_path, bars, count, names):
    """And a pyramid of the files is the pyramid again, order included."""
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    path = write_pyramid(tmp_path / "set.h5", images)
    done = export_folder(path, tmp_path / "png", resolution=None, jobs=2, progress=bars)
    found = listing(tmp_path / "png")
    assert found == (names or [f"{row:06d}.png" for row in range(1000)])
    if names:
        assert listing(tmp_path / "png" / "001") == ["001000.png"]
    again = build(tmp_path / "png", tmp_path / "again.h5", Options(), jobs=2, overwrite=False, progress=bars)
    assert again.manifest.content_digest == done.content_digest


def exports(path, out, bars):
    """Both exports of a pyramid, one after the other."""
    yield lambda: export_tfrecord(path, out, jobs=2, progress=bars)
    yield lambda: export_folder(path, out, resolution=None, jobs=2, progress=bars)


@pytest.mark.parametrize("row", [0, 4])
def test_a_damaged_row_is_named_and_nothing_is_left(pyramid_of, tmp_path, bars, row):
    path = pyramid_of()
    with h5py.File(path, "r+") as file:
        file["data16x16"][row, 1, 2, 3] ^= 1
    message = rf"set\.h5: data16x16, row {row} \(image00{row}\.png\): the pixels do not match their digest"
    for export in exports(path, tmp_path / "out", bars):
        with pytest.raises(InputError, match=message):
            export()
        assert listing(tmp_path) == ["set.h5"]
    export_folder(path, tmp_path / "out", resolution=8, jobs=2, progress=bars)  # this level is whole


def test_damaged_digests_are_found(pyramid_of, tmp_path, bars):
    path = pyramid_of()
    with h5py.File(path, "r+") as file:
        file["digests/data16x16"][2, 3] ^= 1
    for export in exports(path, tmp_path / "out", bars):
        with pytest.raises(InputError, match="data16x16: the digests of its rows do not match the manifest"):
            export()
        assert listing(tmp_path) == ["set.h5"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("folder", "exists already; choose another name or remove it"),
        ("file", "exists already"),
        ("link", "exists already"),
        ("missing/out", r"the folder .*missing does not exist; create it first"),
        ("n" * 255, "File name too long"),
    ],
)
def test_outputs_that_cannot_be_made(pyramid_of, tmp_path, bars, out, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    path = pyramid_of()
    before = listing(tmp_path)
    for export in exports(path, tmp_path / out, bars):
        with pytest.raises(InputError, match=message):
            export()
    assert listing(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written(pyramid_of, tmp_path, bars, monkeypatch):
    path = pyramid_of()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # tests may run as root, whom no permission stops
    for export in exports(path, tmp_path / "out", bars):
        with pytest.raises(InputError, match=r"cannot write .*out: no permission to write into"):
            export()


def test_a_full_disk(pyramid_of, tmp_path, bars, monkeypatch):
    path = pyramid_of()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("toolkit.export.shutil.disk_usage", lambda _: type("Usage", (), {"free": 5839}))
        with pytest.raises(InputError, match=r"its files need 0\.0 MB, but .* has 0\.0 MB free"):
            export_tfrecord(path, tmp_path / "out", jobs=1, progress=bars)
    monkeypatch.setattr("os.sync", full)
    for export in exports(path, tmp_path / "out", bars):
        with pytest.raises(InputError, match=r"cannot write .*out: No space left on device"):
            export()
        assert listing(tmp_path) == ["set.h5"]


def test_what_a_killed_export_left_is_removed(pyramid_of, tmp_path, bars):
    path = pyramid_of()
    (tmp_path / ".out.partial" / "000").mkdir(parents=True)
    (tmp_path / ".out.partial" / "000" / "000000.png").write_text("half")
    (tmp_path / ".out.partial" / "out-r09.tfrecords").write_text("half")
    export_tfrecord(path, tmp_path / "out", jobs=1, progress=bars)
    assert listing(tmp_path / "out") == [f"out-r0{level}.tfrecords" for level in (2, 3, 4)]
    assert listing(tmp_path) == ["out", "set.h5"]


def test_two_exports_to_one_name(pyramid_of, tmp_path, bars):
    path = pyramid_of()
    other = tmp_path / ".out.partial"
    other.mkdir()
    (other / "theirs").write_text("theirs")
    descriptor = os.open(other, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for export in exports(path, tmp_path / "out", bars):
        with pytest.raises(InputError, match=r"another process is writing .*out; wait for it"):
            export()
    os.close(descriptor)
    assert (other / "theirs").read_text() == "theirs"
