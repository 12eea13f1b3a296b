"""MS-SSIM between images of one set: how much they resemble each other. Lower means more variation.

Odena, Olah, Shlens 2017 (arXiv 1610.09585) use it to find collapsed generators; Karras et al. 2018 (arXiv 1710.10196,
section 5) report it for 10000 pairs of generated images, and it should be read beside the same number of the reals.
MS-SSIM itself: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003.

The rule of Karras et al.: five scales, an 11-tap Gaussian window of sigma 1.5 that shrinks with images smaller than
itself, no padding, averages over pixels and all three channels at once, negative averages set to 0 before the power.
Other programs take the product over scales in each channel and average the channels last, which is
``channels="separate"`` here: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.scores import Option, Plan, Progress, Side, no_progress
from metrics.scores import Score as BaseScore
from metrics.workers import parallel_map

Pixels = NDArray[np.uint8] | NDArray[np.float32]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2; finest scale first
WINDOW = 11
SIGMA = 1.5
LUMINANCE, CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # C1 and C2 of SSIM, for values in [0, 255]
SMALLEST = 2 ** (len(WEIGHTS) - 1)  # a side of 16 leaves one pixel at the fifth scale


def window(side: int) -> NDArray[np.float32]:
    """Gaussian weights, of sum 1, for images of `side` pixels; shape (min(11, side),)."""
    taps = min(WINDOW, side)
    distance = np.arange(taps) - (taps - 1) / 2
    weights = np.exp(-0.5 * (distance / (SIGMA * taps / WINDOW)) ** 2)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised.astype(np.float32)


def plane_similarities(x: Pixels, y: Pixels) -> NDArray[np.float64]:
    """Mean contrast-structure term of each pair of planes at every scale; times luminance at the coarsest.

    Works on sum s and difference d of the planes: with window averages E and variances V(s) = E(s^2) - E(s)^2, the
    contrast-structure term (2 cov + C2) / (V(x) + V(y) + C2) is 1 - V(d) / ((V(s) + V(d)) / 2 + C2). That takes four
    filtered maps in place of five, and equal planes give exactly 1.

    Parameters
    ----------
    x, y : ndarray of uint8 or float32, shape (n, r, r)
        Values in [0, 255]; r a multiple of 16.

    Returns
    -------
    ndarray of float64, shape (n, 5)
    """
    count, side, _ = x.shape
    sum_difference = np.empty((2, count, side, side), np.float32)
    np.add(x, y, out=sum_difference[0], dtype=np.float32)
    np.subtract(x, y, out=sum_difference[1], dtype=np.float32)
    level = sum_difference.mean(axis=(2, 3), keepdims=True)
    sum_difference -= level  # around 0 squares keep more digits; variances do not notice
    terms = np.empty((count, len(WEIGHTS)))
    for scale in range(len(WEIGHTS)):
        if scale:
            sum_difference = _halve(sum_difference)
        mean, square = _window_averages(sum_difference)
        variance = np.subtract(square, mean * mean, out=square)
        variance_d, total = variance[1], variance[0]
        total += variance_d
        total *= np.float32(0.5)
        total += np.float32(CONTRAST)
        similarity = np.subtract(1, np.divide(variance_d, total, out=variance_d), out=variance_d)
        if scale == len(WEIGHTS) - 1:
            similarity *= _luminance(mean + level)
        terms[:, scale] = similarity.mean(axis=(1, 2), dtype=np.float64)
    return terms


def _window_averages(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Window averages of `maps` and of their squares, shape (2, n, r, r) -> (2, n, q, q), where windows lie inside."""
    _, count, side, _ = maps.shape
    weights = window(side)
    inside = side - len(weights) + 1
    stacked = np.concatenate((maps, maps * maps))
    # All planes as one tall image: one call. Windows that reach into the next plane are cut away. The anchor is in
    # the middle, since OpenCV adds opposite taps first there, in half of the time.
    middle = len(weights) // 2
    filtered = cv2.sepFilter2D(stacked.reshape(-1, side), cv2.CV_32F, weights, weights, borderType=cv2.BORDER_CONSTANT)
    whole = np.asarray(filtered, np.float32).reshape(4, count, side, side)
    filtered = whole[:, :, middle : middle + inside, middle : middle + inside]
    return filtered[:2], filtered[2:]


