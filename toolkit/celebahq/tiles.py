"""Images in parts: a network sees a tile at a time, so the memory it takes does not depend on the image.

Tiles overlap. What a network makes along the edges of a tile depends on what lies beyond them, so it is thrown away, as
far as the network looks (`Network.margin`), and across the rest of the overlap a tile fades into its neighbour. So a
network that looks no farther than that gives, up to the order of a sum, the picture that it would give of the whole
image. The edges of the image itself are left to the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

if TYPE_CHECKING:
    from toolkit.celebahq.restoration import Network

Span = tuple[int, int, NDArray[np.float32]]  # start and end in the image, weights of the network's pixels


def in_tiles(network: Network, pixels: NDArray[np.uint8], *, tile: int, overlap: int, where: str) -> NDArray[np.uint8]:
    """Apply a network to an image, tile by tile.

    Parameters
    ----------
    network : Network
    pixels : ndarray of uint8, shape (H, W, 3)
    tile : int
        Height and width of a tile, unless ``network.size`` fixes them. An image that is smaller is one tile.
    overlap : int
        What two tiles have in common at least, from 1 to less than a tile. If it is not more than twice
        ``network.margin``, cuts may show.
    where : str
        The network's file, for error messages.

    Returns
    -------
    ndarray of uint8, shape (scale * H, scale * W, 3)

    Raises
    ------
    InputError
        If the network gives an array of another shape, or numbers that are not finite.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"need uint8 pixels of shape (H, W, 3), got {pixels.dtype} {pixels.shape}")
    shape = tuple(side * network.scale for side in pixels.shape[:2])
    least = network.size or (network.multiple, network.multiple)
    pixels = _filled_up(pixels, least, network.multiple)
    height, width = pixels.shape[:2]
    scale, step = network.scale, network.multiple
    tall, wide = network.size or (-(-tile // step) * step,) * 2
    across, down = spans(width, wide, overlap, network), spans(height, tall, overlap, network)
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    # Of the rows that a row of tiles touches, the last ones wait for the next row of tiles.
    waiting = np.zeros((0, width * scale, 3), np.float32)
    for number, (top, bottom, row_weights) in enumerate(down):
        band = np.zeros(((bottom - top) * scale, width * scale, 3), np.float32)
        band[: len(waiting)] = waiting
        for left, right, weights in across:
            picture = _picture(network, pixels[top:bottom, left:right], where)
            band[:, left * scale : right * scale] += picture * (row_weights[:, None] * weights)[:, :, None]
        first = top * scale
        last = down[number + 1][0] * scale if number + 1 < len(down) else height * scale
        result[first:last] = np.rint(np.clip(band[: last - first], 0, 1) * 255)
        waiting = band[last - first :]
    return np.ascontiguousarray(result[: shape[0], : shape[1]])


def spans(length: int, tile: int, overlap: int, network: Network) -> list[Span]:
    """Tiles along one axis of an image, from its start to its end, and how much each pixel of them counts.

    All are `tile` long, the last one lies farther back than the others would let it, and the weights of a pixel add up
    to 1.
    """
    if length <= tile:
        return [(0, length, np.ones(length * network.scale, np.float32))]
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    cut = min(network.margin, (overlap - 1) // 2)
    margin, fade = cut * network.scale, (overlap - 2 * cut) * network.scale
    size = tile * network.scale
    places = np.arange(size) + 0.5
    weights = np.ones((len(starts), size))
    for number, start in enumerate(starts):
        if start > 0:
            weights[number] *= np.clip((places - margin) / fade, 0, 1)
        if start + tile < length:
            weights[number] *= np.clip((size - places - margin) / fade, 0, 1)
    total = np.zeros(length * network.scale)
    for start, row in zip(starts, weights, strict=True):
        total[start * network.scale :][:size] += row
    return [
        (start, start + tile, (row / total[start * network.scale :][:size]).astype(np.float32))
        for start, row in zip(starts, weights, strict=True)
    ]


def _filled_up(pixels: NDArray[np.uint8], least: tuple[int, int], multiple: int) -> NDArray[np.uint8]:
    """Image made as large as a network wants by repeating its last pixels; before it is cut, so that all cuts agree."""
    wanted = [max(low, -(-side // multiple) * multiple) for low, side in zip(least, pixels.shape, strict=False)]
    missing = [(0, new - old) for new, old in zip(wanted, pixels.shape, strict=False)]
    return np.pad(pixels, [*missing, (0, 0)], mode="edge")


def _picture(network: Network, part: NDArray[np.uint8], where: str) -> NDArray[np.float32]:
    """What a network makes of a part of an image, checked."""
    picture = network(part.astype(np.float32) / np.float32(255))
    expected = (part.shape[0] * network.scale, part.shape[1] * network.scale, 3)
    if picture.shape != expected:
        raise InputError(
            f"{where} makes {picture.shape} of an image of {part.shape}, not {expected}; use another network"
        )
    if not np.isfinite(picture).all():
        raise InputError(
            f"{where} makes numbers of an image that are not finite; the file is damaged, or its network does not work "
            "in single precision"
        )
    return picture
