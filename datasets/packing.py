"""From pixels to what a writer stores: row digests, and the values as they are in the file. Pure, for any worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.levels import level_of, levels_up_to, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES, row_digest

Values = NDArray[np.uint8] | Sequence[bytes]


@dataclasses.dataclass(frozen=True)
class Packed:
    """Images ready to be stored. ``packed[a:b]`` is a part of them.

    Attributes
    ----------
    digests : ndarray of uint8, shape (n, L, 16)
        Row digests of every level, coarsest first.
    values : mapping of int to values
        Level -> raw pixels, uint8 (n, 3, r, r), or a list of n encoded images.
    """

    digests: NDArray[np.uint8]
    values: Mapping[int, Values]

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, part: slice) -> Packed:
        return Packed(self.digests[part], {level: values[part] for level, values in self.values.items()})


@dataclasses.dataclass(frozen=True)
class Packer:
    """Computes digests and encodes; picklable, to be called in any thread or process.

    Attributes
    ----------
    resolution : int
        Side of the finest level.
    encode : callable, optional
        ``encode(pixels (3, r, r)) -> bytes``; a function of a module, so that it can be pickled. None: raw pixels.
    """

    resolution: int
    encode: Callable[[NDArray[np.uint8]], bytes] | None = None

    def shape(self, num_images: int, level: int) -> tuple[int, int, int, int]:
        """Shape of the pixels of a level."""
        return (num_images, 3, resolution_of(level), resolution_of(level))

    def __call__(self, levels: Mapping[int, NDArray[np.uint8]]) -> Packed:
        """Pack images.

        Parameters
        ----------
        levels : mapping of int to ndarray of uint8, shape (n, 3, r, r)
            Every level from 4x4 up to the finest; see `datasets.levels.pyramid`.

        Raises
        ------
        ValueError
            If a level is missing or of another shape.
        """
        values: dict[int, Values] = {}
        wanted = levels_up_to(level_of(self.resolution))
        num_images = len(next(iter(levels.values()), ()))
        digests = np.empty((num_images, len(wanted), ROW_DIGEST_BYTES), np.uint8)
        for place, level in enumerate(wanted):
            pixels = np.ascontiguousarray(levels[level]) if level in levels else None
            shape = self.shape(num_images, level)
            if pixels is None or pixels.shape != shape or pixels.dtype != np.uint8:
                found = "nothing" if pixels is None else f"{pixels.dtype} of {pixels.shape}"
                raise ValueError(f"level {level} must be uint8 of shape {shape}, got {found}")
            for row, image in enumerate(pixels):
                digests[row, place] = np.frombuffer(row_digest(image), np.uint8)
            values[level] = pixels if self.encode is None else [self.encode(image) for image in pixels]
        return Packed(digests, values)


def runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut rows into runs of consecutive numbers: positions (first, end) in `rows`, so that each is one piece of a file.

    >>> runs(np.array([4, 5, 6, 2, 3, 9]))
    [(0, 3), (3, 5), (5, 6)]
    """
    if not len(rows):
        return []
    cuts: list[Any] = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(rows)], strict=True))