def _halve(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of 2x2 pixels: shape (2, n, r, r) -> (2, n, r/2, r/2)."""
    kinds, count, side, _ = maps.shape
    tall = cv2.resize(maps.reshape(-1, side), (side // 2, kinds * count * side // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(tall, np.float32).reshape(kinds, count, side // 2, side // 2)


def _luminance(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance term from the window averages of sum and difference."""
    x, y = (mean[0] + mean[1]) / 2, (mean[0] - mean[1]) / 2
    term: NDArray[np.float32] = (2 * x * y + np.float32(LUMINANCE)) / (x * x + y * y + np.float32(LUMINANCE))
    return term


def ms_ssim(x: Pixels, y: Pixels, channels: str = "joint") -> NDArray[np.float64]:
    """MS-SSIM of pairs of images, on all cores.

    Parameters
    ----------
    x, y : ndarray of uint8 or float32, shape (n, 3, r, r)
        RGB in [0, 255]; r a multiple of 16.
    channels : "joint" or "separate"
        Average over the channels at every scale (Karras et al.), or over the finished values of the channels (others).

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1]; 1 for equal images.
    """
    check_side(x.shape[-1])
    side = x.shape[-1]
    x_planes, y_planes = x.reshape(-1, side, side), y.reshape(-1, side, side)
    portion = max(1, (1 << 16) // side**2)  # 1 MiB of maps, which stays in a core's cache and in the heap
    starts = range(0, len(x_planes), portion)
    parts = parallel_map(
        lambda start: plane_similarities(x_planes[start : start + portion], y_planes[start : start + portion]), starts
    )
    terms = np.concatenate(parts).reshape(len(x), 3, len(WEIGHTS))
    if channels == "joint":
        terms = terms.mean(axis=1, keepdims=True)
    similarity: NDArray[np.float64] = np.prod(np.maximum(terms, 0) ** WEIGHTS, axis=2).mean(axis=1)
    return similarity


def check_side(side: int) -> None:
    """Refuse sizes that cannot be halved four times."""
    if side < SMALLEST or side % SMALLEST:
        raise InputError(
            f"MS-SSIM halves images four times, so their side must be {SMALLEST}, 32, 48, ... pixels, not {side}; "
            "use --resolution"
        )


class Score(BaseScore):
    """Mean MS-SSIM over disjoint pairs: images 2k and 2k + 1 in the order of the measurement."""

    title = "MS-SSIM"
    summary = (
        "Mean MS-SSIM over pairs of images of SET: 1 if all are equal, lower the more they vary. "
        "A generator should come near to the value of the real images."
    )
    two_sets = False
    options = (
        Option(
            "channels",
            "joint",
            "How channels are averaged: at every scale, as Karras et al. do, or at the end, as most programs do.",
            choices=("joint", "separate"),
        ),
    )

    def __init__(
        self, plan: Plan, resolution: int, *, seed: int, keep_real: bool = False, channels: str = "joint"
    ) -> None:
        super().__init__(plan, resolution, seed=seed, keep_real=keep_real)
        self.channels = channels
        self.protocol: Mapping[str, Any] = {
            "weights": list(WEIGHTS),
            "window": WINDOW,
            "sigma": SIGMA,
            "k": [0.01, 0.03],
            "value_range": 255,
            "channels": channels,
            "pairs": "adjacent",
        }
        self._values: NDArray[np.float64] = np.full(plan.num_images // 2, np.nan)
        self._waiting: dict[int, NDArray[np.uint8]] = {}

    @classmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose the protocol's 20000 images (10000 pairs), or as many as there are, less one if that is odd."""
        check_side(resolution)
        have = available["fake"]
        if num_images is not None and have is not None and num_images > have:
            raise InputError(f"--num-images {num_images} is more than the {have} images there are")
        count = (num_images or min(20000, 20000 if have is None else have)) // 2 * 2
        if count < 2:
            raise InputError(
                f"MS-SSIM compares pairs: it needs two images or more, got {have if num_images is None else num_images}"
            )
        few = (f"measured on {count // 2} pairs, where the protocol has 10000",) if count < 20000 else ()
        return Plan(count, {"fake": count}, few)

    def update(self, side: Side, images: NDArray[np.uint8], first: int) -> None:
        """Compare the pairs that are complete; an image whose partner is missing waits for it."""
        del side
        self._compare({**self._waiting, **dict(enumerate(images, first))})

    def _compare(self, images: dict[int, NDArray[np.uint8]]) -> None:
        pairs = [k // 2 for k in sorted(images) if k % 2 == 0 and k + 1 in images]
        if pairs:
            x, y = (np.stack([images.pop(2 * pair + k) for pair in pairs]) for k in (0, 1))
            self._values[pairs] = ms_ssim(x, y, self.channels)
        self._waiting = {k: image.copy() for k, image in images.items()}

    def pieces(self) -> Iterator[tuple[NDArray[np.float64], dict[int, NDArray[np.uint8]]]]:
        """The pairs compared so far, and the images that wait for their partner."""
        yield self._values, self._waiting

    def take(self, piece: tuple[NDArray[np.float64], dict[int, NDArray[np.uint8]]]) -> None:
        """Take over the pairs of another object, and compare those of which each had one half."""
        values, waiting = piece
        new = np.isnan(self._values)
        self._values[new] = values[new]
        self._compare({**self._waiting, **waiting})

    def clear(self, side: Side) -> None:
        """Forget everything."""
        del side
        self._values[:] = np.nan
        self._waiting.clear()

    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Mean over the pairs; ``standard_error`` is that of this mean, since disjoint pairs are independent."""
        del progress
        if np.isnan(self._values).any():
            raise ValueError(f"{np.isnan(self._values).sum()} of {len(self._values)} pairs were never given")
        pairs = len(self._values)
        return {
            "value": float(self._values.mean()),
            "standard_error": float(self._values.std(ddof=1) / pairs**0.5) if pairs > 1 else None,
            "num_images": self.plan_of_images.num_images,
            "num_pairs": pairs,
            "protocol": dict(self.protocol),
            "warnings": list(self.plan_of_images.warnings),
        }
