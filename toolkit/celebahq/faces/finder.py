"""A face in a photograph, and what every finder of faces can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

Pixels = Callable[[], NDArray[np.uint8]]

NO_FACE = "no face was found in it"


class NoLandmarks(InputError):  # noqa: N818  it says what there is not
    """A landmark file says nothing of a photograph."""


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One face.

    Attributes
    ----------
    points : ndarray of float64, shape (5, 2)
        Left eye, right eye, tip of the nose, left and right corner of the mouth, in pixels (x, y) of the upright
        photograph. Left is left in the image, not of the person.
    confidence : float or None
        Of a detector, 0 to 1 or a score of its own; None: a file says so.
    size : tuple of int or None
        Width and height of the photograph for which the points were made, if a file says so.
    """

    points: NDArray[np.float64]
    confidence: float | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        points = np.array(self.points, np.float64)
        if points.shape != (5, 2):
            raise ValueError(f"a face of shape {points.shape}, not (5, 2)")
        points.flags.writeable = False
        object.__setattr__(self, "points", points)


class FaceFinder(Protocol):
    """Finds the faces of a photograph: by looking at it, or by its name in a landmark file.

    Safe to use from several threads. A pickle holds the path or the detector's name alone.

    Attributes
    ----------
    name : str
        The detector or the file format.
    stamp : str
        Text that changes when the landmark file or the model does.
    details : dict of str to str
        What a ledger says of it: file or model, its SHA-256, versions.
    detects : bool
        True: `find` looks at the pixels. False: it only looks the name up, which costs nothing.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def stamp(self) -> str:
        """See above."""

    @property
    def details(self) -> dict[str, str]:
        """See above."""

    @property
    def detects(self) -> bool:
        """See above."""

    def check(self, names: Sequence[str]) -> None:
        """See that the photographs of these names can be told apart, before any work.

        Raises
        ------
        InputError
            If two photographs would get the same landmarks, or none has any.
        """

    def find(self, name: str, pixels: Pixels) -> list[Face]:
        """Faces of a photograph, from left to right; none: see `NO_FACE`.

        Parameters
        ----------
        name : str
            Path of the photograph inside its source, such as ``img_celeba/000001.jpg``.
        pixels : callable
            Gives the upright photograph: uint8, shape (H, W, 3), sRGB. Called by detectors only.

        Raises
        ------
        NoLandmarks
            If the landmark file does not know the photograph.
        InputError
            If its landmarks cannot be used, or the photograph cannot be read.
        """


def left_to_right(faces: Iterable[Face]) -> list[Face]:
    """Order faces by the x of their middle, then y: the order that numbers in names and ledgers follow."""
    return sorted(faces, key=lambda face: (float(face.points[:, 0].mean()), float(face.points[:, 1].mean())))
