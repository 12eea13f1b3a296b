"""A tiny example of every landmark file format, for the contract tests; one module per format, of the same name.

A module here has ``make(where: Path) -> Example``, which writes a landmark file into the folder `where`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIVE = np.array([(165.0, 184), (244, 176), (196, 249), (194, 271), (266, 260)])  # a tilted face


@dataclasses.dataclass(frozen=True)
class Example:
    """A landmark file and what must be found in it.

    Attributes
    ----------
    path : Path
        Where it is.
    faces : dict of str to list of ndarray (5, 2)
        Of every photograph, by its name in a source, from left to right.
    """

    path: Path
    faces: dict[str, list[NDArray[np.float64]]]


def names() -> list[str]:
    """Names of the formats that have an example."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make(name: str, where: Path) -> Example:
    """Write the example of a format below a folder."""
    where.mkdir(parents=True, exist_ok=True)
    example: Example = importlib.import_module(f"{__name__}.{name}").make(where)
    return example


def sixty_eight(seed: int, five: NDArray[np.float64] = FIVE) -> NDArray[np.float64]:
    """68 points whose reduction to five is known: an eye's points lie around its middle, the others anywhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 400, (68, 2)).round(2)
    for first, middle in ((36, five[0]), (42, five[1])):
        offsets = rng.integers(-9, 10, (5, 2)).astype(float)
        points[first : first + 6] = middle + np.vstack([offsets, -offsets.sum(axis=0)])
    points[30], points[48], points[54] = five[2:]
    return points
