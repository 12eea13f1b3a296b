"""Five landmarks of a face, from the forms in which landmarks are written down.

The 68 points are those of the 300-W challenge and dlib, counted from 0: 36 to 41 around the eye that is left in the
image, 42 to 47 around the other, 30 the tip of the nose, 48 and 54 the outer corners of the mouth. FFHQ takes the mean
of each eye's six points and these two corners (Karras et al. 2019, arXiv:1812.04948, published script).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets.errors import InputError

_SHAPES = "68 or 5 points (x, y), flat or in pairs, {'x', 'y'} or named parts of a face"
_NAMED = (  # of five; the names of MTCNN, RetinaFace and others
    ("left_eye", "lefteye", "eye_left"),
    ("right_eye", "righteye", "eye_right"),
    ("nose", "nose_tip"),
    ("mouth_left", "left_mouth", "leftmouth"),
    ("mouth_right", "right_mouth", "rightmouth"),
)


def from_68(points: ArrayLike) -> NDArray[np.float64]:
    """Reduce 68 points of each face to five, as FFHQ does.

    Parameters
    ----------
    points : array-like, shape (..., 68, 2)

    Returns
    -------
    ndarray of float64, shape (..., 5, 2)
    """
    points = np.asarray(points, np.float64)
    eyes = points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)
    return np.stack([*eyes, points[..., 30, :], points[..., 48, :], points[..., 54, :]], axis=-2)


def five_points(value: Any, where: str) -> NDArray[np.float64]:
    """Five points of one face, from whatever form it has.

    Parameters
    ----------
    value : object
        68 or 5 points, as pairs, as triples whose third number is left out, as one flat list, or as mappings with ``x``
        and ``y``; or a mapping of parts, either points as `left_eye`, `mouth_left`, or outlines as the package
        face_recognition gives them (`left_eye` and `right_eye` of six points, `top_lip` of twelve).
    where : str
        For error messages.

    Raises
    ------
    InputError
        If it is nothing of that, or not of finite numbers.
    """
    if isinstance(value, Mapping):
        return _from_parts(value, where)
    if isinstance(value, list) and value and all(isinstance(point, Mapping) for point in value):
        value = [[point.get("x"), point.get("y")] for point in value]
    points = _numbers(value, where)
    if points.ndim == 1 and points.size in (10, 136):
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[0] not in (5, 68) or points.shape[1] not in (2, 3):
        raise InputError(f"{where}: landmarks of shape {points.shape}; give {_SHAPES}")
    points = points[:, :2]
    return from_68(points) if len(points) == 68 else points


def is_face(value: Any) -> bool:
    """True if a value is meant as one face, rather than as a list of faces."""
    if isinstance(value, Mapping):
        return any(name in value for name in _NAMED[0])
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return _is_number(first) or (isinstance(first, Mapping) and "x" in first) or _is_point(first)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and 2 <= len(value) <= 3 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _from_parts(parts: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    left, right = (next((parts[name] for name in names if name in parts), None) for names in _NAMED[:2])
    if "top_lip" in parts:
        eyes = [_numbers(eye, where).reshape(-1, 2).mean(axis=0) for eye in (left, right)]
        lip = _numbers(parts["top_lip"], where)
        nose = _numbers(parts.get("nose_tip", parts["top_lip"]), where)
        if lip.shape != (12, 2) or nose.ndim != 2 or nose.shape[1] != 2:
            raise InputError(f"{where}: top_lip or nose_tip is no outline in points (x, y); give {_SHAPES}")
        return np.stack([*eyes, nose.mean(axis=0), lip[0], lip[6]])
    named = [next((parts[name] for name in names if name in parts), None) for names in _NAMED]
    if any(point is None for point in named):
        raise InputError(f"{where}: only the parts {', '.join(sorted(map(str, parts)))[:80]}; give {_SHAPES}")
    points = _numbers(named, where)
    if points.shape != (5, 2):
        raise InputError(f"{where}: landmarks of shape {points.shape}; give {_SHAPES}")
    return points


def _numbers(value: Any, where: str) -> NDArray[np.float64]:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: the landmarks are not numbers, or not two for every point; give {_SHAPES}"
        ) from None
    if points.size == 0 or not np.isfinite(points).all():
        raise InputError(f"{where}: a landmark is missing or not finite; give {_SHAPES}")
    return points
