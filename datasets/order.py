"""Which image is the k-th one shown: a pure function of (seed, size, k).

No state, so there is nothing to save: a run that resumes, or that goes on with another number of ranks or loader
workers, sees the same images in the same order. Every epoch is a fresh permutation of the whole set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Order:
    """The endless order in which the images of a data set are shown.

    Parameters
    ----------
    size : int
        Number of images, at least 1.
    seed : int
        From 0 to 2**64 - 1; the same seed gives the same order.

    Examples
    --------
    >>> order = Order(size=5, seed=0)
    >>> sorted(order.rows(0, 5).tolist())
    [0, 1, 2, 3, 4]
    >>> bool((order.rows(3, 4) == order.rows(0, 10)[3:7]).all())
    True
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed must be from 0 to 2**64 - 1, got {seed}")
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, np.int64)

    def rows(self, start: int, count: int) -> NDArray[np.int64]:
        """Rows of the images number `start` to `start + count - 1`, counted from the beginning of the run.

        Returns
        -------
        ndarray of int64, shape (count,)
            Row numbers in [0, size).
        """
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self.size)
            part = self._permutation_of(epoch)[offset : offset + count]
            parts.append(part)
            start += len(part)
            count -= len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _permutation_of(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            # Philox is counter-based: the key alone makes epochs independent streams.
            generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], np.uint64)))
            self._permutation, self._epoch = generator.permutation(self.size), epoch
        return self._permutation
