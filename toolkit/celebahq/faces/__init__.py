"""Faces in photographs: found by a detector or looked up in a landmark file, and which of them are used.

`open_finder` opens either. The folders ``files`` and ``detectors`` are plug-ins: one module per format or detector.
"""

from __future__ import annotations

from pathlib import Path

from datasets.errors import InputError
from toolkit.celebahq.faces import detectors, files
from toolkit.celebahq.faces.finder import NO_FACE, Face, FaceFinder, NoLandmarks
from toolkit.celebahq.faces.policy import FacePolicy, choose, share_outside

__all__ = [
    "NO_FACE",
    "Face",
    "FaceFinder",
    "FacePolicy",
    "NoLandmarks",
    "choose",
    "describe",
    "open_finder",
    "share_outside",
]


def open_finder(spec: str | Path) -> FaceFinder:
    """Open a landmark file or a detector.

    Parameters
    ----------
    spec : str or Path
        Name of a detector, such as ``yunet``; a detector with a network of one's own, ``yunet:FILE``; or the path of a
        landmark file, whose format is recognised by what it holds. A file called like a detector is ``./yunet``.

    Raises
    ------
    InputError
        If it is none of these, is damaged or not installed.
    """
    if isinstance(spec, str):
        name, _, model = spec.partition(":")
        if name in detectors.names():
            return detectors.open_detector(name, Path(model) if model else None)
        if not Path(spec).exists():
            raise InputError(
                f"{spec!r} is neither a landmark file nor a detector; detectors are: {', '.join(detectors.names())}"
            )
    return files.open_file(Path(spec))


def describe() -> str:
    """Detectors and formats with one line about each, for help texts."""
    lines = [f"{name}: {detectors.describe(name)}" for name in detectors.names()]
    return "\n".join(lines + [f"{name}: {files.describe(name)}" for name in files.names()])
