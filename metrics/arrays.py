"""Metrics of images in memory: NumPy arrays and PyTorch tensors."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.evaluate import evaluate
from metrics.images import ImageSet
from metrics.networks import Networks
from metrics.resize import Images, as_images


class ListImageSet(ImageSet):
    """Images in memory, of one size or of many.

    Parameters
    ----------
    images : ndarray or Tensor of uint8, shape (n, 3, h, w), or a sequence of such of shape (3, h, w)
        RGB in [0, 255]; not copied if they are on the CPU, so do not change them while they are in use.
    name : str
        How results call them.

    Raises
    ------
    InputError
        If they are of another shape or type, or none.
    """

    kind = "array"

    def __init__(self, images: Images, name: str) -> None:
        self.name = name
        try:
            self._images: list[NDArray[np.uint8]] = [image.cpu().numpy() for image in as_images(images)]
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        self.num_images = len(self._images)
        shapes = {image.shape for image in self._images}
        _, height, width = next(iter(shapes))
        self.resolution = height if len(shapes) == 1 and height == width else None

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of sizes and pixels."""
        digest = hashlib.sha256()
        for image in self._images:
            digest.update(f"{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give the images of the given numbers, if they are of one size."""
        self.check_uniform()
        return np.stack(self.read_each(rows))

    def read_each(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Give the images of the given numbers."""
        return [self._images[row] for row in rows]


def measure_arrays(
    names: list[str],
    real: Images | None,
    fake: Images,
    *,
    num_images: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    extractor: str | None = None,
    weights: dict[str, Path] | None = None,
    resize: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Measure images in memory, all metrics in one pass; see `metrics.evaluate.evaluate` for results and arguments.

    Parameters
    ----------
    names : list of str
        Metrics, such as ``["fid", "swd"]``.
    real, fake : ndarray or Tensor of uint8, shape (n, 3, h, w), or a sequence of such of shape (3, h, w)
        RGB in [0, 255]; `real` may be None for metrics of one set. Images of several sizes serve metrics on features.
    num_images, seed, batch_size, options, extractor
        See `metrics.evaluate.evaluate`.
    weights : dict of str to Path, optional
        Files of weights by network; the published ones if not given.
    resize, dtype, device
        See `metrics.networks.Networks`.

    Raises
    ------
    InputError
        If the images are of another type or shape, too few, or do not fit a metric.
    """
    return evaluate(
        names,
        None if real is None else ListImageSet(real, "real"),
        ListImageSet(fake, "fake"),
        num_images=num_images,
        seed=seed,
        batch_size=batch_size,
        options=options,
        networks=Networks(weights=weights or {}, resize=resize, dtype=dtype, device=device),
        extractor=extractor,
    )
