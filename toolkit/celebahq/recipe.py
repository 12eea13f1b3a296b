"""From a photograph and the square around a face to the finished portrait: the steps of the released recipe.

Karras et al. 2018, appendix C, with the arithmetic of the libraries of 2017 (Pillow 3.1.1, NumPy 1.13.1, SciPy 0.19.1),
so that on the right bytes the result is the ``proc`` that the released deltas were made for. Without deltas the same
steps serve any photograph, each can be left out, and two of them can be a network's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.levels import level_of, pyramid
from toolkit.celebahq import geometry, padding, resampling
from toolkit.celebahq.geometry import OrientedSquare
from toolkit.sources import Rendered

_BLUR = 0.02  # standard deviation / side of the square
_PAD = 0.3  # least pad / side of the square
_SLACK = 4  # pixels of the border that may be missing before anything is padded

Pixels = NDArray[np.uint8]


def render(
    photo: Pixels,
    square: OrientedSquare,
    where: str,
    *,
    resolution: int = geometry.RESOLUTION,
    direct: bool = False,
    supersampling: int = 4,
    superres: bool = True,
    pad: bool = True,
    clean: Callable[[Pixels], Pixels] | None = None,
    enlarge: Callable[[Pixels, int], Pixels] | None = None,
) -> Rendered:
    """Portrait of one face.

    Parameters
    ----------
    photo : ndarray of uint8, shape (H, W, 3)
        sRGB; for the released set as `toolkit.celebahq.photographs.decode_photo` gives it.
    square : OrientedSquare
        In pixels of the photograph.
    where : str
        What the photograph is, for error messages.
    resolution : int
        Side of the result. Below 1024 it is the result of 1024 reduced by the box filter, like the levels of a
        pyramid, so that all resolutions show the same image.
    direct : bool
        Run the recipe at `resolution` itself instead; sooner done, and slightly sharper than the reduced result.
    supersampling : int
        The square is taken from the photograph at this many times the resolution; 1: at the resolution.
    superres : bool
        Enlarge a photograph that has fewer pixels than the result, by a power of two. False: leave that to the
        bilinear interpolation of the transform.
    pad : bool
        Mirror, blur and fade what the square has beyond the photograph. False: it is black.
    clean : callable or None
        Pixels of the part around the face to pixels of the same size, such as a network that removes JPEG artefacts.
    enlarge : callable or None
        ``enlarge(pixels, factor)`` gives `factor` times their height and width; None: the Lanczos filter.

    Returns
    -------
    Rendered
        Pixels of shape (resolution, resolution, 3), and of these names, those of the steps that were done:
        ``shrink-N``, ``crop``, ``clean``, ``enlarge-N`` (by `enlarge`) or ``lanczos-N``, ``pad``, ``transform``,
        ``box-N``.

    Raises
    ------
    InputError
        If the square does not lie in the photograph, the resolution is not one of a pyramid, a callable gives pixels
        of another size, or numba is not installed.
    """
    level_of(resolution)
    side = resolution if direct else max(resolution, geometry.RESOLUTION)
    height, width = photo.shape[:2]
    plan = geometry.prepare(square, width, height, where, side)
    quad, zoom, image = plan.quad, plan.zoom, photo
    applied = []
    if plan.shrink > 1:
        image = resampling.resize(image, *plan.size)
        applied.append(f"shrink-{plan.shrink}")
    left, top, right, bottom = plan.box
    if (right - left, bottom - top) != plan.size:
        image = image[top:bottom, left:right]
        applied.append("crop")
    if clean is not None:
        image = _checked(clean(np.ascontiguousarray(image)), image, 1, where)
        applied.append("clean")
    if plan.superres > 1 and superres:
        image, name = _enlarged(np.ascontiguousarray(image), plan.superres, enlarge, where)
        applied.append(name)
    elif plan.superres > 1:  # a power of two, so that nothing is rounded
        quad, zoom = quad / np.float32(plan.superres), zoom * plan.superres
    if pad:
        image, quad, padded = _padded(image, quad, zoom, plan.border, side)
        applied += ["pad"] * padded
    pixels = resampling.warp(np.ascontiguousarray(image), quad + np.float32(0.5), side, supersampling)
    applied.append("transform")
    if side > resolution:
        applied.append(f"box-{side // resolution}")
    return Rendered(reduced(pixels, resolution), tuple(applied))


def reduced(pixels: Pixels, resolution: int) -> Pixels:
    """Smaller portrait by the box filter, rounded half to even; uint8 of shape (R, R, 3) -> (resolution, ..., 3)."""
    if len(pixels) == resolution:
        return pixels
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return np.ascontiguousarray(pyramid(planes)[level_of(resolution)].transpose(1, 2, 0))


def _enlarged(
    image: Pixels, factor: int, enlarge: Callable[[Pixels, int], Pixels] | None, where: str
) -> tuple[Pixels, str]:
    """Enlarge, and name the step."""
    if enlarge is not None:
        return _checked(enlarge(image, factor), image, factor, where), f"enlarge-{factor}"
    height, width = image.shape[:2]
    return resampling.resize(image, width * factor, height * factor), f"lanczos-{factor}"


def _padded(
    image: Pixels, quad: NDArray[np.float32], zoom: float, border: int, side: int
) -> tuple[Pixels, NDArray[np.float32], bool]:
    """Image that reaches far enough, the square in it, and whether anything had to be added."""
    height, width = image.shape[:2]
    needed = padding.pads_needed(quad, width, height, border)
    if max(needed) <= border - _SLACK:
        return image, quad, False
    least = max(round(side * _PAD / zoom), 1)
    left, above, right, below = (max(pixels, least) for pixels in needed)
    image = padding.pad(image, (left, above, right, below), side * _BLUR / zoom)
    return image, quad + np.array([left, above], np.float32), True


def _checked(result: Pixels, image: Pixels, factor: int, where: str) -> Pixels:
    """Refuse what a network made if it is not the image in the size that was asked for."""
    height, width = image.shape[:2]
    wanted = (height * factor, width * factor, 3)
    if result.shape != wanted or result.dtype != np.uint8:
        raise InputError(
            f"{where}: a network made {result.dtype} pixels of shape {result.shape}, not uint8 of {wanted}; "
            f"use one that enlarges {factor} times"
        )
    return result
