"""Patch descriptors of the sliced Wasserstein distance: where they are cut out, how they are kept, their statistics.

At the paper's scale one band of one set is 16384 images x 128 patches x 147 floats = 1.23 GB, so patches beyond a
budget live in a temporary file. They are kept as they were cut; the normalisation, which needs the statistics of the
whole set, is folded into the projections (see scores/swd.py), so that subsets can have statistics of their own.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.laplacian import band_resolutions, laplacian_pyramid
from metrics.workers import parallel_map

Side = Literal["real", "fake"]
GIB = 1 << 30
_PIECE_BYTES = 64 << 20  # of patches sent to another process at a time

Piece = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]
"""Numbers of some images, their patches and their sums, see `PatchSet`."""


class Draws:
    """All random numbers of an SWD: where patches lie and along which directions they are projected.

    Every number is a function of (seed, what it is for), never of a batch or of the number of images: counter-based
    streams (Philox) give image k its own stretch. Real and fake images get different places, directions are shared.

    Parameters
    ----------
    seed : int
        Non-negative.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def positions(
        self, side: Side, resolution: int, first: int, count: int, patches: int, patch_size: int
    ) -> NDArray[np.int64]:
        """Upper left corners (row, column) of the patches of images `first` to `first + count - 1`.

        Returns
        -------
        ndarray of int64, shape (count, patches, 2)
            Uniform over all places where the whole patch lies inside, with replacement.
        """
        numbers = self._stream((1, ("real", "fake").index(side), resolution), skip=first * 2 * patches)
        # One double a coordinate, so that every image takes equally many; the bias of rounding down is below 2^-42.
        return (numbers.random((count, patches, 2)) * (resolution - patch_size + 1)).astype(np.int64)

    def directions(self, resolution: int, repeat: int, count: int, dimensions: int) -> NDArray[np.float32]:
        """Unit vectors, uniform over all directions: shape (count, dimensions)."""
        vectors = self._stream((2, repeat, resolution)).standard_normal((count, dimensions))
        return unit_length(vectors)

    def _stream(self, purpose: tuple[int, ...], skip: int = 0) -> np.random.Generator:
        key = np.random.SeedSequence((self.seed, *purpose)).generate_state(2, np.uint64)
        bits = np.random.Philox(key=key, counter=skip // 4)  # one step of the counter gives four numbers
        if skip % 4:
            bits.random_raw(skip % 4)
        return np.random.Generator(bits)


def unit_length(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows scaled to length 1."""
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def cut_patches(band: NDArray[np.float32], positions: NDArray[np.int64], patch_size: int) -> NDArray[np.float32]:
    """Patches of one band of one image.

    Parameters
    ----------
    band : ndarray of float32, shape (c, r, r)
    positions : ndarray of int64, shape (p, 2)
        Row and column of the upper left corners.
    patch_size : int

    Returns
    -------
    ndarray of float32, shape (p, c, patch_size, patch_size)
    """
    channels, _, side = band.shape
    # A row of a patch is one item of 4 * patch_size bytes, of which one begins at every pixel: fewer and longer copies.
    pixels = np.ascontiguousarray(band)
    runs = np.ndarray((pixels.size - patch_size + 1,), f"V{4 * patch_size}", pixels, strides=(4,))
    within = np.arange(channels)[:, None] * side**2 + np.arange(patch_size) * side
    cut: NDArray[np.void] = runs[(positions[:, 0] * side + positions[:, 1])[:, None] + within.ravel()]
    values: NDArray[np.float32] = cut.view(np.float32).reshape(-1, channels, patch_size, patch_size)
    return values


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """The patches of a set (or of a part of it) in one band, with the statistics that normalise them.

    Attributes
    ----------
    patches : ndarray or Tensor of float32, shape (n, 3 * patch_size^2)
        As they were cut, channel by channel; a tensor if they lie on a device.
    mean, deviation : ndarray of float64, shape (3,)
        Per channel over all patches and their pixels; population standard deviation.
    """

    patches: Any
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


class PatchSet:
    """Patches of all bands of one set of images, filled in any order and batch size.

    Parameters
    ----------
    side : "real" or "fake"
        Which stream of positions to use.
    num_images, resolution : int
    draws : Draws
    patches, patch_size : int
        Patches per image and band, and their side.
    coarsest : int
        Side of the coarsest band.
    in_memory : bool
        False keeps the patches in a temporary file (in ``TMPDIR``), which goes with this object.

    Raises
    ------
    InputError
        If there is no room for the temporary file.
    """

    def __init__(
        self,
        side: Side,
        num_images: int,
        resolution: int,
        draws: Draws,
        *,
        patches: int = 128,
        patch_size: int = 7,
        coarsest: int = 16,
        in_memory: bool = True,
    ) -> None:
        self.side: Side = side
        self.num_images, self.draws, self.coarsest = num_images, draws, coarsest
        self.num_patches, self.patch_size = patches, patch_size
        self.bands = band_resolutions(resolution, coarsest)
        shape = (len(self.bands), num_images * patches, 3 * patch_size**2)
        self._patches = np.empty(shape, np.float32) if in_memory else _temporary_array(shape)
        self._sums = np.zeros((len(self.bands), num_images, 2, 3))  # per image: sum and sum of squares of each channel
        self._filled = np.zeros(num_images, bool)

    def update(self, images: NDArray[np.uint8], first: int) -> None:
        """Take the patches of images number `first` and following, uint8 of shape (n, 3, r, r)."""
        places = [
            self.draws.positions(self.side, side, first, len(images), self.num_patches, self.patch_size)
            for side in self.bands
        ]

        def take(k: int) -> None:
            image = first + k
            rows = slice(image * self.num_patches, (image + 1) * self.num_patches)
            for band, pixels in enumerate(laplacian_pyramid(images[k], self.coarsest)):
                cut = cut_patches(pixels, places[band][k], self.patch_size).reshape(self.num_patches, -1)
                self._patches[band, rows] = cut
                for moment, kind in enumerate((cv2.REDUCE_SUM, cv2.REDUCE_SUM2)):
                    columns = cv2.reduce(cut, 0, kind, dtype=cv2.CV_64F)
                    self._sums[band, image, moment] = columns.reshape(3, -1).sum(axis=1)

        parallel_map(take, range(len(images)))
        self._filled[first : first + len(images)] = True
        for of_band in self._patches:
            leave_to_disk(of_band[first * self.num_patches : (first + len(images)) * self.num_patches])

    def pieces(self) -> Iterator[Piece]:
        """Patches and sums of the images that were given, at most `_PIECE_BYTES` (or one image) at a time."""
        filled = np.flatnonzero(self._filled)
        of_image = len(self.bands) * self.num_patches * 3 * self.patch_size**2 * 4
        step = max(1, _PIECE_BYTES // of_image)
        for start in range(0, len(filled), step):
            images = filled[start : start + step]
            yield images, self._get(self._rows(images)), self._sums[:, images]

    def take(self, piece: Piece) -> None:
        """Take over the patches of some images."""
        images, patches, sums = piece
        self._put(self._rows(images), patches)
        self._sums[:, images] = sums
        self._filled[images] = True

    def _get(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._patches[:, rows]

    def _put(self, rows: NDArray[np.int64], patches: NDArray[np.float32]) -> None:
        self._patches[:, rows] = patches
        for of_band in self._patches:
            leave_to_disk(of_band)

    def _of_band(self, band: int, rows: slice) -> Any:
        return self._patches[band, rows]

    def _rows(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the patches of some images."""
        return (images[:, None] * self.num_patches + np.arange(self.num_patches)).ravel()

    def clear(self) -> None:
        """Forget all images, keep the room."""
        self._filled[:] = False

    def descriptors(self, band: int, start: int, stop: int) -> Descriptors:
        """Descriptors of images `start` to `stop - 1` in a band (0 is the finest), normalised among themselves."""
        missing = np.flatnonzero(~self._filled[start:stop])
        if len(missing):
            raise ValueError(
                f"{len(missing)} of the {self.side} images were never given, the first is {start + missing[0]}"
            )
        # float64: sums over 10^8 float32 values lose 2e-4 of the deviation at 262144 patches if kept in float32.
        sums = self._sums[band, start:stop].sum(axis=0) / ((stop - start) * self.num_patches * self.patch_size**2)
        mean, square = sums
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        rows = slice(start * self.num_patches, stop * self.num_patches)
        return Descriptors(self._of_band(band, rows), mean, deviation)


def bytes_per_image(resolution: int, patches: int = 128, patch_size: int = 7, coarsest: int = 16) -> int:
    """Room that the patches of one image take: 75264 bytes a band with the paper's numbers."""
    return len(band_resolutions(resolution, coarsest)) * patches * 3 * patch_size**2 * 4


def leave_to_disk(rows: NDArray[np.float32]) -> None:
    """Take rows of a file out of this process's memory until they are used again; rows in memory stay.

    Without it a mapped file fills the memory as it is read, and ``--memory`` would be an empty promise.
    """
    if isinstance(rows, np.memmap) and rows.size and hasattr(mmap, "MADV_DONTNEED"):
        mapped: mmap.mmap = rows._mmap  # type: ignore[attr-defined]
        start = rows.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages only: others may be in use
        last = (start + rows.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if first < last:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def _temporary_array(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Array in an unnamed temporary file, whose room on the disk is reserved: a full disk must not kill us later."""
    size = int(np.prod(shape, dtype=np.int64)) * 4
    try:
        with tempfile.TemporaryFile() as file:  # the map keeps the file alive
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise InputError(
            f"no room for {size / GIB:.1f} GiB of patches in {tempfile.gettempdir()} ({error.strerror}); "
            "set TMPDIR to a larger disk or measure fewer images"
        ) from None
