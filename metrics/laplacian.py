"""Laplacian pyramid: an image as a sum of bands, each holding the detail that the next coarser size cannot hold.

Burt and Adelson, "The Laplacian pyramid as a compact image code", 1983. Filter, borders and sampling grid are those of
the SWD of Karras et al. 2018 (arXiv 1710.10196, section 5): kernel (1, 4, 6, 4, 1) / 16 in each direction, borders
mirrored without repeating the edge, samples kept at even positions. OpenCV's pyrDown and pyrUp are this filter;
tests/oracles/swd.py states it in full and the tests compare.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError


def band_resolutions(resolution: int, coarsest: int = 16) -> list[int]:
    """Side lengths of the bands, finest first: `resolution` is halved as long as the half is at least `coarsest`.

    Raises
    ------
    InputError
        If `resolution` is below `coarsest`, or odd where it must be halved.
    """
    if resolution < coarsest:
        raise InputError(
            f"images of {resolution}x{resolution} are too small: "
            f"the Laplacian pyramid of SWD needs {coarsest}x{coarsest} or more"
        )
    sides = [resolution]
    while sides[-1] // 2 >= coarsest:
        if sides[-1] % 2:
            raise InputError(
                f"images of {resolution}x{resolution} cannot be halved down to {coarsest}; "
                "use a side of 2^n pixels (toolkit make-pyramid)"
            )
        sides.append(sides[-1] // 2)
    return sides


def laplacian_pyramid(image: NDArray[np.uint8] | NDArray[np.float32], coarsest: int = 16) -> list[NDArray[np.float32]]:
    """Bands of one image, finest first; the last one is the low-pass image itself.

    Parameters
    ----------
    image : ndarray of uint8 or float32, shape (c, r, r)
        Values in [0, 255].
    coarsest : int
        Smallest side a band may have; 16 in the paper.

    Returns
    -------
    list of ndarray of float32, shape (c, r / 2^k, r / 2^k)
        Their upsampled sum is the image.
    """
    sides = band_resolutions(image.shape[-1], coarsest)
    bands = [np.empty((len(image), side, side), np.float32) for side in sides]
    for channel, plane in enumerate(image):  # plane by plane: contiguous, and no change to interleaved channels
        gaussian = plane.astype(np.float32)
        for band in bands[:-1]:
            coarser = cv2.pyrDown(gaussian)
            np.subtract(gaussian, cv2.pyrUp(coarser), out=band[channel])
            gaussian = coarser
        bands[-1][channel] = gaussian
    return bands
