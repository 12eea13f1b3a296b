"""What a measurement leaves behind: a dict for programs, a table for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import growgan
from datasets.console import table
from metrics.images import ImageSet

_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "torch")


def versions() -> dict[str, str]:
    """Versions of everything that could move a value."""
    found = {"growgan": growgan.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # another build of OpenCV, say
            continue
    return found


def describe(image_set: ImageSet, num_images: int) -> dict[str, Any]:
    """Which images were measured."""
    return {
        "name": image_set.name,
        "kind": image_set.kind,
        "digest": image_set.digest,
        "resolution": image_set.resolution,
        "num_images": num_images,
    }


def lines(result: Mapping[str, Any], title: str) -> str:
    """Text of a result: what was measured on what, a table, notes."""
    real, fake = result["real"], result["fake"]
    sets = f"{fake['name']} against {real['name']}" if "levels" in result else fake["name"]
    head = f"{title}: {sets}, {result['num_images']} images, seed {result['seed']}"
    notes = [f"note: {warning}" for warning in result["warnings"]]
    return "\n".join([head, "", _body(result), "", *notes]).rstrip()


def _body(result: Mapping[str, Any]) -> str:
    if "levels" not in result:
        sets = {"this set": result, "reference": result.get("reference")}
        return table((name, *_with_error(found)) for name, found in sets.items() if found)
    floor = result["floor"]
    levels = {**result["levels"], "average": result["value"]}
    if floor is None:
        return table(((level, f"{value:.2f}") for level, value in levels.items()), ("level", "value"))
    # A floor at fewer images lies too high, so the ratio to it can only be too low.
    bound = "" if floor["num_images"] == result["num_images"] else ">"
    floors = {**floor["levels"], "average": floor["value"]}
    rows: list[tuple[str, ...]] = [
        (
            level,
            f"{value:.2f}",
            f"{floors[level]:.2f}",
            f"{bound}{value / floors[level]:.1f}" if floors[level] > 0 else "-",
        )
        for level, value in levels.items()
    ]
    return table(rows, ("level", "value", f"floor ({floor['num_images']} images)", "ratio"))


def _with_error(found: Mapping[str, Any]) -> tuple[str, str]:
    error = found.get("standard_error")
    return f"{found['value']:.4f}", "" if error is None else f"+- {error:.4f}"
