"""Image sets in NumPy files: ``.npy``, or ``.npz`` with the images under ``images``, ``arr_0`` or as its one array."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.images import ArrayImageSet, remedy_for

_NPY = b"\x93NUMPY"
_IMAGES = ("images", "samples", "arr_0")


def open_arrays(path: Path) -> Mapping[str, NDArray[np.generic]] | None:
    """Arrays of a ``.npy`` (under the name ``arr_0``) or ``.npz`` file by name; None if `path` is neither.

    Raises
    ------
    InputError
        If the file is damaged, or holds Python objects, which could run code.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    single = start == _NPY
    if not single and not _is_npz(path):
        return None
    try:
        found = np.load(path, mmap_mode="r" if single else None, allow_pickle=False)
        return dict(found.items()) if isinstance(found, NpzFile) else {"arr_0": found}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}); write it again with numpy.save or numpy.savez") from None


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def image_array(arrays: Mapping[str, NDArray[np.generic]], path: Path) -> ArrayImageSet:
    """Image set of the array that holds images: uint8 of shape (n, 3, r, r) or (n, r, r, 3).

    Raises
    ------
    InputError
        If there is none, or it is of another type or shape.
    """
    name = next((name for name in _IMAGES if name in arrays), next(iter(arrays)))
    images = arrays[name]
    where = str(path) if len(arrays) == 1 else f"{path}: {name}"
    if remedy := remedy_for(images):
        raise InputError(
            f"{where}: images must be uint8 in 0..255 of shape (n, 3, r, r) or (n, r, r, 3), "
            f"got {images.dtype} {images.shape}; {remedy}"
        )
    pixels = images.view(np.uint8)
    if pixels.shape[3] == 3 and pixels.shape[1] != 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    return ArrayImageSet(pixels, where)
