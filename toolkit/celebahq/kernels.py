"""The inner loops of the recipe, in plain Python that numba compiles: the old arithmetic, operation by operation.

Every operation on a float is written in the order and in the precision in which the libraries of 2017 did it, and
numba keeps both (no fused multiply-add, no reordering). So a result is the same to the last bit on every processor;
what is gained is that 4 to 16 neighbours are computed by one instruction, because the loops run over pixels that do
not depend on each other. All functions run without the interpreter's lock.

numba compiles for about ten seconds, once for an installation: it keeps the machine code beside this file, where
Python keeps its own ``.pyc`` files, or in the user's cache folder if that is read-only.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

_lock = threading.Lock()


def compiled() -> SimpleNamespace:
    """All functions of this file that `_SIGNATURES` lists, compiled; ``seconds`` is what that took.

    Raises
    ------
    InputError
        If numba is not installed.
    """
    with _lock:  # one thread compiles, the others wait
        return _compiled()


@functools.cache
def _compiled() -> SimpleNamespace:
    try:
        import numba
    except ModuleNotFoundError:
        raise InputError("this needs the package numba; install it with pip install 'growgan[celebahq]'") from None
    start = time.perf_counter()

    def compile_(function: Callable[..., None], signature: str | list[str], keep: bool) -> Callable[..., None]:
        return numba.njit(signature, cache=keep, nogil=True, error_model="numpy")(function)

    functions = {}
    for function, signature in _SIGNATURES.items():
        try:
            functions[function.__name__] = compile_(function, signature, keep=True)
        except Exception:  # noqa: BLE001  what is kept cannot be written, or is damaged; it is only there to save time
            functions[function.__name__] = compile_(function, signature, keep=False)
    return SimpleNamespace(**functions, seconds=time.perf_counter() - start)


def weighted_sums(
    rows: NDArray[np.uint8] | NDArray[np.float32],
    first: NDArray[np.int64],
    weights: NDArray[np.float32],
    number: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """One direction of a resize: every new row is a weighted sum of some old ones, in single precision, cut to a byte.

    The sum starts at a half, so that cutting rounds, and takes the old rows from top to bottom.

    Parameters
    ----------
    rows : ndarray of uint8, or of float32 with whole numbers from 0 to 255, shape (old, n)
    first, number : ndarray of int64, shape (new,)
        The old rows that a new one is made of.
    weights : ndarray of float32, shape (new, most)
    out : ndarray of uint8, shape (new, n)
    """
    length = rows.shape[1]
    block = 1024  # sums that are carried at a time, so that they stay in the processor's first cache
    sums = np.empty(block, np.float32)
    for start in range(0, length, block):
        width = min(block, length - start)
        for new in range(len(first)):
            for i in range(width):
                sums[i] = np.float32(0.5)
            row, taps = first[new], number[new]
            tap = 0
            while tap + 4 <= taps:  # four at a time: the sums are fetched and put back once for all four
                w0, w1, w2, w3 = weights[new, tap], weights[new, tap + 1], weights[new, tap + 2], weights[new, tap + 3]
                r0 = rows[row + tap, start : start + width]
                r1 = rows[row + tap + 1, start : start + width]
                r2 = rows[row + tap + 2, start : start + width]
                r3 = rows[row + tap + 3, start : start + width]
                for i in range(width):
                    total = sums[i] + np.float32(r0[i]) * w0
                    total += np.float32(r1[i]) * w1
                    total += np.float32(r2[i]) * w2
                    sums[i] = total + np.float32(r3[i]) * w3
                tap += 4
            while tap < taps:
                w0 = weights[new, tap]
                r0 = rows[row + tap, start : start + width]
                for i in range(width):
                    sums[i] += np.float32(r0[i]) * w0
                tap += 1
            to = out[new, start : start + width]
            for i in range(width):
                to[i] = np.uint8(min(max(np.int32(sums[i]), np.int32(0)), np.int32(255)))


def warp_part(
    pixels: NDArray[np.uint32],
    map_x: NDArray[np.float64],
    map_y: NDArray[np.float64],
    first_column: int,
    first_row: int,
    out: NDArray[np.float32],
) -> None:
    """A part of an image that is taken from another one through a bilinear map, by bilinear interpolation.

    Parameters
    ----------
    pixels : ndarray of uint32, shape (H + 4, W + 2)
        Red, green and blue in the lowest three bytes, with a border that repeats the outermost pixels; two black rows
        below it stand for all that lies outside.
    map_x, map_y : ndarray of float64, shape (4,)
        The position in the image of column x and row y of the result is ``m0 + m1 x + m2 y + m3 x y``.
    first_column, first_row : int
        Column and row of the result with which `out` begins.
    out : ndarray of float32, shape (columns, 3, rows)
        A part of the result, transposed: whole numbers from 0 to 255, as `weighted_sums` wants each of them several
        times. Positions outside of the image give black.
    """
    height, width = np.float64(pixels.shape[0] - 4), np.float64(pixels.shape[1] - 2)
    stride = np.uint64(pixels.shape[1])
    step = np.int32(pixels.shape[1])
    outside = np.int32(pixels.shape[0] - 2) * step
    flat = pixels.reshape(-1)
    columns, _, rows = out.shape
    # One array for each kind: LLVM must prove that no two of them overlap, and gives up beyond a handful.
    places = np.empty(rows, np.int32)  # of the upper left of the four neighbours
    cells = np.empty((4, rows), np.uint32)
    shares = np.empty((2, rows), np.float64)
    x0, x1, x2, x3 = map_x
    y0, y1, y2, y3 = map_y
    margin = 0.01  # far more than a position can be off by rounding
    lines = np.empty((3, rows), np.float64)  # what all columns share: y, and its products
    for j in range(rows):
        y = np.float64(first_row + j)
        lines[0, j], lines[1, j], lines[2, j] = y, x2 * y, y2 * y
    for column in range(columns):
        x = np.float64(first_column + column)
        start_x, start_y = x0 + x1 * x, y0 + y1 * x
        slant_x, slant_y = x3 * x, y3 * x
        for j in range(rows):
            at_x = start_x + lines[1, j] + slant_x * lines[0, j]
            at_y = start_y + lines[2, j] + slant_y * lines[0, j]
            left, top = np.floor(at_x - 0.5), np.floor(at_y - 0.5)
            shares[0, j], shares[1, j] = at_x - 0.5 - left, at_y - 0.5 - top
            places[j] = (np.int32(top) + np.int32(1)) * step + np.int32(left) + np.int32(1)
        # Positions in a column lie on a straight line: if both of its ends are inside, all are.
        ends_x = start_x + lines[1, 0] + slant_x * lines[0, 0], start_x + lines[1, -1] + slant_x * lines[0, -1]
        ends_y = start_y + lines[2, 0] + slant_y * lines[0, 0], start_y + lines[2, -1] + slant_y * lines[0, -1]
        inside_x = min(ends_x) > margin and max(ends_x) < width - margin
        if not (inside_x and min(ends_y) > margin and max(ends_y) < height - margin):
            for j in range(rows):
                at_x = start_x + lines[1, j] + slant_x * lines[0, j]
                at_y = start_y + lines[2, j] + slant_y * lines[0, j]
                if not ((at_x >= 0.0) & (at_x < width) & (at_y >= 0.0) & (at_y < height)):
                    places[j] = outside
        for j in range(rows):
            at = np.uint64(np.uint32(places[j]))  # unsigned: numba checks no sign
            cells[0, j], cells[1, j] = flat[at], flat[at + np.uint64(1)]
            cells[2, j], cells[3, j] = flat[at + stride], flat[at + stride + np.uint64(1)]
        for channel in range(3):
            shift, byte = np.uint32(8 * channel), np.uint32(255)
            to = out[column, channel]
            for j in range(rows):
                a, b = np.int32((cells[0, j] >> shift) & byte), np.int32((cells[1, j] >> shift) & byte)
                c, d = np.int32((cells[2, j] >> shift) & byte), np.int32((cells[3, j] >> shift) & byte)
                upper = np.float64(a) + np.float64(b - a) * shares[0, j]
                lower = np.float64(c) + np.float64(d - c) * shares[0, j]
                to[j] = np.float32(np.int32(upper + (lower - upper) * shares[1, j]))  # cut, not rounded


def blurred_rows(
    plane: NDArray[np.float32],
    line: NDArray[np.int64],
    middles: NDArray[np.int64],
    weights: NDArray[np.float64],
    wanted_rows: NDArray[np.bool_],
    wanted_columns: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    """Correlate down the columns with a symmetric kernel, in double precision, from the outermost pair inwards.

    Parameters
    ----------
    plane : ndarray of float32, shape (H, W)
    line : ndarray of int64, shape (length,)
        The rows that a column runs through, with whatever it goes on with beyond its ends.
    middles : ndarray of int64, shape (new,)
        Where in the line the kernel lies for each new row.
    weights : ndarray of float64, shape (radius + 1,)
        From the middle outwards.
    wanted_rows, wanted_columns : ndarray of bool, shape (new,), (W,)
        A pixel of which neither is wanted may be left as it is.
    out : ndarray of float32, shape (new, W)
    """
    width = plane.shape[1]
    radius = len(weights) - 1
    block = 128
    column = np.zeros((len(line), block), np.float64)
    sums = np.empty(block, np.float64)
    for start in range(0, width, block):
        used = min(block, width - start)
        all_rows = wanted_columns[start : start + used].any()
        for place in range(len(line)):
            for i in range(used):
                column[place, i] = plane[line[place], start + i]
        for new in range(len(middles)):
            if not (all_rows or wanted_rows[new]):
                continue
            middle = middles[new]
            for i in range(block):
                sums[i] = column[middle, i] * weights[0]
            tap = radius
            while tap >= 4:  # four at a time, as above
                w0, w1, w2, w3 = weights[tap], weights[tap - 1], weights[tap - 2], weights[tap - 3]
                a0, b0 = column[middle - tap], column[middle + tap]
                a1, b1 = column[middle - tap + 1], column[middle + tap - 1]
                a2, b2 = column[middle - tap + 2], column[middle + tap - 2]
                a3, b3 = column[middle - tap + 3], column[middle + tap - 3]
                for i in range(block):
                    total = sums[i] + (a0[i] + b0[i]) * w0
                    total += (a1[i] + b1[i]) * w1
                    total += (a2[i] + b2[i]) * w2
                    sums[i] = total + (a3[i] + b3[i]) * w3
                tap -= 4
            while tap >= 1:
                w0 = weights[tap]
                a0, b0 = column[middle - tap], column[middle + tap]
                for i in range(block):
                    sums[i] += (a0[i] + b0[i]) * w0
                tap -= 1
            for i in range(used):
                out[new, start + i] = np.float32(sums[i])


def blend_blurred(
    plane: NDArray[np.float32],
    blurred: NDArray[np.float32],
    plane_rows: NDArray[np.int64],
    plane_columns: NDArray[np.int64],
    smooth_rows: NDArray[np.int64],
    smooth_columns: NDArray[np.int64],
    row_shares: NDArray[np.float32],
    column_shares: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Extend a plane and mix the blurred one into it: ``p + (b - p) share``, in single precision.

    Parameters
    ----------
    plane, blurred : ndarray of float32, shape (h, w), (h', w')
    plane_rows, plane_columns, smooth_rows, smooth_columns : ndarray of int64, shape (H,), (W,), (H,), (W,)
        Which row and column of each gives a row and a column of the result.
    row_shares, column_shares : ndarray of float32, shape (H,), (W,)
        Share of the blurred plane; the greater of both counts.
    out : ndarray of float32, shape (H, W)
    """
    for y in range(out.shape[0]):
        values, smooth = plane[plane_rows[y]], blurred[smooth_rows[y]]
        for x in range(out.shape[1]):
            value = values[plane_columns[x]]
            share = max(row_shares[y], column_shares[x])
            out[y, x] = value + (smooth[smooth_columns[x]] - value) * share


