"""Features of image sets: from the cache where they are known, by the network where they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from metrics.cache import FeatureCache
from metrics.features import Extractor
from metrics.images import ImageSet

Pixels = Callable[[NDArray[np.int64]], Sequence[NDArray[np.uint8]]]
"""Images of the given numbers, each of shape (3, h, w)."""
Done = Callable[[int], object]
"""Told how many more images are done."""


def tell_nobody(count: int) -> None:
    """Do nothing."""
    del count


class Extraction:
    """One network, and what it has made of image sets.

    Parameters
    ----------
    extractor : Extractor
    cache_folder : Path, optional
        Where features are kept; if not given, they are not.

    Attributes
    ----------
    num_computed, num_known : int
        Images that went through the network, and images whose features were in the cache.
    """

    def __init__(self, extractor: Extractor, cache_folder: Path | None = None) -> None:
        self.extractor, self._folder = extractor, cache_folder
        self.num_computed = self.num_known = 0
        self._caches: dict[tuple[str, int | None], FeatureCache] = {}

    def features(
        self, images: ImageSet, rows: NDArray[np.int64], pixels: Pixels, done: Done = tell_nobody
    ) -> NDArray[np.float32]:
        """Features of some images of a set.

        They are kept, and told of, as often as the network has worked on `Extractor.block_size` images, whatever the
        number of rows: a kill loses seconds of work, not a batch.

        Parameters
        ----------
        images : ImageSet
        rows : ndarray of int64, shape (n,)
        pixels : callable
            Asked for the images whose features are not known.
        done : callable
            Called as features come in, with numbers of images that add up to n.

        Returns
        -------
        ndarray of float32, shape (n, feature_size)
        """
        cache = self._cache_of(images)
        if cache is None:
            found, known = np.empty((len(rows), self.extractor.feature_size), np.float32), np.zeros(len(rows), np.bool_)
        else:
            found, known = cache.get(rows)
        num_known = int(known.sum())
        self.num_known += num_known
        done(num_known)
        places = np.flatnonzero(~known)
        given = pixels(rows[places]) if len(places) else []
        step = self.extractor.block_size
        for start in range(0, len(places), step):
            block = places[start : start + step]
            found[block] = self.extractor(given[start : start + step]).pool.cpu().numpy()
            if cache is not None:
                cache.put(rows[block], found[block])
            self.num_computed += len(block)
            done(len(block))
        return found

    def unknown(self, images: ImageSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the given images that have to go through the network."""
        cache = self._cache_of(images)
        return rows if cache is None else rows[~cache.get(rows)[1]]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits without bias, float32 of shape (n, classes), of such features."""
        found = self.extractor.classify(torch.from_numpy(features)).logits_unbiased
        if found is None:
            raise ValueError(f"{self.extractor.name} has no classifier")
        return found.cpu().numpy()

    def close(self) -> None:
        """Close the files of the cache."""
        for cache in self._caches.values():
            cache.close()
        self._caches.clear()

    def _cache_of(self, images: ImageSet) -> FeatureCache | None:
        if self._folder is None or images.passing:
            return None
        key = images.digest, images.resolution  # of images that are shrunk first, the digest is that of the large ones
        if key not in self._caches:
            entry = {"set": images.digest, "resolution": images.resolution, "network": self.extractor.cache_key}
            self._caches[key] = FeatureCache(self._folder, entry, self.extractor.feature_size)
        return self._caches[key]
