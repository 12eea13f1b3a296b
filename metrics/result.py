"""What a measurement leaves behind: a dict for programs, a table for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import growgan
from datasets.console import table
from metrics.images import ImageSet

_PARTS = {  # what else people read of a result
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "f8": "F8 (recall)",
    "f1_8": "F1/8 (precision)",
    "kl": "KL from even",
    "even_modes": "modes of an even generator",
    "even_kl": "KL of an even generator",
}
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


def describe(image_set: ImageSet, num_images: int | None) -> dict[str, Any]:
    """Which images were measured, and how many; of statistics, how many they say they are of."""
    return {
        "name": image_set.name,
        "kind": image_set.kind,
        "digest": image_set.digest,
        "resolution": image_set.resolution,
        "num_images": image_set.num_images if num_images is None else num_images,
        **image_set.details,
    }


def lines(result: Mapping[str, Any], title: str) -> str:
    """Text of a result: what was measured on what, a table, notes."""
    real, fake = result["real"], result["fake"]
    sets = f"{fake['name']} against {real['name']}" if "floor" in result else fake["name"]
    count = "an unknown number of" if result["num_images"] is None else result["num_images"]
    head = f"{title}: {sets}, {count} image{'' if count == 1 else 's'}, seed {result['seed']}"
    notes = [f"note: {warning}" for warning in result["warnings"]]
    return "\n".join([head, "", _body(result), "", *notes]).rstrip()


def _body(result: Mapping[str, Any]) -> str:
    if "levels" not in result:
        return _plain_body(result)
    floor = result["floor"]
    levels = {**result["levels"], "average": result["value"]}
    errors: dict[str, float] = {**(result.get("levels_error") or {}), "average": result.get("standard_error") or 0.0}
    with_errors = bool(result.get("levels_error"))
    if floor is None:
        return table(((level, f"{value:.2f}") for level, value in levels.items()), ("level", "value"))
    # A floor at fewer images lies too high, so the ratio to it can only be too low.
    bound = "" if floor["num_images"] == result["num_images"] else ">"
    floors = {**floor["levels"], "average": floor["value"]}
    rows: list[tuple[str, ...]] = [
        (
            level,
            f"{value:.2f}",
            *([f"{errors[level]:.2f}"] if with_errors else []),
            f"{floors[level]:.2f}",
            f"{bound}{value / floors[level]:.1f}" if floors[level] > 0 else "-",
        )
        for level, value in levels.items()
    ]
    error = ("+-",) if with_errors else ()
    return table(rows, ("level", "value", *error, f"floor ({floor['num_images']} images)", "ratio"))


def _plain_body(result: Mapping[str, Any]) -> str:
    """Table of a metric without levels: its value, what it is made of, and what to compare it with."""
    floor = result.get("floor")
    sets = {"this set": result, "reference": result.get("reference")}
    rows = [(name, *_with_error(found)) for name, found in sets.items() if found]
    if floor:
        rows.append((f"floor ({floor['num_images']} images)", *_with_error(floor)))
    rows += [
        (title, *_with_error({"value": result[name], **_error_of(name, result)}))
        for name, title in _PARTS.items()
        if name in result
    ]
    return table(rows)


def _error_of(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    error = result.get(f"{name}_error")
    return {} if error is None else {"standard_error": error}


def _with_error(found: Mapping[str, Any]) -> tuple[str, str]:
    error = found.get("standard_error")
    return f"{found['value']:.4f}", "" if error is None else f"+- {error:.4f}"
