"""Writers of the files of well-known data sets, from the descriptions of their formats."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from oracles.tfrecord import crc32c


def pictures(count: int, side: int, seed: int = 0, channels: int = 3) -> NDArray[np.uint8]:
    """Noise, uint8 (count, channels, side, side): no two pixels, planes or images can be mixed up unseen."""
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), np.uint8)


# CIFAR


def cifar_records(images: NDArray[np.uint8], *labels: Sequence[int]) -> bytes:
    """Binary version: the labels of an image, one byte each, then its planes."""
    rows = zip(images, *labels, strict=True)
    return b"".join(bytes(numbers) + image.tobytes() for image, *numbers in rows)


def python2_pickle(entries: Mapping[str, object]) -> bytes:
    """What cPickle of Python 2 with protocol 2 makes of a dict of text, lists and uint8 arrays, as CIFAR is stored."""
    return b"\x80\x02}q\x01(" + b"".join(_python2(key) + _python2(value) for key, value in entries.items()) + b"u."


def _python2(value: object) -> bytes:
    if isinstance(value, str):
        return _python2(value.encode())
    if isinstance(value, bytes):
        head = b"U" + struct.pack("B", len(value)) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
        return head + value
    if isinstance(value, int):
        return b"K" + struct.pack("B", value) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01"
        + _python2(value.shape[0]) + _python2(value.shape[1]) + b"\x86"
        + b"cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + _python2(value.tobytes()) + b"tb"
    )  # fmt: skip


def cifar10_files(images: NDArray[np.uint8], labels: Sequence[int], *, python: bool) -> dict[str, bytes]:
    """Files of CIFAR-10 by name; the images are spread evenly over five batches of training and one of test."""
    parts = zip(np.split(images, 6), np.split(np.asarray(labels), 6), strict=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files = {"readme.html": b'<meta HTTP-EQUIV="REFRESH" content="0; url=http://www.cs.toronto.edu/~kriz/cifar.html">'}
    for name, (pixels, numbers) in zip(names, parts, strict=True):
        if python:
            rows = pixels.reshape(len(pixels), -1)
            entries = {
                "batch_label": "training batch",
                "labels": numbers.tolist(),
                "data": rows,
                "filenames": ["a.png"],
            }
            files[name] = python2_pickle(entries)
        else:
            files[f"{name}.bin"] = cifar_records(pixels, numbers.tolist())
    if python:
        files["batches.meta"] = python2_pickle({"num_cases_per_batch": 10000, "label_names": classes, "num_vis": 3072})
    else:
        files["batches.meta.txt"] = "\n".join([*classes, "", ""]).encode()
    return files


def cifar100_files(
    images: NDArray[np.uint8], coarse: Sequence[int], fine: Sequence[int], *, python: bool
) -> dict[str, bytes]:
    """Files of CIFAR-100 by name, without the names of classes: the first half is for test, the second for training."""
    half = len(images) // 2
    files = {}
    for name, part in (("test", slice(0, half)), ("train", slice(half, None))):
        if python:
            rows = images[part].reshape(len(images[part]), -1)
            entries = {"fine_labels": list(fine[part]), "coarse_labels": list(coarse[part]), "data": rows}
            files[name] = python2_pickle(entries)
        else:
            files[f"{name}.bin"] = cifar_records(images[part], coarse[part], fine[part])
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, folder: str, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


# MNIST


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8] | None, *, packed: bool, part: str = "train"
) -> Path:
    """Images (N, 28, 28) and labels (N,) under the names under which MNIST is downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        if array is not None:
            name = f"{part}-{kind}-ubyte" + ".gz" * packed
            (folder / name).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


# TFRecord and HDF5 of the 2017 tools


def record(image: NDArray[np.uint8]) -> bytes:
    """A record of an image (C, H, W): Example{features{feature{key: shape}, feature{key: data}}}."""
    shape = _message(1, b"".join(map(_varint, image.shape)))
    data = _message(1, image.tobytes())
    entries = (
        _message(1, b"shape") + _message(2, _message(3, shape)),
        _message(1, b"data") + _message(2, _message(1, data)),
    )
    return framed(_message(1, b"".join(_message(1, entry) for entry in entries)))


def framed(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + _masked(length) + payload + _masked(payload)


def _masked(content: bytes) -> bytes:
    bits = f"{crc32c(content):032b}"
    return struct.pack("<I", (int(bits[-15:] + bits[:-15], 2) + 0xA282EAD8) % 2**32)


def _message(number: int, content: bytes) -> bytes:
    return _varint(8 * number + 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value % 128 + 128]) + _varint(value // 128) if value > 127 else bytes([value])


def write_tfrecords(folder: Path, levels: Mapping[int, NDArray[np.uint8]], labels: NDArray[np.float32] | None) -> Path:
    """Folder of levels, log2 of the side -> images (N, C, side, side)."""
    folder.mkdir(parents=True)
    for level, images in levels.items():
        (folder / f"{folder.name}-r{level:02d}.tfrecords").write_bytes(b"".join(map(record, images)))
    if labels is not None:
        with (folder / f"{folder.name}-rxx.labels").open("wb") as file:
            np.save(file, labels)
    return folder


def write_hdf5_2017(path: Path, levels: Mapping[int, NDArray[np.uint8]], labels: NDArray[np.float32] | None) -> Path:
    """File of side -> images (N, C, side, side), stored through the library as the 2017 tool stores them."""
    with h5py.File(path, "w") as file:
        for side, images in sorted(levels.items(), reverse=True):
            channels = images.shape[1]
            chunk = (-(-128 // (channels * side**2)), channels, side, side)
            shape, most = (0, channels, side, side), (None, channels, side, side)
            data = file.create_dataset(
                f"data{side}x{side}",
                shape,
                np.uint8,
                maxshape=most,
                chunks=chunk,
                compression="gzip",
                compression_opts=4,
            )
            data.resize(len(images), axis=0)
            data[:] = images
    if labels is not None:
        np.save(path.with_name(f"{path.stem}-labels.npy"), labels)
    return path
