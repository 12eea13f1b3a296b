"""SVHN's MATLAB files: read like SciPy reads them, found by content, and nothing else in them is touched."""

import struct

import numpy as np
import pytest
import scipy.io
from oracles.array_files import pictures

from datasets.errors import InputError
from toolkit.layouts.matlab import arrays_in
from toolkit.sources import open_source, recognise

IMAGES = pictures(11, 32).transpose(0, 2, 3, 1)
LABELS = np.array([[1], [2], [3], [4], [5], [6], [7], [8], [9], [10], [10]], np.uint8)


def write(path, images=IMAGES, labels=LABELS, **rest):
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels}, **rest)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int32])
def test_a_file(packed, dtype, tmp_path):
    path = write(tmp_path / "test_32x32.mat", labels=LABELS.astype(dtype), do_compression=packed)
    source = open_source(path)
    assert recognise(path) == ["svhn"]
    assert [source[k].label for k in range(11)] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]
    assert source.label_names == tuple("0123456789")
    for k in range(11):
        assert np.array_equal(source[k].read(), IMAGES[k])


def test_a_folder_gives_the_training_images(tmp_path):
    write(tmp_path / "test_32x32.mat", IMAGES[:3], LABELS[:3])
    write(tmp_path / "train_32x32.mat")
    source = open_source(tmp_path)
    assert recognise(tmp_path) == ["svhn"]
    assert len(source) == 11


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_are_those_that_scipy_finds(packed, tmp_path):
    values = {
        "a": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "bb": np.array([[1.5, -2]]),
        "text": "words",
        "struct": {"field": np.arange(3)},
        "cell": np.array([[1], ["x"]], dtype=object),
        "complex": np.array([[1j]]),
        "a_long_name_of_31_letters_and_so": np.array([[7]], np.uint64),
        "empty": np.zeros((0, 3)),
    }
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, values, do_compression=packed)
    expected, found = scipy.io.loadmat(path), arrays_in(path)
    assert sorted(found) == ["a", "a_long_name_of_31_letters_and_so", "bb", "empty"]
    for name, array in found.items():
        assert np.array_equal(array.values().reshape(array.shape, order="F"), expected[name])


def test_files_of_the_other_byte_order(tmp_path):
    """Written by hand, as SciPy writes its own only."""
    images = np.ascontiguousarray(IMAGES[:2].transpose(0, 3, 2, 1))
    path = tmp_path / "big.mat"
    header = b"MATLAB 5.0 MAT-file, Platform: SOL2".ljust(124) + b"\x01\x00MI"

    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(name, matlab_class, shape, kind, content):
        flags = element(6, struct.pack(">II", matlab_class, 0))
        small_name = struct.pack(">HH", len(name), 1) + name.ljust(4, b"\0")  # in the header, as it is short
        dimensions = element(5, struct.pack(f">{len(shape)}i", *shape))
        return element(14, flags + dimensions + small_name + element(kind, content))

    labels = matrix(b"y", 6, (2, 1), 4, struct.pack(">2H", 10, 3))  # doubles that are stored as uint16
    path.write_bytes(header + matrix(b"X", 9, (32, 32, 3, 2), 2, images.tobytes()) + labels)
    assert np.array_equal(scipy.io.loadmat(path)["y"], [[10], [3]])  # proves the bytes above
    source = open_source(path)
    assert [source[k].label for k in range(2)] == [0, 3]
    assert np.array_equal(source[1].read(), IMAGES[1])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:, :16], LABELS, r"no array X of uint8 and shape \(32, 32, 3, N\); use the cropped digits"),
        (IMAGES / 255, LABELS, "no array X of uint8"),
        (IMAGES, LABELS[:4], "no array y of 11 labels"),
        (IMAGES[:0], LABELS[:0], "no array"),
        (IMAGES, LABELS + 1, "the label of image 9 is 11, not a class number in 0..9"),
    ],
)
def test_other_arrays_give_one_line(images, labels, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_source(write(tmp_path / "x.mat", images, labels), "svhn")


def test_damage_gives_one_line(tmp_path):
    path = write(tmp_path / "x.mat", do_compression=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"x\.mat is cut short: an array ends beyond the end of the file"):
        open_source(path, "svhn")
    path.write_bytes(whole[:20_000])
    with pytest.raises(InputError, match=r"x\.mat is cut short"):
        open_source(path, "svhn")
    scipy.io.savemat(path, {"y": LABELS}, format="4")
    with pytest.raises(InputError, match=r"x\.mat is no MATLAB file of version 5; save it in MATLAB with -v7"):
        open_source(path, "svhn")
    flipped = bytearray(whole)
    flipped[whole.rindex(b"\x0f\0\0\0") - 4] ^= 1  # the checksum at the end of the first array
    path.write_bytes(flipped)
    with pytest.raises(InputError, match=r"x\.mat cannot be unpacked \(incorrect data check\)"):
        open_source(path, "svhn")
