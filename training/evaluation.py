"""SWD and MS-SSIM of the averaged generator at every snapshot, against the same reals all along."""

from __future__ import annotations

from typing import Any

from datasets.formats import PyramidReader
from metrics import cache
from metrics.evaluate import Evaluator
from metrics.images import PyramidImageSet
from training.sampler import GeneratorImageSet, Sampler

MIN_RESOLUTION = 16  # the coarsest level of the SWD; smaller images have none


class SnapshotMetrics:
    """Measures samplers of one run; the reals are read once.

    Parameters
    ----------
    reader : PyramidReader
        The data set.
    resolution : int
        Side at which to measure, the finest of the run.
    num_images : int
        Images on each side; 0 measures nothing.
    seed : int
        Of the latents and of the metrics' own random numbers.
    """

    def __init__(self, reader: PyramidReader, resolution: int, num_images: int, seed: int) -> None:
        self._seed = seed
        self.notes: list[str] = []  # for the user
        self._evaluator: Evaluator | None = None
        # Half of the reals at most, so that the noise floor can be measured at the same number of images.
        count = min(num_images, reader.manifest.num_images // 2)
        if num_images and (count < 2 or resolution < MIN_RESOLUTION):
            self.notes.append(
                f"no SWD and MS-SSIM at the snapshots: they need 4 images of at least {MIN_RESOLUTION} pixels, "
                f"{reader.path} gives {reader.manifest.num_images} of {resolution}"
            )
        elif num_images:
            real = PyramidImageSet(reader, resolution)
            self._evaluator = Evaluator(
                ["swd", "ms-ssim"], real, num_images=count // 2 * 2, seed=seed, cache_folder=cache.default_folder()
            )

    def measure(self, sampler: Sampler) -> list[dict[str, Any]]:
        """Results of a snapshot, one mapping per metric; empty if nothing is measured."""
        if self._evaluator is None:
            return []
        return self._evaluator(GeneratorImageSet(sampler, "the run's averaged generator", self._seed))
