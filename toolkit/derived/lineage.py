"""What a pyramid that was made from others says of itself: labels, options, where it came from, ledger.

A manifest never forgets: a conversion keeps options and provenance of its source and adds a line; a merged set holds
those of all its parts, and a part of a set those of the whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.formats import PyramidReader
from growgan import __version__
from toolkit import ledger
from toolkit.derived.assembly import Part

TOOL = f"growgan {__version__}"


def labels_of(parts: Sequence[Part], *, keep: bool = True) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Labels of the rows of all parts, and the names of the classes.

    If the parts have the same classes, these are kept, used or not. If they do not, the new classes are the union by
    name: those of the first part, then what the second has besides, and so on.

    Parameters
    ----------
    parts : sequence of Part
    keep : bool
        False: no labels.

    Raises
    ------
    InputError
        If some parts have labels and others none, or classes differ and some have no names or one name twice.
    """
    labels = [part.reader.labels() for part in parts]
    if not keep or all(numbers is None for numbers in labels):
        return None, None
    taken = []
    for part, numbers in zip(parts, labels, strict=True):
        if numbers is None:
            labelled = next(other for other, known in zip(parts, labels, strict=True) if known is not None)
            raise InputError(
                f"{part.reader.path} has no labels, but {labelled.reader.path} has; "
                "pass --no-labels to make a data set without any"
            )
        taken.append(numbers[part.rows])
    names = [_names_of_classes(part.reader) for part in parts]
    if all(other == names[0] for other in names):
        joint = np.concatenate(taken)
        size = max(part.reader.manifest.num_classes or 0 for part in parts)
        if names[0] is None and joint.max() + 1 < size:
            return joint, list(map(str, range(size)))  # or the last classes would be forgotten
        return joint, names[0]
    for part, own in zip(parts, names, strict=True):
        if own is None or len(set(own)) < len(own):
            what = "has classes without names" if own is None else "has two classes of the same name"
            raise InputError(
                f"{part.reader.path} {what}, so they cannot be matched with those of the others; pass --no-labels"
            )
    union = list(dict.fromkeys(name for own in names for name in own or ()))
    number_of = {name: number for number, name in enumerate(union)}
    moved = [
        np.array([number_of[name] for name in own or ()], np.int64)[numbers]
        for own, numbers in zip(names, taken, strict=True)
    ]
    return np.concatenate(moved), union


def _names_of_classes(reader: PyramidReader) -> list[str] | None:
    names = reader.manifest.label_names
    return None if names is None else list(names)


def converted(reader: PyramidReader, to: str, resolution: int) -> dict[str, Any]:
    """Provenance of a pyramid with the rows of another, with all its levels or only those up to a resolution."""
    manifest = reader.manifest
    step: dict[str, Any] = {"tool": TOOL, "to": to}
    if resolution != manifest.resolution:
        step |= {"resolution": resolution, "of": _identity(reader)}
    return {**manifest.provenance, "conversions": [*manifest.provenance.get("conversions", []), step]}


def joined(readers: Sequence[PyramidReader], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Provenance of a pyramid with the rows of several. Joining is associative: parts of a part become parts.

    Parameters
    ----------
    readers : sequence of PyramidReader
    names : sequence of str, optional
        What to call them; by default by the names of their files.
    """
    parts: list[Any] = []
    for number, reader in enumerate(readers):
        inner = reader.manifest.provenance
        if "parts" in inner and "conversions" not in inner:
            parts += inner["parts"]
        else:
            own = {} if names is None else {"name": names[number]}
            parts.append({**described(reader), **own})
    return {"tool": TOOL, "parts": parts}


def part_of(reader: PyramidReader, how: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of a pyramid with some rows of another; `how` says which."""
    return {"tool": TOOL, **how, "whole": described(reader)}


def described(reader: PyramidReader) -> dict[str, Any]:
    """What the provenance of a derived pyramid holds of a data set: its name, but no folder of this machine."""
    manifest = reader.manifest
    return {**_identity(reader), "options": dict(manifest.options), "provenance": dict(manifest.provenance)}


def _identity(reader: PyramidReader) -> dict[str, Any]:
    manifest = reader.manifest
    return {
        "name": reader.path.resolve().name,
        "content_digest": manifest.content_digest,
        "num_images": manifest.num_images,
        "resolution": manifest.resolution,
    }


def common_options(readers: Sequence[PyramidReader]) -> dict[str, Any]:
    """Options of the build that all have, whatever their value is if they agree on it."""
    first, *others = (dict(reader.manifest.options) for reader in readers)
    return {
        name: value
        for name, value in first.items()
        if all(name in options and options[name] == value for options in others)
    }


def ledger_file(reader: PyramidReader) -> Path | None:
    """The ledger beside a pyramid, if it is there and is the one that the manifest names."""
    path = ledger.path_of(reader.path)
    expected = reader.manifest.provenance.get("ledger_sha256")
    if expected is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return path if hashlib.file_digest(file, "sha256").hexdigest() == expected else None


def ledger_lines(parts: Sequence[Part], label_names: Sequence[str] | None) -> list[ledger.Entry] | None:
    """Ledger of a pyramid made of several parts; None if a part has no ledger.

    Rows and labels are numbered as in the new pyramid. The images of a part that were skipped are listed if the part is
    the whole of its pyramid.

    Parameters
    ----------
    parts : sequence of Part
    label_names : sequence of str or None
        Classes of the new pyramid, as `labels_of` gives them.
    """
    lines = []
    first = 0
    for part in parts:
        path = ledger_file(part.reader)
        if path is None:
            return None
        old_names = _names_of_classes(part.reader)
        new_row = {row: first + place for place, row in enumerate(part.rows.tolist())}
        whole = len(new_row) == part.reader.manifest.num_images
        for entry in ledger.read(path):
            rows = tuple(new_row[row] for row in entry.rows if row in new_row)
            if rows or (whole and not entry.rows):
                label = entry.label
                if label is not None and old_names is not None and label_names is not None:
                    label = label_names.index(old_names[label])
                lines.append(dataclasses.replace(entry, rows=rows, label=label))
        first += len(part.rows)
    return lines
