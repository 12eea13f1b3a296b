"""Loops in a cloud of points: persistent first homology of the witness complex on random landmarks.

De Silva and Carlsson: "Topological estimation using witness complexes", 2004; the relaxed witness complex with its
simplices up to triangles. For a witness w and a simplex with the vertices V the value is max(0, max_{v in V} d(w, v) -
min_{u not in V} d(w, u)); the simplex enters at the smallest value of any witness, but not before its faces.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_MOST_VALUES = 1 << 22  # values of simplices held at a time

Interval = tuple[float, float]


def loops(distances: NDArray[np.floating], largest: float) -> list[Interval]:
    """Birth and death of every loop (class of the first homology over Z/2) of the witness complex.

    Parameters
    ----------
    distances : ndarray, shape (witnesses, landmarks)
        Euclidean distances; at least five landmarks.
    largest : float
        Simplices that enter later are left out; a loop that is still alive then dies there.

    Returns
    -------
    list of (float, float)
        Intervals of positive length.
    """
    edges, triangles = _complex(distances.astype(np.float64), largest)
    return _intervals(edges, triangles, largest)


Simplices = list[tuple[float, tuple[int, ...]]]  # time of entry and vertices, sorted by both


def _complex(distances: NDArray[np.float64], largest: float) -> tuple[Simplices, Simplices]:
    """Edges and triangles that enter until `largest`."""
    count = distances.shape[1]
    order = np.argsort(distances, axis=1, kind="stable")
    near = np.take_along_axis(distances, order, axis=1)
    vertex_entry = np.maximum(0, distances - np.where(order[:, :1] == np.arange(count), near[:, 1:2], near[:, :1]))
    vertices = vertex_entry.min(axis=0)
    # A vertex of a simplex that this witness lets in lies no farther than `largest` beyond its fourth neighbour.
    reach = (near <= largest + near[:, 3:4]).sum(axis=1)
    entries = {size: np.full((count,) * size, np.inf) for size in (2, 3)}
    for candidates in np.unique(reach):
        rows = np.flatnonzero(reach == candidates)
        for size, entry in entries.items():
            places = np.array(list(itertools.combinations(range(int(candidates)), size)), np.int64).reshape(-1, size)
            step = max(1, _MOST_VALUES // max(1, len(places)))
            for start in range(0, len(rows), step):
                _enter(entry, places, near[rows[start : start + step]], order[rows[start : start + step]], largest)
    edges: Simplices = []
    at: dict[tuple[int, ...], float] = {}
    for i, j in zip(*np.nonzero(entries[2] <= largest), strict=True):
        pair = int(i), int(j)
        at[pair] = max(float(entries[2][pair]), float(vertices[i]), float(vertices[j]))
        if at[pair] <= largest:
            edges.append((at[pair], pair))
    triangles: Simplices = []
    for i, j, k in zip(*np.nonzero(entries[3] <= largest), strict=True):
        corners = int(i), int(j), int(k)
        time = max(float(entries[3][corners]), *(at.get(side, np.inf) for side in itertools.combinations(corners, 2)))
        if time <= largest:
            triangles.append((time, corners))
    return sorted(edges), sorted(triangles)


def _enter(
    entry: NDArray[np.float64],
    places: NDArray[np.int64],
    near: NDArray[np.float64],
    order: NDArray[np.int64],
    largest: float,
) -> None:
    """Lower the times of entry of all simplices at the given places among the neighbours of some witnesses."""
    size = places.shape[1]
    # The nearest landmark that is not a vertex is the first place left free.
    free = np.full(len(places), size)
    for place in range(size - 1, -1, -1):
        free[places[:, place] != place] = place
    values = np.maximum(0, near[:, places[:, -1]] - near[:, free])
    row, column = np.nonzero(values <= largest)
    corners = np.sort(order[row[:, None], places[column]], axis=1)
    np.minimum.at(entry, tuple(corners.T), values[row, column])


def _intervals(edges: Simplices, triangles: Simplices, largest: float) -> list[Interval]:
    """Pair the edges that close loops with the triangles that fill them: reduction of the boundary matrix over Z/2."""
    number = {pair: k for k, (_, pair) in enumerate(edges)}
    closing = _closing(edges)
    columns: dict[int, int] = {}  # last edge of a reduced boundary -> that boundary, as bits
    found: list[Interval] = []
    for time, corners in triangles:
        boundary = 0
        for side in itertools.combinations(corners, 2):
            boundary ^= 1 << number[side]
        while boundary and (last := boundary.bit_length() - 1) in columns:
            boundary ^= columns[last]
        if boundary:
            last = boundary.bit_length() - 1
            columns[last] = boundary
            closing.discard(last)
            if time > edges[last][0]:
                found.append((edges[last][0], time))
    found += [(edges[k][0], largest) for k in sorted(closing) if edges[k][0] < largest]
    return found


def _closing(edges: Simplices) -> set[int]:
    """Numbers of the edges that join what is joined already: each closes a loop."""
    parents: dict[int, int] = {}

    def root(vertex: int) -> int:
        while (parent := parents.get(vertex, vertex)) != vertex:
            parents[vertex] = vertex = parents.get(parent, parent)
        return vertex

    closing = set()
    for number, (_, (i, j)) in enumerate(edges):
        if (one := root(i)) == (other := root(j)):
            closing.add(number)
        else:
            parents[one] = other
    return closing
