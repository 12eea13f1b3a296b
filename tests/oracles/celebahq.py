"""The recipe of CelebA-HQ, written a second time from its description: slow, one operation after the other.

The arithmetic is that of Pillow 3.1.1, NumPy 1.13.1 and SciPy 0.19.1, as read from their sources. Nothing here comes
from `toolkit.celebahq`, whose geometry is derived once more, too. `colours_of_libjpeg_8d` has ideal cosines.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

_single = np.float32


def lanczos_weight(x):
    """x: float32 -> float32."""

    def sinc(x):
        if x == 0:
            return _single(1)
        x = _single(float(x) * math.pi)
        return _single(math.sin(float(x)) / float(x))

    return sinc(x) * sinc(x / _single(3)) if -3 <= x < 3 else _single(0)


def lanczos_weights(old, new):
    """For each of the new pixels: the first old one, and the weights from there on, float32."""
    scale = _single(old) / _single(new)
    stretch = max(scale, _single(1))
    support = _single(3) * stretch
    inverse = _single(1.0 / float(stretch))
    for column in range(new):
        centre = _single((column + 0.5) * float(scale))
        first = max(math.floor(centre - support), 0)
        last = min(math.ceil(centre + support), old)
        weights = []
        total = _single(0)
        for x in range(first, last):
            argument = _single((float(_single(x) - centre) + 0.5) * float(inverse))
            weights.append(lanczos_weight(argument) * inverse)
            total = total + weights[-1]
        yield first, [weight / total for weight in weights]


def resize_across(image, new):
    """uint8 (H, W, C) -> (H, new, C)."""
    result = np.empty((image.shape[0], new, image.shape[2]), np.uint8)
    for column, (first, weights) in enumerate(lanczos_weights(image.shape[1], new)):
        sums = np.full((image.shape[0], image.shape[2]), 0.5, _single)
        for x, weight in enumerate(weights, first):
            sums = sums + image[:, x].astype(_single) * weight
        result[:, column] = np.clip(sums.astype(np.int32), 0, 255)
    return result


def resize(image, width, height):
    if image.shape[:2] == (height, width):
        return image
    across = resize_across(image, width)
    return resize_across(across.transpose(1, 0, 2), height).transpose(1, 0, 2)


def transform(image, quad, side):
    """QUAD with BILINEAR; image uint8 (H, W, 3), quad float32 (4, 2) -> uint8 (side, side, 3)."""
    height, width = image.shape[:2]
    nw, sw, se, ne = quad
    x, y = np.meshgrid(np.arange(side, dtype=np.float64), np.arange(side, dtype=np.float64))
    step = 1.0 / side
    at = []
    for axis in (0, 1):
        a0, a1 = float(nw[axis]), float(ne[axis] - nw[axis]) * step
        a2, a3 = float(sw[axis] - nw[axis]) * step, float(se[axis] - sw[axis] - ne[axis] + nw[axis]) * step * step
        at.append(a0 + a1 * x + a2 * y + a3 * x * y)
    inside = (at[0] >= 0) & (at[0] < width) & (at[1] >= 0) & (at[1] < height)
    at_x, at_y = (np.where(inside, position, 0.5) - 0.5 for position in at)
    left, top = np.floor(at_x), np.floor(at_y)
    dx, dy = (at_x - left)[..., None], (at_y - top)[..., None]
    x0, x1 = (np.clip(left + k, 0, width - 1).astype(int) for k in (0, 1))
    y0, y1 = (np.clip(top + k, 0, height - 1).astype(int) for k in (0, 1))
    pixels = image.astype(np.float64)
    upper = pixels[y0, x0] + (pixels[y0, x1] - pixels[y0, x0]) * dx
    lower = pixels[y1, x0] + (pixels[y1, x1] - pixels[y1, x0]) * dx
    return np.where(inside[..., None], np.trunc(upper + (lower - upper) * dy), 0).astype(np.uint8)


def pad(image, pads, deviation):
    """uint8 (H, W, 3), pads (left, above, right, below)."""
    left, above, right, below = pads
    img = np.pad(image.astype(_single), ((above, below), (left, right), (0, 0)), "reflect")
    height, width, _ = img.shape
    y, x, _ = np.mgrid[:height, :width, :1].astype(_single)
    mask = _single(1) - np.minimum(
        np.minimum(x / _single(left), y / _single(above)),
        np.minimum((width - 1 - x) / _single(right), (height - 1 - y) / _single(below)),
    )
    radius = int(4.0 * deviation + 0.5)
    weights = [math.exp(-0.5 * float(k * k) / (deviation * deviation)) for k in range(radius + 1)]
    total = 1.0
    for weight in weights[1:]:
        total += 2.0 * weight
    kernel = [weights[abs(k)] / total for k in range(-radius, radius + 1)]
    blurred = img
    for axis in (0, 1):  # the C code below this function is the one of 2017
        blurred = scipy.ndimage.correlate1d(blurred, kernel, axis, output=_single, mode="reflect")
    img = img + (blurred - img) * np.clip(mask * _single(3) + _single(1), _single(0), _single(1))
    img = img + (np.median(img, axis=(0, 1)) - img) * np.clip(mask, _single(0), _single(1))
    assert img.dtype == np.float32
    return np.clip(np.round(img), 0, 255).astype(np.uint8)


def portrait(image, landmarks, resolution, supersampling=4):
    """uint8 (H, W, 3), five points -> uint8 (resolution, resolution, 3), and the steps that were done."""
    points = np.asarray(landmarks, _single)
    half = _single(0.5)
    eyes, mouth = (points[0] + points[1]) * half + half, (points[3] + points[4]) * half + half
    eye_to_eye, eye_to_mouth = points[1] - points[0], mouth - eyes
    x = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    x = x / np.hypot(*x)
    x = x * _single(max(float(np.hypot(*eye_to_eye)) * 2.0, float(np.hypot(*eye_to_mouth)) * 1.8))
    y = np.array([-x[1], x[0]])
    c = eyes + eye_to_mouth * _single(0.1)
    quad = np.stack([c - x - y, c - x + y, c + x + y, c + x - y])
    zoom = resolution / (float(np.hypot(*x)) * 2)
    steps = []

    shrink = int(np.floor(0.5 / zoom))
    if shrink > 1:
        steps.append("shrink")
        image = resize(image, round(image.shape[1] / shrink), round(image.shape[0] / shrink))
        quad = quad / _single(shrink)
        zoom *= shrink

    border = max(round(resolution * 0.1 / zoom), 3)
    low, high = np.floor(quad.min(0)).astype(int) - border, np.ceil(quad.max(0)).astype(int) + border
    low, high = np.maximum(low, 0), np.minimum(high, image.shape[1::-1])
    if (high - low < image.shape[1::-1]).any():
        steps.append("crop")
        image = image[low[1] : high[1], low[0] : high[0]]
        quad = (quad - low.astype(np.float64)).astype(_single)

    superres = int(np.exp2(np.ceil(np.log2(zoom))))
    if superres > 1:
        steps.append("lanczos")
        image = resize(image, image.shape[1] * superres, image.shape[0] * superres)
        quad = quad * _single(superres)
        zoom /= superres

    before = np.maximum(border - np.floor(quad.min(0)).astype(int), 0)
    after = np.maximum(np.ceil(quad.max(0)).astype(int) - image.shape[1::-1] + border, 0)
    if max(*before, *after) > border - 4:
        steps.append("pad")
        pads = np.maximum([*before, *after], round(resolution * 0.3 / zoom))
        image = pad(image, pads.tolist(), resolution * 0.02 / zoom)
        quad = (quad + pads[:2].astype(np.float64)).astype(_single)

    steps.append("transform")
    image = transform(image, quad + half, resolution * supersampling)
    return resize(image, resolution, resolution), steps


def colours_of_libjpeg_8d(luma, blue, red, tables, sampling):
    """RGB pixels from the quantised coefficients of a JPEG; the whole of its blocks, uint8 (H, W, 3).

    luma, blue, red: (rows, columns, 8, 8), frequency down, frequency across; tables: three of (8, 8); sampling: how
    many rows and columns share a colour. The colours are made at that many times the size of a block by the inverse
    DCT itself, evaluated at so many points more.
    """

    def basis(points):
        across = (2 * np.arange(points) + 1) * np.pi / (2 * points)
        return np.cos(np.arange(8)[:, None] * across) * np.where(np.arange(8) == 0, np.sqrt(0.5), 1)[:, None] / 2

    def plane(coefficients, table, down, across):
        blocks = np.einsum("rcuv,uy,vx->rycx", coefficients * table.astype(float), basis(down), basis(across))
        rows, _, columns, _ = blocks.shape
        return np.clip(np.round(blocks.reshape(rows * down, columns * across) + 128), 0, 255)

    y = plane(luma, tables[0], 8, 8)
    size = 8 * sampling[0], 8 * sampling[1]
    cb, cr = (plane(c, t, *size)[: y.shape[0], : y.shape[1]] - 128 for c, t in ((blue, tables[1]), (red, tables[2])))
    colours = np.stack([y + 1.402 * cr, y - 0.344136286 * cb - 0.714136286 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.round(colours), 0, 255).astype(np.uint8)
