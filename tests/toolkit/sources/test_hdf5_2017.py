"""HDF5 files of the 2017 Theano tools."""

import zlib

import h5py
import numpy as np
import pytest
from oracles.array_files import pictures, write_hdf5_2017

from datasets.errors import InputError
from toolkit.sources import open_source, recognise


def levels(count, side, channels=3):
    return {1 << k: pictures(count, 1 << k, seed=k, channels=channels) for k in range(side.bit_length())}


@pytest.mark.parametrize("side", [4, 8, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_finest_level_and_labels(side, channels, tmp_path):
    made = levels(10, side, channels)
    numbers = [3, 0, 1, 1, 2, 0, 3, 3, 3, 0]
    path = write_hdf5_2017(tmp_path / "set.h5", made, np.eye(4, dtype=np.float32)[numbers])
    source = open_source(path)
    assert recognise(path) == ["hdf5_2017"]
    assert [source[k].label for k in range(10)] == numbers
    for k in (9, 0, 5, 5):
        expected = made[side][k]
        assert np.array_equal(source[k].read(), expected[0] if channels == 1 else expected.transpose(1, 2, 0))


@pytest.mark.parametrize(
    "storage",
    [{}, {"chunks": (4, 3, 8, 8)}, {"chunks": (1, 3, 4, 4)}, {"chunks": (1, 3, 8, 8), "compression": "gzip"},
     {"chunks": (1, 3, 8, 8), "compression": "gzip", "shuffle": True, "fletcher32": True}],
)  # fmt: skip
def test_other_ways_of_storing(storage, tmp_path):
    images = pictures(6, 8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data8x8", data=images, **storage)
    source = open_source(tmp_path / "x.h5")
    assert all(np.array_equal(source[k].read(), images[k].transpose(1, 2, 0)) for k in range(6))


def test_files_that_are_at_fault_give_one_line(tmp_path):
    def refused(message, **sets):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            for name, value in sets.items():
                if isinstance(value, np.ndarray):
                    file.create_dataset(name, data=value)
                else:
                    file[name] = value
        with pytest.raises(InputError, match=message) as caught:
            open_source(path, "hdf5_2017")
        assert "\n" not in str(caught.value)

    refused("has no data sets data1x1, data2x2 and so on", images=pictures(2, 8))
    refused("data8x8 is float32 of shape", data8x8=np.zeros((2, 3, 8, 8), np.float32))
    refused("data8x8 is uint8 of shape", data8x8=np.zeros((2, 3, 8, 9), np.uint8))
    refused("data8x8 is uint8 of shape", data8x8=np.zeros((2, 4, 8, 8), np.uint8))
    refused("was not finished: .*data4x4: 2, data8x8: 1", data4x4=pictures(2, 4), data8x8=pictures(1, 8))
    refused("was not finished", data4x4=pictures(0, 4))
    refused("data8x8 is no data set of this file", data8x8=h5py.ExternalLink("other.h5", "/data8x8"))
    refused("data8x8 is no data set of this file", data8x8=h5py.SoftLink("/elsewhere"))


def test_pixels_of_other_files_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(192))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data8x8", (1, 3, 8, 8), np.uint8, external=[(str(tmp_path / "secret"), 0, 192)])
    with pytest.raises(InputError, match="data8x8 is no data set of this file"):
        open_source(tmp_path / "x.h5")
    layout = h5py.VirtualLayout((1, 3, 8, 8), np.uint8)
    layout[:] = h5py.VirtualSource(tmp_path / "secret", "data", (1, 3, 8, 8))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_virtual_dataset("data8x8", layout)
    with pytest.raises(InputError, match="data8x8 is no data set of this file"):
        open_source(tmp_path / "y.h5")


def test_unknown_filters_and_huge_chunks_are_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data8x8", data=pictures(2, 8), chunks=(1, 3, 8, 8), compression="lzf")
    with pytest.raises(InputError, match="its chunks are packed by filter 32000; only gzip is known"):
        open_source(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("data8x8", (1 << 22, 3, 8, 8), np.uint8, chunks=(1 << 21, 3, 8, 8))
    with pytest.raises(InputError, match="which take too much memory to read"):
        open_source(tmp_path / "y.h5")


def test_a_damaged_chunk_gives_one_line(tmp_path):
    path = write_hdf5_2017(tmp_path / "x.h5", levels(3, 16), None)
    with h5py.File(path) as file:
        places = [file["data16x16"].id.get_chunk_info_by_coord((k, 0, 0, 0)) for k in range(3)]
    content = bytearray(path.read_bytes())
    content[places[1].byte_offset + places[1].size - 1] ^= 1  # in the checksum of zlib
    content[places[2].byte_offset + 40] ^= 255
    path.write_bytes(content)
    source = open_source(path)
    assert source[0].read().shape == (16, 16, 3)
    for k in (1, 2):
        with pytest.raises(InputError, match=r"x\.h5 cannot be read as HDF5 \(.*\); it is damaged, copy or make it"):
            source[k].read()


def test_chunks_of_another_length_are_refused(tmp_path):
    images = pictures(3, 8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("data8x8", images.shape, np.uint8, chunks=(1, 3, 8, 8), compression="gzip")
        streams = [zlib.compress(image.tobytes()) for image in images]
        for k, stream in enumerate([streams[0][:-4], zlib.compress(images[1].tobytes() + b"x"), streams[2]]):
            data.id.write_direct_chunk((k, 0, 0, 0), stream)
    source = open_source(tmp_path / "x.h5")
    for k in (0, 1):  # without its checksum, and with one byte more
        with pytest.raises(InputError, match=r"x\.h5 cannot be read as HDF5"):
            source[k].read()
    assert np.array_equal(source[2].read(), images[2].transpose(1, 2, 0))
