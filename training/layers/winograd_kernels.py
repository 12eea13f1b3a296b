"""The transforms of `training.layers.winograd`, in plain Python that numba compiles.

Transforms are those for the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray 2016, section 4.3). Channels of a pixel
are beside each other in memory, so that 8 or 16 of them go through one instruction; a line of tiles is read and written
in long runs, which is what memory is fast at. Functions run without the interpreter's lock, on as many threads as torch
uses. numba compiles for some seconds, once for an installation: it keeps the machine code beside this file.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LANES = 16

Array = NDArray[np.float32]
_Six = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
_TWO, _FOUR, _FIVE, _EIGHT = (np.float32(number) for number in (2, 4, 5, 8))
_scratch = threading.local()
_QUARTER, _SIXTH, _TWELFTH, _TWENTY_FOURTH = (np.float32(1 / number) for number in (4, 6, 12, 24))


@functools.cache
def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def planes(name: str, rows: int, columns: int) -> Tensor:
    """Scratch memory for 36 matrices, (36, rows, columns), kept for the next caller who says the same name.

    Fresh memory of this size costs more than what is computed in it. The matrices do not begin at multiples of a power
    of two, for then they would all compete for the same few lines of the cache.
    """
    length = rows * columns + LANES
    kept: dict[str, Tensor] = _scratch.__dict__
    if name not in kept or kept[name].numel() < 36 * length:
        with torch.inference_mode(False):  # or training could not write into what sampling has made
            kept[name] = torch.empty(36 * length)
    matrices: Tensor = kept[name][: 36 * length].view(36, length)[:, : rows * columns].unflatten(1, (rows, columns))
    return matrices


def read_input(x: Tensor, out: Tensor, first: int) -> None:
    """B^T d B of the tiles from number `first` on: (N, C, H, W), channels last -> `planes` of (tiles, C)."""
    _run("read_input", out.shape[1], _pixels(x), _flat(out), first)


def read_gradient(y: Tensor, out: Tensor, first: int) -> None:
    """A g A^T of the tiles from number `first` on: (N, C, H, W), channels last -> `planes` of (tiles, C)."""
    _run("read_gradient", out.shape[1], _pixels(y), _flat(out), first)


def write_result(products: Tensor, shift: Tensor, y: Tensor, first: int) -> None:
    """A^T m A + shift into the tiles of `y`, (N, C, H, W), channels last: `planes` of (tiles, C) and (C,)."""
    _run("write_result", products.shape[1], _flat(products), shift.numpy(), _pixels(y), first)


def read_weight(weight: Tensor, scale: float, mirrored: bool, out: Tensor) -> None:
    """G (scale w) G^T of the kernel or of its mirror image: (out, in, 3, 3) -> `planes` of (out, in)."""
    kernels = weight.detach().contiguous().numpy()
    _run("read_weight", len(weight), kernels, _flat(out), np.float32(scale), mirrored)


def write_weight(sums: Tensor, scale: float, weight: Tensor) -> None:
    """Scale times G^T s G: `planes` of (out, in) -> (out, in, 3, 3)."""
    _run("write_weight", len(weight), _flat(sums), weight.numpy(), np.float32(scale))


def _flat(matrices: Tensor) -> Array:
    """All of the memory of `planes`: what numba knows to be contiguous is faster."""
    array: Array = matrices.as_strided((36, matrices.stride(0)), (matrices.stride(0), 1)).numpy()
    return array


def _pixels(x: Tensor) -> Array:
    """(N, H, W, C) of a tensor in channels-last format."""
    array: Array = x.detach().permute(0, 2, 3, 1).numpy()
    return array


def _run(name: str, count: int, *arguments: Any) -> None:
    """Call a kernel for 0 to `count`, in as many parts as torch has threads."""
    kernel = _compiled()[name]
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        kernel(*arguments, 0, count)
        return
    bounds = [count * k // threads for k in range(threads + 1)]
    for future in [_pool(threads).submit(kernel, *arguments, *part) for part in itertools.pairwise(bounds)]:
        future.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="winograd")


@functools.cache
def _compiled() -> dict[str, Callable[..., None]]:
    import numba  # takes a second, and is not needed on GPUs

    njit: Any = numba.njit  # its annotations do not know all of its options
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    lines = (_input_line, _gradient_line, _output_line, _weight_line, _weight_gradient_line)
    inlined = {f.__name__: njit(**options)(f) for f in lines}
    globals().update(inlined)
    pixels, planes = "float32[:,:,:,::1]", "float32[:,::1]"
    signatures = {
        _read_input: f"({pixels}, {planes}, int64, int64, int64)",
        _read_gradient: f"({pixels}, {planes}, int64, int64, int64)",
        _write_result: f"({planes}, float32[::1], {pixels}, int64, int64, int64)",
        _read_weight: f"({pixels}, {planes}, float32, boolean, int64, int64)",
        _write_weight: f"({planes}, {pixels}, float32, int64, int64)",
    }
    return {f.__name__[1:]: njit(s, cache=True, **options)(f) for f, s in signatures.items()}


def _input_line(a: np.float32, b: np.float32, c: np.float32, d: np.float32, e: np.float32, f: np.float32) -> _Six:
    """B^T times six numbers."""
    p, q, r, s = e - _FOUR * c, d - _FOUR * b, e - c, _TWO * (d - b)
    return _FOUR * a - _FIVE * c + e, p + q, p - q, r + s, r - s, _FOUR * b - _FIVE * d + f


def _gradient_line(a: np.float32, b: np.float32, c: np.float32, d: np.float32) -> _Six:
    """A times four numbers."""
    p, q, r, s = a + c, b + d, a + _FOUR * c, _TWO * b + _EIGHT * d
    return a, p + q, p - q, r + s, r - s, d


def _output_line(
    a: np.float32, b: np.float32, c: np.float32, d: np.float32, e: np.float32, f: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """A^T times six numbers."""
    p, q, r, s = b + c, b - c, d + e, d - e
    return a + p + r, q + _TWO * s, p + _FOUR * r, q + _EIGHT * s + f


def _weight_line(a: np.float32, b: np.float32, c: np.float32) -> _Six:
    """G times three numbers."""
    p, q = _SIXTH * (a + c), _SIXTH * b
    r, s = _TWENTY_FOURTH * a + _SIXTH * c, _TWELFTH * b
    return _QUARTER * a, -p - q, q - p, r + s, r - s, c


def _weight_gradient_line(
    a: np.float32, b: np.float32, c: np.float32, d: np.float32, e: np.float32, f: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """G^T times six numbers."""
    p, q, r, s = _SIXTH * (b + c), _SIXTH * (c - b), d + e, _TWELFTH * (d - e)
    return _QUARTER * a - p + _TWENTY_FOURTH * r, q + s, _SIXTH * r - p + f


def _read_input(x: Array, out: Array, offset: int, first: int, last: int) -> None:
    height, width, channels = x.shape[1:]
    across, down = width // 4, height // 4
    d = np.zeros((6, 6, channels), np.float32)
    e = np.zeros((6, 6, channels), np.float32)
    for tile in range(first, last):
        image, place = divmod(tile + offset, across * down)
        top, left = 4 * (place // across) - 1, 4 * (place % across) - 1
        for i in range(6):
            for j in range(6):
                if 0 <= top + i < height and 0 <= left + j < width:
                    for k in range(channels):
                        d[i, j, k] = x[image, top + i, left + j, k]
                else:
                    for k in range(channels):
                        d[i, j, k] = 0
        for j in range(6):
            for k in range(channels):
                e[0, j, k], e[1, j, k], e[2, j, k], e[3, j, k], e[4, j, k], e[5, j, k] = _input_line(
                    d[0, j, k], d[1, j, k], d[2, j, k], d[3, j, k], d[4, j, k], d[5, j, k]
                )
        for i in range(6):
            for k in range(channels):
                at = tile * channels + k
                p, q, r, s, t, u = _input_line(e[i, 0, k], e[i, 1, k], e[i, 2, k], e[i, 3, k], e[i, 4, k], e[i, 5, k])
                out[6 * i, at], out[6 * i + 1, at], out[6 * i + 2, at] = p, q, r
                out[6 * i + 3, at], out[6 * i + 4, at], out[6 * i + 5, at] = s, t, u


def _read_gradient(y: Array, out: Array, offset: int, first: int, last: int) -> None:
    height, width, channels = y.shape[1:]
    across, down = width // 4, height // 4
    e = np.zeros((6, 4, channels), np.float32)
    for tile in range(first, last):
        image, place = divmod(tile + offset, across * down)
        top, left = 4 * (place // across), 4 * (place % across)
        for j in range(4):
            for k in range(channels):
                e[0, j, k], e[1, j, k], e[2, j, k], e[3, j, k], e[4, j, k], e[5, j, k] = _gradient_line(
                    y[image, top, left + j, k],
                    y[image, top + 1, left + j, k],
                    y[image, top + 2, left + j, k],
                    y[image, top + 3, left + j, k],
                )
        for i in range(6):
            for k in range(channels):
                at = tile * channels + k
                p, q, r, s, t, u = _gradient_line(e[i, 0, k], e[i, 1, k], e[i, 2, k], e[i, 3, k])
                out[6 * i, at], out[6 * i + 1, at], out[6 * i + 2, at] = p, q, r
                out[6 * i + 3, at], out[6 * i + 4, at], out[6 * i + 5, at] = s, t, u


def _write_result(products: Array, shift: Array, y: Array, offset: int, first: int, last: int) -> None:
    height, width, channels = y.shape[1:]
    across, down = width // 4, height // 4
    e = np.zeros((4, 6, channels), np.float32)
    for tile in range(first, last):
        image, place = divmod(tile + offset, across * down)
        top, left = 4 * (place // across), 4 * (place % across)
        for j in range(6):
            for k in range(channels):
                at = tile * channels + k
                e[0, j, k], e[1, j, k], e[2, j, k], e[3, j, k] = _output_line(
                    products[j, at],
                    products[6 + j, at],
                    products[12 + j, at],
                    products[18 + j, at],
                    products[24 + j, at],
                    products[30 + j, at],
                )
        for i in range(4):
            for k in range(channels):
                p, q, r, s = _output_line(e[i, 0, k], e[i, 1, k], e[i, 2, k], e[i, 3, k], e[i, 4, k], e[i, 5, k])
                y[image, top + i, left, k], y[image, top + i, left + 1, k] = p + shift[k], q + shift[k]
                y[image, top + i, left + 2, k], y[image, top + i, left + 3, k] = r + shift[k], s + shift[k]


def _read_weight(weight: Array, out: Array, scale: np.float32, mirrored: bool, first: int, last: int) -> None:
    channels = weight.shape[1]
    w = np.zeros((3, 3, channels), np.float32)
    e = np.zeros((6, 3, channels), np.float32)
    for row in range(first, last):
        for k in range(channels):
            for i in range(3):
                for j in range(3):
                    if mirrored:
                        w[2 - i, 2 - j, k] = scale * weight[row, k, i, j]
                    else:
                        w[i, j, k] = scale * weight[row, k, i, j]
        for j in range(3):
            for k in range(channels):
                e[0, j, k], e[1, j, k], e[2, j, k], e[3, j, k], e[4, j, k], e[5, j, k] = _weight_line(
                    w[0, j, k], w[1, j, k], w[2, j, k]
                )
        for i in range(6):
            for k in range(channels):
                at = row * channels + k
                p, q, r, s, t, u = _weight_line(e[i, 0, k], e[i, 1, k], e[i, 2, k])
                out[6 * i, at], out[6 * i + 1, at], out[6 * i + 2, at] = p, q, r
                out[6 * i + 3, at], out[6 * i + 4, at], out[6 * i + 5, at] = s, t, u


def _write_weight(sums: Array, weight: Array, scale: np.float32, first: int, last: int) -> None:
    channels = weight.shape[1]
    e = np.zeros((3, 6, channels), np.float32)
    for row in range(first, last):
        for j in range(6):
            for k in range(channels):
                at = row * channels + k
                e[0, j, k], e[1, j, k], e[2, j, k] = _weight_gradient_line(
                    sums[j, at], sums[6 + j, at], sums[12 + j, at], sums[18 + j, at], sums[24 + j, at], sums[30 + j, at]
                )
        for i in range(3):
            for k in range(channels):
                p, q, r = _weight_gradient_line(e[i, 0, k], e[i, 1, k], e[i, 2, k], e[i, 3, k], e[i, 4, k], e[i, 5, k])
                weight[row, k, i, 0], weight[row, k, i, 1], weight[row, k, i, 2] = scale * p, scale * q, scale * r
