"""From five landmarks of a face to the square that is cut around it, and to what is done to the image before that.

There are two styles, which differ in three small things alone:

``celebahq``
    Karras et al. 2018, appendix C, with the numbers of the released recipe. The recipe works in single precision on the
    landmarks and in double precision on single numbers, as NumPy of 2017 promoted them. That is repeated here, because
    the released checksums leave no room for another last bit. It takes landmarks for numbers of pixels and adds half a
    pixel. A photograph whose face is small is enlarged before the transform.
``ffhq``
    Flickr-Faces-HQ (Karras et al. 2019, arXiv:1812.04948, appendix A, and the published script). The
    same square in double precision, from landmarks as they are, and without the enlargement. Its five landmarks are
    means of dlib's 68: `toolkit.celebahq.faces.points.from_68`.

Positions are in pixels from the top left corner of the image, x to the right, y down. To turn a vector by 90 degrees
takes (a, b) to (-b, a).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets.errors import InputError

RESOLUTION = 1024  # side of the finished image, appendix C
_NUM_LANDMARKS = 5  # left eye, right eye, nose, left and right corner of the mouth; left is left in the image
_MOST = 2.0**24  # pixels; farther out single precision skips whole pixels
_LEAST_SIDE = 1.0  # pixels; the enlarged image of a smaller square would fill the memory with its border

Vector = NDArray[np.floating[Any]]
StyleName = Literal["celebahq", "ffhq"]


@dataclasses.dataclass(frozen=True)
class Style:
    """What the two styles differ in.

    Attributes
    ----------
    offset : float
        What is added to landmarks, in pixels.
    precision : type
        NumPy's type of the positions.
    superres : bool
        A square smaller than the finished image is enlarged before it is transformed.
    """

    offset: float
    precision: type[np.floating[Any]]
    superres: bool


STYLES: Final[dict[StyleName, Style]] = {
    "celebahq": Style(offset=0.5, precision=np.float32, superres=True),
    "ffhq": Style(offset=0.0, precision=np.float64, superres=False),
}


@dataclasses.dataclass(frozen=True, eq=False)
class OrientedSquare:
    """The square around a face, in pixels of the photograph: float32 for CelebA-HQ, float64 for FFHQ.

    Attributes
    ----------
    eyes, mouth : ndarray, shape (2,)
        Middle of the eyes and of the mouth's corners, with the style's offset.
    x, y : ndarray, shape (2,)
        From the centre of the square to the middle of its right and of its lower side.
    centre : ndarray, shape (2,)
        Centre of the square.
    """

    eyes: Vector
    mouth: Vector
    x: Vector
    y: Vector
    centre: Vector

    @property
    def side(self) -> float:
        """Side in pixels."""
        return float(np.hypot(*self.x)) * 2

    @property
    def quad(self) -> Vector:
        """Corners, shape (4, 2): top left, bottom left, bottom right, top right."""
        x, y, centre = self.x, self.y, self.centre
        return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


@dataclasses.dataclass(frozen=True, eq=False)
class Preparation:
    """What is done to a photograph before its square is transformed, in this order, and where the square is then.

    Attributes
    ----------
    shrink : int
        The image is first made smaller by this factor; 1: it is not.
    size : tuple of int
        Width and height after that.
    border : int
        Pixels that are kept around the square where the image has them.
    box : tuple of int
        Left, top, right, bottom of the part of the shrunk image that is kept; right and bottom lie outside.
    superres : int
        The part is then made larger by this factor, a power of two; 1: it is not.
    quad : ndarray, shape (4, 2)
        Corners of the square in the image that results, in the order of `OrientedSquare.quad`.
    zoom : float
        Resolution of the finished image / side of `quad`.
    """

    shrink: int
    size: tuple[int, int]
    border: int
    box: tuple[int, int, int, int]
    superres: int
    quad: Vector
    zoom: float


def oriented_square(landmarks: ArrayLike, where: str, style: StyleName = "celebahq") -> OrientedSquare:
    """Square around a face.

    Parameters
    ----------
    landmarks : array-like, shape (5, 2)
        Positions in pixels: left eye, right eye, nose, left corner of the mouth, right corner; left is left in the
        image. As ``list_landmarks_celeba.txt`` has them.
    where : str
        What the landmarks belong to, for error messages.
    style : str
        ``celebahq`` or ``ffhq``, see the top of this file.

    Raises
    ------
    InputError
        If the landmarks are not five points, far outside of any image, or define no square of at least a pixel.
    """
    number = STYLES[style].precision
    points = _points(landmarks, where).astype(number)
    half, offset = number(0.5), number(STYLES[style].offset)
    eyes = (points[0] + points[1]) * half + offset
    mouth = (points[3] + points[4]) * half + offset
    between_eyes = points[1] - points[0]
    to_mouth = mouth - eyes
    x = between_eyes - _turned(to_mouth)
    length = np.hypot(*x)
    reach = max(float(np.hypot(*between_eyes)) * 2.0, float(np.hypot(*to_mouth)) * 1.8)
    if 2 * reach < _LEAST_SIDE:
        raise InputError(
            f"{where}: eyes and mouth give a square of {2 * reach:.3g} pixels, not of at least {_LEAST_SIDE:.0f}; "
            "landmarks must be in pixels of the photograph and must not coincide"
        )
    if length < 1e-4 * reach:
        raise InputError(
            f"{where}: the line through the eyes and the line to the mouth contradict each other; give the left eye, "
            "the right eye, the nose, the left and the right corner of the mouth as they lie in the image"
        )
    x = x / length * number(reach)
    return OrientedSquare(eyes=eyes, mouth=mouth, x=x, y=_turned(x), centre=eyes + to_mouth * number(0.1))


def prepare(
    square: OrientedSquare,
    width: int,
    height: int,
    where: str,
    resolution: int = RESOLUTION,
    *,
    superres: bool = True,
) -> Preparation:
    """Plan the steps from a photograph to the image whose square is transformed.

    Parameters
    ----------
    square : OrientedSquare
        In pixels of the photograph.
    width, height : int
        Size of the photograph in pixels.
    where : str
        What the photograph is, for error messages.
    resolution : int
        Side of the finished image in pixels.
    superres : bool
        Plan to enlarge the image if the square is smaller than that; FFHQ does not, see `Style.superres`.

    Raises
    ------
    InputError
        If the photograph has no pixel, or the square with its border lies outside of it.
    """
    if min(width, height, resolution) < 1:
        raise InputError(f"{where}: a photograph of {width}x{height} pixels cannot give {resolution}x{resolution}")
    quad = square.quad
    zoom = resolution / square.side
    shrink = max(1, math.floor(0.5 / zoom))
    size = (width, height)
    if shrink > 1:
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        quad = quad / np.float32(shrink)
        zoom *= shrink
    border = max(round(resolution * 0.1 / zoom), 3)
    (left, top), (right, bottom) = np.floor(quad.min(axis=0)), np.ceil(quad.max(axis=0))
    box = (
        max(int(left) - border, 0),
        max(int(top) - border, 0),
        min(int(right) + border, size[0]),
        min(int(bottom) + border, size[1]),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(
            f"{where}: the square around the face lies outside of the photograph of {width}x{height} pixels; "
            "the landmarks must be those of this photograph"
        )
    quad = quad - np.array(box[:2], np.float32)
    factor = 2 ** max(0, math.ceil(math.log2(zoom))) if superres else 1
    if factor > 1:
        quad = quad * np.float32(factor)
        zoom /= factor
    return Preparation(shrink=shrink, size=size, border=border, box=box, superres=factor, quad=quad, zoom=zoom)


def _points(landmarks: ArrayLike, where: str) -> NDArray[np.float64]:
    """Check that the landmarks are five points."""
    try:
        points = np.asarray(landmarks, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: the landmarks are not numbers; give five points (x, y) in pixels") from None
    if points.shape != (_NUM_LANDMARKS, 2):
        raise InputError(f"{where}: landmarks of shape {points.shape}, not (5, 2); give five points (x, y) in pixels")
    if not (np.abs(points) < _MOST).all():  # NaN is not less either
        raise InputError(f"{where}: a landmark is no position in an image; give five points (x, y) in pixels")
    return points


def _turned(vector: Vector) -> Vector:
    """Turn a vector by 90 degrees, from the right to below."""
    return np.array([-vector[1], vector[0]], vector.dtype)
