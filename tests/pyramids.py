"""Pyramids for tests, with everything that one can have, and a plain way to read all that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import formats
from datasets.levels import pyramid


def noise(count: int, side: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    """Images of noise, uint8 (count, 3, side, side): no two alike, no symmetry."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def write(
    path: Path,
    images: NDArray[np.uint8],
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    label_names: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    levels: Mapping[int, NDArray[np.uint8]] | None = None,
    **storage: Any,
) -> Path:
    """Write images (N, 3, R, R) as a pyramid of the format that the suffix names."""
    with formats.create(path, len(images), images.shape[-1], **storage) as writer:
        writer.write(range(len(images)), writer.pack(levels or pyramid(images)))
        names = names or [f"image{row:03d}.png" for row in range(len(images))]
        writer.finish(names, None if labels is None else np.array(labels), label_names, options, provenance)
    return path


def pixels(path: Path) -> dict[int, NDArray[np.uint8]]:
    """Every level, as plain arrays."""
    reader = formats.open_pyramid(path)
    return {level: np.array(reader.level(level)[:]) for level in range(2, reader.manifest.top_level + 1)}


def assert_rows(path: Path, images: NDArray[np.uint8]) -> None:
    """The pyramid holds exactly these images, and their box filters."""
    expected, found = pyramid(images), pixels(path)
    assert found.keys() == expected.keys()
    for level, right in expected.items():
        np.testing.assert_array_equal(found[level], right)


def listing(folder: Path) -> list[str]:
    """Names in a folder, the hidden ones too."""
    return sorted(path.name for path in folder.iterdir())
