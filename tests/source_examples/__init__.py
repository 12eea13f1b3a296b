"""A tiny example of every source, for the contract tests and others; one module per source, of the same name.

A module here has ``make(where: Path) -> Example``, which writes a source below the folder `where`.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import pkgutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Example:
    """A source and what must be found in it.

    Attributes
    ----------
    path : Path
        Where it is: the only thing in its folder.
    pixels : list of ndarray
        Of every image, in order: uint8 (H, W, 3). Image files are lossless, so the pixels must be equal.
    labels : list of int or None
        Class number of every image.
    names : list of str or None
        Names of the images, if the test shall compare them.
    recognised : bool
        False for a source that is only opened by its name.
    """

    path: Path
    pixels: list[NDArray[np.uint8]]
    labels: list[int] | None = None
    names: list[str] | None = None
    recognised: bool = True


def names() -> list[str]:
    """Names of the sources that have an example."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make(name: str, where: Path) -> Example:
    """Write the example of a source below a folder."""
    where.mkdir(parents=True, exist_ok=True)
    example: Example = importlib.import_module(f"{__name__}.{name}").make(where)
    return example


def noise(seed: int, width: int = 9, height: int = 8) -> NDArray[np.uint8]:
    """Pixels of an image that has no symmetry."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Image file with these pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
