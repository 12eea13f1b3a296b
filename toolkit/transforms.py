"""Crops and resizes: which square of an image becomes a row, and by which named filter it gets its size.

All resizing is done on sRGB values, as every tool of the field does, and is antialiased when it makes an image smaller.
``area`` averages exactly the area that a pixel covers, and rounds once, half to even: at a whole-number ratio this is
the box filter that leads from level to level. The others are Pillow's, which rounds twice, once for each direction; its
``box`` gives whole pixels only, so it is uneven when the ratio is no whole number.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.decode import WHITE
from datasets.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PILLOW = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
FILTERS = (*_PILLOW, "area")
_STRIP = 32  # new rows that `area` makes at a time, so that their old rows stay in the processor's cache

CROPS = ("centre", "centre-wide", "none", "box", "tile")
Box = tuple[int, int, int]  # left, top, side, in pixels of the upright image; top < 0: bars above and below it


@dataclasses.dataclass(frozen=True)
class Crop:
    """Which squares of an image are used.

    ``centre``
        The largest square in the middle. Left and right of a landscape, or top and bottom of a portrait, are lost.
    ``centre-wide``
        The square as wide as the image, in its middle, so that nothing of the width is lost. A landscape becomes a
        letterbox: the whole image, between two bars of the background colour above and below; a portrait is cut as
        by ``centre``. It is meant for cars and rooms, whose ends matter.
    ``none``
        The whole image, which must be square.
    ``box``
        The square of `side` pixels whose top left corner lies `left` pixels from the left and `top` from the top.
    ``tile``
        Every whole tile of a grid that starts in the top left corner, row by row.

    Attributes
    ----------
    name : str
        One of `CROPS`.
    tile : int
        Side of a tile in pixels.
    stride : int
        Step from one tile to the next in pixels, across and down.
    left, top, side : int
        The box, in pixels of the upright image.
    """

    name: str = "centre"
    tile: int = 0
    stride: int = 0
    left: int = 0
    top: int = 0
    side: int = 0

    def boxes(self, width: int, height: int, where: str) -> list[Box]:
        """Squares that are cut from an upright image of ``width`` x ``height`` pixels.

        Raises
        ------
        InputError
            If the image is not square though it must be, is smaller than the box, or holds no whole tile.
        """
        if self.name == "tile":
            return self._tiles(width, height, where)
        if self.name == "none" and width != height:
            raise InputError(f"{where} is not square ({width}x{height}); use --crop centre or square images")
        if self.name == "box":
            right, bottom = self.left + self.side, self.top + self.side
            if min(self.left, self.top, self.side - 1) < 0 or right > width or bottom > height:
                raise InputError(
                    f"{where} has {width}x{height} pixels, but the box goes from {self.left},{self.top} to "
                    f"{right},{bottom}; choose a box that lies inside every image"
                )
            return [(self.left, self.top, self.side)]
        side = width if self.name == "centre-wide" else min(width, height)
        return [((width - side) // 2, (height - side) // 2, side)]

    def _tiles(self, width: int, height: int, where: str) -> list[Box]:
        tops = range(0, height - self.tile + 1, self.stride)
        lefts = range(0, width - self.tile + 1, self.stride)
        if not tops or not lefts:
            raise InputError(f"{where} holds no tile: {width}x{height} is less than {self.tile}x{self.tile}")
        return [(left, top, self.tile) for top in tops for left in lefts]


CENTRE = Crop()


def cut(
    image: NDArray[np.uint8],
    box: Box,
    resolution: int,
    resample: str,
    *,
    background: tuple[int, int, int] = WHITE,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Cut a square from an image and give it the size of a row.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    box : tuple of int
        Left, top and side of the square in pixels. It lies inside the image, except that above and below the image it
        may hold bars (``centre-wide``).
    resolution : int
        Side of the result.
    resample : str
        One of `FILTERS`. Pixels outside the square, and bars, have no influence on the pixels inside.
    background : tuple of int
        sRGB colour in [0, 255] of the bars. The image between them is as many whole rows high as is nearest to its own
        proportions, at least one.
    out : ndarray of uint8, shape (3, resolution, resolution), or None
        Where to put the result, C-contiguous, such as one image of a batch.

    Returns
    -------
    ndarray of uint8, shape (3, resolution, resolution)
        `out`, if it was given.
    """
    import cv2  # only now: it takes a tenth of a second, and most commands cut nothing

    left, top, side = box
    inside = image[max(top, 0) : top + side, left : left + side]
    planes = np.empty((3, resolution, resolution), np.uint8) if out is None else out
    rows = max(1, (2 * len(inside) * resolution + side) // (2 * side))
    if rows < resolution:
        planes[...] = np.array(background, np.uint8)[:, None, None]
    first = (resolution - rows) // 2
    cv2.split(_resized(inside, rows, resolution, resample), [plane[first : first + rows] for plane in planes])
    return planes


def _resized(image: NDArray[np.uint8], height: int, width: int, resample: str) -> NDArray[np.uint8]:
    """Resize pixels, shape (H, W, 3) -> (height, width, 3)."""
    if image.shape[:2] == (height, width):
        return image
    if resample == "area":
        return _area(image, height, width)
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), _PILLOW[resample]))


def _area(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Mean over the area that each new pixel covers; all sums are whole numbers that their floats hold exactly."""
    import cv2

    old_height, old_width = image.shape[:2]
    sums = np.empty((height, old_width, 3), np.float32)  # at most 255 * old_height, below 2**24
    for part, strip in _strips(image.reshape(old_height, -1), height, np.float32):
        sums[part] = strip.reshape(-1, old_width, 3)
    columns = cv2.transpose(sums).reshape(old_width, -1)
    means = np.empty((width, height, 3), np.uint8)
    for part, strip in _strips(columns, width, np.float64):  # at most 255 * old_height * old_width, below 2**53
        # The quotient is a tie only if it is exactly one: others lie 1 / (2 * old_height * old_width) or more away.
        np.copyto(means[part], np.rint(strip / (old_height * old_width)).reshape(-1, height, 3), casting="unsafe")
    return cast(NDArray[np.uint8], cv2.transpose(means))


def _strips(values: NDArray[Any], size: int, dtype: type) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Sums of `values`, shape (old, n), over each of `size` new rows times `size`; strip by strip, shape (size, n)."""
    old = len(values)
    weights = _weights(old, size).astype(dtype)
    for start in range(0, size, _STRIP):
        part = slice(start, min(start + _STRIP, size))
        covered = slice(part.start * old // size, -(-part.stop * old // size))
        yield part, weights[part, covered] @ values[covered].astype(dtype)


@functools.lru_cache(maxsize=64)
def _weights(old: int, new: int) -> csr_array:
    """Share of each old pixel in each new one, in units of 1 / `new` of an old pixel; shape (new, old)."""
    from scipy.sparse import csr_array  # only now, as it is slow to import

    borders = np.arange(new + 1) * old
    first, end = borders[:-1] // new, -(-borders[1:] // new)
    rows = np.repeat(np.arange(new), end - first)
    starts = np.concatenate([[0], np.cumsum(end - first)])
    columns = np.arange(starts[-1]) - np.repeat(starts[:-1] - first, end - first)
    shares = np.minimum(borders[rows + 1], (columns + 1) * new) - np.maximum(borders[rows], columns * new)
    return csr_array((shares, columns, starts), shape=(new, old))
