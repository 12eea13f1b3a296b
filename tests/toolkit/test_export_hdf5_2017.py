"""The HDF5 layout of the 2017 tools, read back by h5py alone and against the oracle, and by our own source."""

import errno

import h5py
import numpy as np
import pytest
from oracles.array_files import pictures, write_hdf5_2017
from oracles.pyramid import box_filtered

from datasets import formats
from datasets.errors import InputError
from datasets.levels import pyramid
from toolkit.exports import hdf5_2017 as module
from toolkit.exports.hdf5_2017 import export_hdf5_2017
from toolkit.sources import open_source

COUNT = 10  # not a multiple of the images in a chunk of any coarse level
IMAGES = pictures(COUNT, 32)
LABELS = [2, 0, 1, 1, 2, 0, 0, 1, 2, 2]
# images in a chunk at 1x1, 2x2, 4x4 and above: ceil(128 / (3 r^2)), the numbers that the released tool comes to
IN_CHUNK = {1: 43, 2: 11, 4: 3, 8: 1, 16: 1, 32: 1}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.h5"
    with formats.create(path, COUNT, 32) as writer:
        writer.write(range(COUNT), writer.pack(pyramid(IMAGES)))
        writer.finish([f"{k}.png" for k in range(COUNT)], LABELS, ["ant", "bee", "cat"])
    return path


def export(source, out, bars, *, resolution=None, labels=True, jobs=2):
    return export_hdf5_2017(source, out, resolution=resolution, labels=labels, jobs=jobs, progress=bars)


@pytest.mark.parametrize("finest", [32, 8])
def test_levels_chunks_and_labels(source, tmp_path, bars, finest):
    out = tmp_path / "out.h5"
    done = export(source, out, bars, resolution=finest)
    sides = [side for side in IN_CHUNK if side <= finest]
    with h5py.File(out) as file:
        assert sorted(file) == sorted(f"data{side}x{side}" for side in sides)
        for side in sides:
            data = file[f"data{side}x{side}"]
            assert (data.shape, data.maxshape) == ((COUNT, 3, side, side), (None, 3, side, side))
            assert data.dtype == np.uint8
            assert data.chunks == (IN_CHUNK[side], 3, side, side)
            assert (data.compression, data.compression_opts) == ("gzip", 4)
            assert np.array_equal(data[:], [box_filtered(image, side) for image in IMAGES])
    vectors = np.load(tmp_path / "out-labels.npy")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.eye(3)[LABELS])
    assert done.resolutions == tuple(sides)
    assert done.files == 2
    assert done.bytes == out.stat().st_size + (tmp_path / "out-labels.npy").stat().st_size
    assert all(bar.count == bar.total for bar in bars.bars)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-labels.npy", "out.h5", "source.h5"]


def test_the_library_packs_the_same_bytes(source, tmp_path, bars):
    export(source, tmp_path / "out.h5", bars)
    oracle = {side: np.stack([box_filtered(image, side) for image in IMAGES]) for side in IN_CHUNK}
    write_hdf5_2017(tmp_path / "oracle.h5", oracle, None)
    with h5py.File(tmp_path / "out.h5") as found, h5py.File(tmp_path / "oracle.h5") as expected:
        for name in expected:
            for first in range(0, COUNT, expected[name].chunks[0]):
                place = (first, 0, 0, 0)
                assert found[name].id.read_direct_chunk(place) == expected[name].id.read_direct_chunk(place)


def test_our_source_reads_it(source, tmp_path, bars):
    export(source, tmp_path / "out.h5", bars)
    again = open_source(tmp_path / "out.h5")
    assert type(again).__module__ == "toolkit.sources.hdf5_2017"
    assert [again[k].label for k in range(COUNT)] == LABELS
    assert all(np.array_equal(again[k].read(), IMAGES[k].transpose(1, 2, 0)) for k in range(COUNT))


def test_bytes_are_the_same_for_any_number_of_jobs(source, tmp_path, bars):
    for jobs in (1, 3):
        export(source, tmp_path / f"{jobs}.h5", bars, jobs=jobs)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_labels_are_left_out(source, tmp_path, bars):
    done = export(source, tmp_path / "out.h5", bars, labels=False)
    assert (done.files, done.num_classes) == (1, None)
    assert not (tmp_path / "out-labels.npy").exists()


def test_nothing_is_left_of_what_fails(source, tmp_path, bars, monkeypatch):
    before = sorted(tmp_path.iterdir())
    content = bytearray(source.read_bytes())
    content[content.index(IMAGES[7].tobytes()) + 5] ^= 1
    (tmp_path / "source.h5").write_bytes(content)
    with pytest.raises(InputError, match=r"data32x32, row 7 \(7\.png\): the pixels do not match their digest"):
        export(source, tmp_path / "out.h5", bars)
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "out-labels.npy").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"out-labels\.npy exists already"):
        export(source, tmp_path / "out.h5", bars)
    (tmp_path / "out.h5").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"out\.h5 exists already"):
        export(source, tmp_path / "out.h5", bars, labels=False)


@pytest.mark.parametrize("after", [0, 3000, 20_000])
def test_a_full_disk_gives_one_line_and_leaves_nothing(source, tmp_path, bars, monkeypatch, after):
    """The library ends the process when it cannot write; so it must not learn of it."""
    room = [after]
    real = module._HonestFile._do

    def do(self, action, *arguments):
        def limited(*arguments):
            if action.__name__ == "write":
                room[0] -= len(arguments[0])
                if room[0] < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return action(*arguments)

        return real(self, limited, *arguments)

    monkeypatch.setattr(module._HonestFile, "_do", do)
    with pytest.raises(InputError, match=r"cannot write .*out\.h5: No space left on device"):
        export(source, tmp_path / "out.h5", bars)
    assert [path.name for path in tmp_path.iterdir()] == ["source.h5"]
