"""Nearest neighbours in feature space, exactly, in bounded memory: radii of balls, and which points lie in which balls.

Distances come from one matrix product a block, in float32, which is fast but wrong in the last digits. So every
distance that could decide something - the nearest few of a point, or one that falls on the rim of a ball - is computed
again in float64 from the difference of the two points. The results do not depend on block sizes, threads or BLAS.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from metrics.workers import parallel_map

_BLOCK = 2048  # rows and columns of a block of distances: 16 MiB
_ROUNDING = 1e-5  # bound of the float32 errors of a squared distance, relative to the squared norms of its points
_CANDIDATES = 8  # so many more than asked for are looked at again


def _squared(x: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.einsum("ij,ij->i", x, x)
    return norms


def _centred(*sets: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The sets moved so that the first has mean 0: differences stay, and cancellation costs fewer digits."""
    mean = sets[0].mean(axis=0, dtype=np.float64)
    return [(points - mean).astype(np.float32) for points in sets]


def _exact(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distances of the pairs (x[k], y[k])."""
    difference = x.astype(np.float64) - y
    found: NDArray[np.float64] = np.einsum("...j,...j->...", difference, difference)
    return found


def radii(points: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Distance from every point to its k-th nearest neighbour among the others.

    Parameters
    ----------
    points : ndarray of float32, shape (n, d)
        n greater than k.
    k : int
        Points equal to another one are neighbours at distance 0.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    (moved,) = _centred(points)
    norms = _squared(moved)
    keep = min(k + 1 + _CANDIDATES, len(points))

    def of_block(start: int) -> NDArray[np.float64]:
        rows = np.arange(start, min(start + _BLOCK, len(points)))
        nearest = np.full((len(rows), keep), np.inf, np.float32)
        index = np.zeros((len(rows), keep), np.int64)
        for first in range(0, len(points), _BLOCK):
            part = slice(first, first + _BLOCK)
            squared = norms[rows, None] + norms[part] - 2 * (moved[rows] @ moved[part].T)
            columns = np.arange(first, first + squared.shape[1])
            squared[rows[:, None] == columns] = np.inf  # not its own neighbour
            both = np.concatenate((nearest, squared), axis=1)
            which = np.argpartition(both, keep - 1, axis=1)[:, :keep]
            where = np.concatenate((index, np.broadcast_to(columns, squared.shape)), axis=1)
            nearest = np.take_along_axis(both, which, axis=1)
            index = np.take_along_axis(where, which, axis=1)
        exact = _exact(points[rows, None], points[index])
        exact[np.isinf(nearest)] = np.inf
        return np.asarray(np.sort(exact, axis=1)[:, k - 1])

    return np.asarray(np.sqrt(np.concatenate(parallel_map(of_block, range(0, len(points), _BLOCK)))))


@dataclasses.dataclass(frozen=True)
class Membership:
    """Which points lie in which balls, counted.

    Attributes
    ----------
    balls_of_point : ndarray of int64, shape (number of points,)
        Balls that hold the point.
    points_of_ball : ndarray of int64, shape (number of balls,)
        Points that the ball holds.
    """

    balls_of_point: NDArray[np.int64]
    points_of_ball: NDArray[np.int64]


def membership(
    points: NDArray[np.float32], centres: NDArray[np.float32], radius: NDArray[np.float64], *, rim: bool
) -> Membership:
    """Count which points lie in which balls.

    Parameters
    ----------
    points : ndarray of float32, shape (n, d)
    centres : ndarray of float32, shape (m, d)
    radius : ndarray of float64, shape (m,)
    rim : bool
        True: a point on the rim of a ball lies in it (distance <= radius); False: it does not (distance < radius).
    """
    centres_moved, points_moved = _centred(centres, points)
    point_norms, centre_norms = _squared(points_moved), _squared(centres_moved)
    squared_radius = np.square(radius)

    def of_block(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = slice(start, start + _BLOCK)
        balls = np.zeros(len(points[rows]), np.int64)
        held = np.zeros(len(centres), np.int64)
        for first in range(0, len(centres), _BLOCK):
            part = slice(first, first + _BLOCK)
            sums = point_norms[rows, None] + centre_norms[part]
            gap = sums - 2 * (points_moved[rows] @ centres_moved[part].T) - squared_radius[part].astype(np.float32)
            inside = gap < 0
            unsure_row, unsure_column = np.nonzero(np.abs(gap) <= _ROUNDING * (sums + squared_radius[part]))
            for some in range(0, len(unsure_row), _BLOCK):
                row, column = unsure_row[some : some + _BLOCK], unsure_column[some : some + _BLOCK]
                # Compared as distances: the radius is one, and its square may have been rounded.
                distance = np.sqrt(_exact(points[start + row], centres[first + column]))
                limit = radius[first + column]
                inside[row, column] = distance <= limit if rim else distance < limit
            balls += inside.sum(axis=1)
            held[part] += inside.sum(axis=0)
        return balls, held

    parts = parallel_map(of_block, range(0, len(points), _BLOCK))
    return Membership(np.concatenate([balls for balls, _ in parts]), np.sum([held for _, held in parts], axis=0))
