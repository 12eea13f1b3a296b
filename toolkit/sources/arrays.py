"""numpy arrays, .npy or .npz: uint8, shape (N,H,W), (N,H,W,C) or (N,C,H,W), and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.layouts.array_source import ArraySource, labels_from
from toolkit.layouts.labels import Labels
from toolkit.layouts.npy import NpyArray, is_npy, is_npz, open_npy, open_npz

# Names in use for the arrays of an archive; the training part is taken if there are several.
_IMAGES = ("images", "x", "X", "data", "arr_0", "x_train", "X_train", "train_images")
_LABELS = ("labels", "label", "y", "Y", "targets", "y_train", "Y_train", "train_labels")


def recognises(path: Path) -> bool:
    """True for a .npy file, and for a zip archive of nothing else."""
    try:
        return path.is_file() and (is_npy(path) or is_npz(path))
    except OSError:
        return False


class Source(ArraySource):
    """Rows of an array. Labels: class numbers or one-hot vectors, in NAME-labels.npy or under a name like ``y``."""

    def __init__(self, path: Path) -> None:
        files = [path]
        self._vectors: NpyArray | None = None
        if is_npy(path):
            self._array = open_npy(path)
            beside = path.with_name(f"{path.name.removesuffix('.npy')}-labels.npy")
            files += [beside] * beside.is_file()
        else:
            self._array, self._vectors = _choose(open_npz(path), path)
        _check(self._array)
        shape = self._array.shape
        self._planes_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
        height, width = shape[2:4] if self._planes_first else shape[1:3]
        super().__init__(path, shape[0], (width, height), files)

    def find_labels(self) -> Labels | None:
        """Classes from the array in the same archive, or the file beside."""
        vectors = open_npy(self._files[1]) if len(self._files) > 1 else self._vectors
        return None if vectors is None else labels_from(vectors, len(self))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels, shape (H, W) or (H, W, 3)."""
        pixels: NDArray[np.uint8] = self._array.rows(index, 1)[0].view(np.uint8)
        if self._planes_first:
            pixels = pixels.transpose(1, 2, 0)
        return np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _choose(arrays: dict[str, NpyArray], path: Path) -> tuple[NpyArray, NpyArray | None]:
    """Images and labels of an archive."""
    candidates = [name for name, array in arrays.items() if len(array.shape) >= 3]
    if len(candidates) > 1:
        candidates = [name for name in candidates if name in _IMAGES]
    if len(candidates) != 1:
        found = ", ".join(f"{ascii(name)[1:-1]} {array.shape}" for name, array in arrays.items())[:300] or "nothing"
        raise InputError(f"{path} must hold one array of images, or one called images; it holds {found}")
    labels = [name for name in _LABELS if name in arrays]
    if len(labels) > 1:
        raise InputError(f"{path} holds several arrays of labels ({', '.join(labels)}); keep one")
    return arrays[candidates[0]], arrays[labels[0]] if labels else None


def _check(array: NpyArray) -> None:
    """Refuse what is no row of images, and say how to make it one."""
    shape, where = array.shape, array.where
    if array.dtype != np.uint8:
        advice = "save it as uint8 in 0..255"
        if array.dtype.kind == "f":
            advice = (
                "for values in 0..1 save (255 * x).round().astype('uint8'), for values in -1..1 "
                "save (127.5 * x + 127.5).round().astype('uint8')"
            )
        raise InputError(f"{where} is {array.dtype} of shape {shape}, not uint8; {advice}")
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        raise InputError(f"{where} of shape {shape} looks like one image; save array[None], or an image file")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] in (1, 3):
        raise InputError(f"{where} of shape {shape} can be read in two ways; save larger images")
    if len(shape) not in (3, 4) or (len(shape) == 4 and not {shape[1], shape[3]} & {1, 3}):
        raise InputError(
            f"{where} has the shape {shape}; (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) is needed: "
            "transpose it, and leave out an alpha channel"
        )
    if 0 in shape:
        raise InputError(f"{where} of shape {shape} holds no image")
