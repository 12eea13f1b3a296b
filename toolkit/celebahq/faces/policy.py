"""Which faces of a photograph are used, and why the others are not.

Every face that is left out has a reason, one line for the ledger. The checks come in this order; the first that fails
gives the reason:

1. the landmarks belong to a photograph of this size, lie in it, and left and right are not exchanged;
2. the square around the face has at least `FacePolicy.min_face` pixels on a side;
3. no other face passed these two checks, if `FacePolicy.which` is ``one``;
4. the square lies inside the photograph, if `FacePolicy.border` is ``skip``;
5. of the faces left it has the largest square, if `FacePolicy.which` is ``largest``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.finder import Face
from toolkit.celebahq.geometry import OrientedSquare, StyleName, oriented_square

_ROUNDING = 1e-6  # of the square; less than that outside of the photograph is nothing
_MIRRORED = -0.3  # of the distance from eyes to mouth; a face that is seen from the side comes near to 0


@dataclasses.dataclass(frozen=True)
class FacePolicy:
    """Which faces are used.

    Attributes
    ----------
    which : str
        ``largest``: the one with the largest square. ``all``: each. ``one``: photographs with several faces are left
        out; smaller ones than `min_face` do not count.
    min_face : float
        Least side of the square around the face, in pixels of the photograph.
    border : str
        ``keep``: what lies outside of the photograph is filled by mirroring. ``skip``: faces whose square does not lie
        inside of it are left out.
    """

    which: Literal["largest", "all", "one"] = "largest"
    min_face: float = 0
    border: Literal["keep", "skip"] = "keep"


def choose(
    faces: Sequence[Face], size: tuple[int, int], policy: FacePolicy, style: StyleName = "celebahq"
) -> list[tuple[Face, str | None]]:
    """Say of every face why it is left out.

    Parameters
    ----------
    faces : sequence of Face
        As a finder gives them, from left to right.
    size : tuple of int
        Width and height of the upright photograph.
    policy : FacePolicy
    style : str
        Geometry of the square: ``celebahq`` or ``ffhq``.

    Returns
    -------
    list of (Face, str or None)
        In the same order; None: the face is used.
    """
    names = [f"face {number} of {len(faces)}" if len(faces) > 1 else "its face" for number in range(1, len(faces) + 1)]
    reasons: list[str | None] = []
    squares: dict[int, OrientedSquare] = {}
    for number, face in enumerate(faces):
        square = _square(face, size, names[number], style)
        if isinstance(square, str):
            reasons.append(square)
            continue
        reasons.append(_too_small(square, policy, names[number]))
        if reasons[-1] is None:
            squares[number] = square
    if policy.which == "one" and len(squares) > 1:
        for number in squares:
            reasons[number] = f"{len(squares)} faces are in it, and --faces one wants one"
        squares = {}
    if policy.border == "skip":
        for number, square in list(squares.items()):
            outside = share_outside(square.quad, size)
            if outside > _ROUNDING:
                reasons[number] = (
                    f"{names[number]}: {_percent(outside)} of the square around it lies outside of the photograph"
                )
                del squares[number]
    if policy.which == "largest" and squares:
        largest = max(squares, key=lambda number: (squares[number].side, -number))
        for number, square in squares.items():
            if number != largest:
                reasons[number] = (
                    f"{names[number]} has {square.side:.0f} pixels a side, and --faces largest takes "
                    f"face {largest + 1} with {squares[largest].side:.0f}"
                )
    return list(zip(faces, reasons, strict=True))


def share_outside(quad: ArrayLike, size: tuple[int, int]) -> float:
    """Share of the area of a square that lies outside of a photograph.

    Parameters
    ----------
    quad : array-like, shape (4, 2)
        Its corners in order, either way round.
    size : tuple of int
        Width and height of the photograph, which covers 0 to width and 0 to height.
    """
    corners = np.asarray(quad, np.float64)
    inside = corners
    for axis, limit, sign in ((0, 0, 1), (0, size[0], -1), (1, 0, 1), (1, size[1], -1)):
        inside = _cut(inside, sign * (inside[:, axis] - limit))
    whole = _area(corners)
    return min(1.0, max(0.0, 1 - _area(inside) / whole)) if whole else 1.0


def _square(face: Face, size: tuple[int, int], which: str, style: StyleName) -> OrientedSquare | str:
    """Square around a face, or why there is none."""
    width, height = size
    if face.size is not None and face.size != size:
        made_for = f"{face.size[0]}x{face.size[1]}"
        return f"{which}: its landmarks are for a photograph of {made_for} pixels, but this has {width}x{height}"
    points = face.points
    if not ((points >= 0) & (points <= size)).all(axis=1).any():
        return f"{which}: its landmarks lie outside of the photograph of {width}x{height} pixels"
    (ax, ay), (bx, by) = points[1] - points[0], (points[3] + points[4] - points[0] - points[1]) / 2
    if ax * by - ay * bx < _MIRRORED * (bx * bx + by * by):
        return (
            f"{which}: its landmarks are mirrored; left means left in the image, and y counts from the top of the "
            "photograph"
        )
    try:
        return oriented_square(points, which, style)
    except InputError as error:
        return str(error)


def _too_small(square: OrientedSquare, policy: FacePolicy, which: str) -> str | None:
    if square.side >= policy.min_face:
        return None
    side = f"{square.side:.0f} pixels a side, less than --min-face {policy.min_face:g}"
    return f"{which}: the square around it has {side}"


def _cut(corners: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of a polygon that lies on one side of a line, by the signed distances of its corners from the line."""
    kept: list[NDArray[np.float64]] = []
    for number in range(len(corners)):
        after = (number + 1) % len(corners)
        if height[number] >= 0:
            kept.append(corners[number])
        if (height[number] >= 0) != (height[after] >= 0):
            share = height[number] / (height[number] - height[after])
            kept.append(corners[number] + share * (corners[after] - corners[number]))
    return np.array(kept).reshape(-1, 2)


def _area(corners: NDArray[np.float64]) -> float:
    x, y = corners[:, 0], corners[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.01 else "less than 1%"
