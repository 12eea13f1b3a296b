"""Crops and resizes: which square of an image becomes a row, and by which named filter it gets its size.

All resizing is done on sRGB values, as every tool of the field does, and is antialiased when it makes an image smaller.
``area`` averages exactly the area that a pixel covers, and rounds once, half to even: at a whole-number ratio this is
the box filter that leads from level to level. The others are Pillow's; its ``box`` gives whole pixels only, so
it is uneven when the ratio is no whole number.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError

_PILLOW = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
FILTERS = (*_PILLOW, "area")

Box = tuple[int, int, int]  # left, top, side, in pixels of the upright image


@dataclasses.dataclass(frozen=True)
class Crop:
    """Which squares of an image are used.

    Attributes
    ----------
    name : str
        ``centre``: the largest square in the middle; ``none``: the whole image, which must be square;
        ``tile``: every whole tile of a grid that starts in the top left corner, row by row.
    tile : int
        Side of a tile in pixels.
    stride : int
        Step from one tile to the next in pixels, across and down.
    """

    name: str = "centre"
    tile: int = 0
    stride: int = 0

    def boxes(self, width: int, height: int, where: str) -> list[Box]:
        """Squares that are cut from an image.

        Their number and their sides are the same for ``height`` x ``width``, so the header of an image tells them
        before its orientation is known.

        Raises
        ------
        InputError
            If the image is not square though it must be, or holds no whole tile.
        """
        if self.name == "none":
            if width != height:
                raise InputError(f"{where} is not square ({width}x{height}); use --crop centre or square images")
            return [(0, 0, width)]
        if self.name == "centre":
            side = min(width, height)
            return [((width - side) // 2, (height - side) // 2, side)]
        tops = range(0, height - self.tile + 1, self.stride)
        lefts = range(0, width - self.tile + 1, self.stride)
        if not tops or not lefts:
            raise InputError(f"{where} holds no tile: {width}x{height} is less than {self.tile}x{self.tile}")
        return [(left, top, self.tile) for top in tops for left in lefts]


CENTRE = Crop()


def cut(image: NDArray[np.uint8], box: Box, resolution: int, resample: str) -> NDArray[np.uint8]:
    """Cut a square from an image and give it the size of a row.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    box : tuple of int
        Left, top and side of the square in pixels; it lies inside the image.
    resolution : int
        Side of the result.
    resample : str
        One of `FILTERS`. Pixels outside the square have no influence.

    Returns
    -------
    ndarray of uint8, shape (3, resolution, resolution)
    """
    left, top, side = box
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    if side != resolution:
        square = _area(square, resolution) if resample == "area" else _pillow(square, resolution, resample)
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def _pillow(square: NDArray[np.uint8], resolution: int, resample: str) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(square).resize((resolution, resolution), _PILLOW[resample]))


def _area(square: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Mean over the area of each new pixel, in exact integers: sums in units of 1 / resolution**2 of a pixel."""
    side = len(square)
    sums = _area_sums(_area_sums(square, resolution, axis=0), resolution, axis=1)
    means, rest = np.divmod(sums, side * side)
    up = (2 * rest > side * side) | ((2 * rest == side * side) & (means % 2 == 1))
    rounded: NDArray[np.uint8] = (means + up).astype(np.uint8)
    return rounded


def _area_sums(values: NDArray[Any], resolution: int, axis: int) -> NDArray[np.int64]:
    """``resolution`` times the sums of `values` between the borders of the new pixels, along one axis."""
    side = values.shape[axis]
    whole, part = np.divmod(np.arange(resolution + 1) * side, resolution)  # border = whole + part / resolution
    shape = [-1 if k == axis else 1 for k in range(values.ndim)]
    # A new pixel that lies inside one old pixel has no border between them, and there reduceat would give that pixel.
    weights = np.where(whole[:-1] < whole[1:], resolution, 0).reshape(shape)
    sums: NDArray[np.int64] = np.add.reduceat(values, whole[:-1], axis=axis, dtype=np.int64) * weights
    sums -= np.take(values, whole[:-1], axis=axis) * part[:-1].reshape(shape)
    sums += np.take(values, np.minimum(whole[1:], side - 1), axis=axis) * part[1:].reshape(shape)
    return sums
