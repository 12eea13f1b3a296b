"""Arrays of numpy as sources."""

import numpy as np
import pytest
from oracles.array_files import pictures

from datasets.errors import InputError
from toolkit.sources import open_source, recognise

RGB = pictures(5, 12)[:, :, :, :10]  # (N, 3, 12, 10)
GREY = RGB[:, 0]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (RGB, RGB.transpose(0, 2, 3, 1)),
        (np.ascontiguousarray(RGB.transpose(0, 2, 3, 1)), RGB.transpose(0, 2, 3, 1)),
    ],
)
@pytest.mark.parametrize("way", ["npy", "npz", "packed"])
def test_every_layout(array, expected, way, tmp_path):
    path = tmp_path / f"x.{way[:3]}"
    if way == "npy":
        np.save(path, array)
    else:
        with path.open("wb") as file:  # under any name
            (np.savez if way == "npz" else np.savez_compressed)(file, images=array)
    source = open_source(path)
    assert recognise(path) == ["arrays"]
    assert len(source) == 5
    assert source[0].size(max_pixels=120) == (10, 12)
    for k in range(5):
        assert np.array_equal(source[k].read(), expected[k])


@pytest.mark.parametrize(
    ("labels", "num_classes"),
    [
        (np.array([2, 0, 1, 2, 2]), 3),
        (np.array([[2], [0], [1], [2], [2]], np.uint8), 3),
        (np.array([2.0, 0, 1, 2, 2]), 3),
        (np.eye(4, dtype=np.float32)[[2, 0, 1, 2, 2]], 4),
        (np.eye(4, dtype=bool)[[2, 0, 1, 2, 2]], 4),
    ],
)
def test_labels_inside_and_beside(labels, num_classes, tmp_path):
    np.savez(tmp_path / "a.npz", x=GREY, y=labels)
    np.save(tmp_path / "b.npy", GREY)
    np.save(tmp_path / "b-labels.npy", labels)
    for name in ("a.npz", "b.npy"):
        source = open_source(tmp_path / name)
        assert [source[k].label for k in range(5)] == [2, 0, 1, 2, 2]
        assert source.label_names == tuple(map(str, range(num_classes)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([2, 0, 1, 2]), r"y is int64 of shape \(4,\), not class numbers or one-hot vectors of 5 images"),
        (np.array([0, 1, 2, -1, 0]), r"the label of image 3 is -1, not in 0\.\.65535"),
        (np.array([0, 1, 2.5, 1, 0]), r"the label of image 2 is 2\.5, not in"),
        (np.array([0, 1, np.nan, 1, 0]), "the label of image 2 is nan, not in"),
        (np.array([0, 1, 1 << 40, 1, 0]), "the label of image 2 is 1099511627776, not in"),
        (np.ones((5, 3)), "the label of image 0 is a vector that is not one-hot"),
        (np.eye(5)[[0, 1, 2, 3, 4]] * [1, 1, 1, 2, 1], "the label of image 3 is a vector that is not one-hot"),
        (np.eye(5) + np.diag([0, 0.5, 0, 0], 1), "the label of image 1 is a vector that is not one-hot"),
        (np.zeros((5, 1, 1)), "not class numbers or one-hot vectors"),
    ],
)
def test_labels_that_are_no_classes(labels, message, tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, y=labels)
    with pytest.raises(InputError, match=message) as caught:
        open_source(tmp_path / "a.npz")
    assert str(caught.value).endswith("pass --no-labels")
    assert open_source(tmp_path / "a.npz", labels=False)[0].label is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GREY / 255, r"is float64 of shape \(5, 12, 10\), not uint8; for values in 0\.\.1 save \(255 \* x\)\.round"),
        (GREY.astype(np.int64), "is int64 of shape .*, not uint8; save it as uint8 in 0..255"),
        (RGB[None], r"has the shape \(1, 5, 3, 12, 10\); \(N, H, W\), .* is needed"),
        (np.zeros((5, 8, 8, 4), np.uint8), "leave out an alpha channel"),
        (np.zeros((5, 2, 8, 8), np.uint8), "is needed: transpose it"),
        (np.zeros((5, 3, 8, 3), np.uint8), "can be read in two ways"),
        (np.zeros((480, 640, 3), np.uint8), r"looks like one image; save array\[None\]"),
        (np.zeros((0, 8, 8), np.uint8), "holds no image"),
        (np.asfortranarray(RGB), r"is in Fortran order; save numpy\.ascontiguousarray\(array\)"),
        (np.array([[["x"]]], object), "holds Python objects, which could run programs"),
        (np.zeros((2, 3, 3), [("a", "u1")]), "is no whole .npy file of plain numbers"),
    ],
)
def test_other_arrays_are_refused_and_it_is_said_what_to_do(array, message, tmp_path):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", images=array)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(InputError, match=message) as caught:
            open_source(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_which_array_of_an_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x_train=GREY, y_train=np.arange(5), x_test=GREY[:2], y_test=np.arange(2))  # as Keras has MNIST
    assert open_source(path)[4].label == 4
    np.savez(
        path, train_images=GREY, train_labels=np.arange(5)[:, None], val_images=GREY[:1], val_labels=np.ones((1, 1))
    )
    assert open_source(path)[3].label == 3  # as MedMNIST has it
    np.savez(path, GREY)
    assert len(open_source(path)) == 5
    np.savez(path, faces=GREY, masks=GREY)
    with pytest.raises(InputError, match=r"must hold one array of images, or one called images; it holds faces \(5,"):
        open_source(path)
    np.savez(path, y=np.arange(5))
    with pytest.raises(InputError, match="must hold one array of images"):
        open_source(path)
    np.savez(path, images=GREY, y=np.arange(5), labels=np.arange(5))
    with pytest.raises(InputError, match=r"holds several arrays of labels \(labels, y\); keep one"):
        open_source(path)


def test_files_of_other_writers_and_damage(tmp_path):
    path = tmp_path / "x.npy"

    def write(header, version=b"\x01\0"):
        width = 2 if version[0] == 1 else 4
        path.write_bytes(b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header + GREY.tobytes())

    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (5L, 12L, 10L), }\n"  # Python 2 on Windows
    for version in (b"\x01\0", b"\x02\0", b"\x03\0"):
        write(header, version)
        assert np.array_equal(open_source(path)[4].read(), GREY[4])
    write(header.replace(b"(5L", b"(6L"))
    with pytest.raises(InputError, match=r"x\.npy is cut short: its array ends beyond the end of the file"):
        open_source(path)
    for wrong in (b"{'descr': __import__('os').system('x')}", b"(" * 5000, b"", b"{'shape': (-1,)}"):
        write(wrong)
        with pytest.raises(InputError, match=r"is no whole \.npy file of plain numbers"):
            open_source(path)