def blend_colour(
    plane: NDArray[np.float32],
    colour: np.float32,
    row_shares: NDArray[np.float32],
    column_shares: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """Mix one value into a plane as `blend_blurred` does, and round half to even; all of shape (H, W)."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            value = plane[y, x]
            value = value + (colour - value) * max(row_shares[y], column_shares[x])
            out[y, x] = np.uint8(np.int32(min(max(np.rint(value), np.float32(0)), np.float32(255))))


_U8, _U32, _F32 = "uint8[:,::1]", "uint32[:,::1]", "float32[:,::1]"
_DOUBLES, _SINGLES, _INDICES, _FLAGS = "float64[::1]", "float32[::1]", "int64[::1]", "boolean[::1]"
_SIGNATURES: dict[Callable[..., None], str | list[str]] = {
    weighted_sums: [f"void({rows}, {_INDICES}, {_F32}, {_INDICES}, {_U8})" for rows in (_U8, _F32)],
    warp_part: f"void({_U32}, {_DOUBLES}, {_DOUBLES}, int64, int64, float32[:,:,::1])",
    blurred_rows: f"void({_F32}, {_INDICES}, {_INDICES}, {_DOUBLES}, {_FLAGS}, {_FLAGS}, {_F32})",
    blend_blurred: f"void({_F32}, {_F32}, {', '.join([_INDICES] * 4)}, {_SINGLES}, {_SINGLES}, {_F32})",
    blend_colour: f"void({_F32}, float32, {_SINGLES}, {_SINGLES}, {_U8})",
}
