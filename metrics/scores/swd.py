"""Sliced Wasserstein distance (SWD) between the patches of two image sets, per band of a Laplacian pyramid.

Karras, Aila, Laine, Lehtinen: "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018,
section 5; sliced Wasserstein after Rabin et al. 2011. Coarse bands say whether large-scale structure agrees, fine bands
whether texture and sharpness do. Protocol of the paper: 16384 images of each set, bands from the full resolution down
to 16x16, 128 patches of 7x7x3 from each image and band, normalised per channel by the statistics of their own set,
4 x 128 random directions, values times 1000.

The value falls as the number of images grows, so it means nothing without that number, and little without its noise
floor: the same distance between real images and other real images. docs/metrics.md says more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.laplacian import band_resolutions
from metrics.patches import GIB, Descriptors, Draws, PatchSet, Piece, bytes_per_image
from metrics.scores import Option, Plan, Progress, Side, no_progress
from metrics.scores import Score as BaseScore
from metrics.workers import parallel_map

NUM_IMAGES = 16384  # of each set, section 5
FACTOR = 1000.0  # the paper and everyone since quotes SWD x 10^3
COARSEST = 16  # side of the coarsest band, section 5
BLOCKS = 16  # disjoint parts of both sets, for the error
FLAT = 255 * 2.0**-20  # a deviation below the rounding errors of the pyramid is no structure


@dataclasses.dataclass(frozen=True)
class Projections:
    """Patches of one set along some directions.

    Attributes
    ----------
    values : ndarray of float32, shape (directions, patches)
        Each row sorted.
    offsets : ndarray of float64, shape (directions,)
        To be added to the rows: what subtracting the mean of the patches amounts to.
    """

    values: NDArray[np.float32]
    offsets: NDArray[np.float64]


def project(
    descriptors: Descriptors, directions: NDArray[np.float32], room: NDArray[np.float32] | None = None
) -> Projections:
    """Normalised patches along unit vectors, sorted.

    ``((x - mean) / deviation) @ d`` is ``x @ (d / deviation) - mean @ (d / deviation)``: patches stay as they were cut.
    A channel without structure (deviation below `FLAT`) counts as 0 everywhere.

    Parameters
    ----------
    descriptors : Descriptors
        n patches of 3 channels.
    directions : ndarray of float32, shape (d, 3 * patch_size^2)
    room : ndarray of float32, shape (at least d * n,), optional
        Memory for the result: using it again and again is faster than fresh memory.
    """
    structured = descriptors.deviation > FLAT
    scale = np.where(structured, 1 / np.where(structured, descriptors.deviation, 1), 0)
    by_channel = directions.reshape(len(directions), 3, -1) * scale[:, None]  # float64
    offsets = -(by_channel * descriptors.mean[:, None]).sum(axis=(1, 2))
    weights = by_channel.reshape(len(directions), -1).astype(np.float32)
    shape = len(directions), len(descriptors.patches)
    values = np.empty(shape, np.float32) if room is None else room[: shape[0] * shape[1]].reshape(shape)
    np.matmul(weights, descriptors.patches.T, out=values)
    parallel_map(np.ndarray.sort, values)  # in place, contiguous rows: numpy's vectorised sort, outside of the GIL
    return Projections(values, offsets)


def wasserstein(a: Projections, b: Projections) -> NDArray[np.float64]:
    """1-Wasserstein distance along every direction: mean |a_i - b_i| of the sorted values, equally many in both.

    Overwrites the values of `b`.
    """

    def along(k: int) -> float:
        difference = np.subtract(a.values[k], b.values[k], out=b.values[k])
        difference += np.float32(a.offsets[k] - b.offsets[k])
        return float(np.abs(difference, out=difference).mean())  # pairwise summation: good to 1e-6

    return np.array(parallel_map(along, range(len(a.values))))


def sliced_wasserstein(a: Descriptors, b: Descriptors, directions: NDArray[np.float32]) -> float:
    """Mean over `directions` of the 1-Wasserstein distance of two equally large sets of patches, not times 1000."""
    return float(wasserstein(project(a, directions), project(b, directions)).mean())


def variance_of_images(along: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Variance of the mean over blocks that the draw of images and patches makes, without that of the directions.

    The values of blocks scatter for both reasons. Within a block only directions differ, which tells their part; it is
    taken off, since it is larger in small blocks.

    Parameters
    ----------
    along : list of ndarray of float64, shape (blocks, directions)
        Values of every band, along single directions.

    Returns
    -------
    ndarray of float64, shape (bands + 1,)
        Of every band and of their average; 0 where nothing is left.
    """
    means = np.array([values.mean(axis=1) for values in along])
    inner = np.array([values.var(axis=1, ddof=1).mean() / values.shape[1] for values in along])
    means = np.append(means, means.mean(axis=0, keepdims=True), axis=0)
    inner = np.append(inner, inner.mean() / len(inner))
    found: NDArray[np.float64] = np.maximum(0, means.var(axis=1, ddof=1) - inner) / means.shape[1]
    return found


def swd(real: NDArray[np.uint8], fake: NDArray[np.uint8], *, seed: int = 0, **options: Any) -> dict[str, float]:
    """SWD times 1000 of two equally large sets of images, by band (its side in pixels) and on ``"average"``.

    Parameters
    ----------
    real, fake : ndarray of uint8, shape (n, 3, r, r)
    seed : int
        Of patches and directions.
    **options
        Of `Score`: ``patches``, ``directions``, ``repeats``, ``memory``.
    """
    plan = Plan(len(fake), {"real": len(fake), "fake": len(fake)})
    score = Score(plan, fake.shape[-1], seed=seed, **options)
    score.update("real", real[: len(fake)], 0)
    score.update("fake", fake, 0)
    found = score.compute()
    return {**found["levels"], "average": found["value"]}


class Score(BaseScore):
    """SWD of real against fake, with the floor of real against real.

    Parameters
    ----------
    plan, resolution, seed, keep_real
        See `metrics.scores.Score`.
    memory : float
        GiB for patches and projections together; patches beyond half of it lie in a temporary file.
    patches, patch_size, directions, repeats : int
        The paper's numbers.
    draws : Draws, optional
        Where the random numbers come from; tests replay the streams of other programs.
    """

    title = "SWD x1000"
    summary = (
        "Sliced Wasserstein distance of FAKE from REAL, per band of a Laplacian pyramid, times 1000, beside its noise "
        "floor: the same distance of real images from other real images."
    )
    two_sets = True
    options = (Option("memory", 4.0, "GiB for patches and projections; the rest goes to a temporary file."),)

    def __init__(
        self,
        plan: Plan,
        resolution: int,
        *,
        seed: int,
        keep_real: bool = False,
        memory: float = 4.0,
        patches: int = 128,
        patch_size: int = 7,
        directions: int = 128,
        repeats: int = 4,
        draws: Draws | None = None,
    ) -> None:
        super().__init__(plan, resolution, seed=seed, keep_real=keep_real)
        if not memory > 0:  # this way round for nan
            raise InputError(f"--memory must be a number of GiB above 0, got {memory}")
        self.draws = draws or Draws(seed)
        self._directions, self._repeats, self._budget = directions, repeats, memory * GIB
        self._dimensions = 3 * patch_size**2
        self.protocol = {
            "patches_per_image": patches,
            "patch_size": patch_size,
            "directions": directions,
            "repeats": repeats,
            "coarsest_band": COARSEST,
            "factor": FACTOR,
            "error": f"{BLOCKS} disjoint blocks of images",
        }
        needed = sum(plan.wanted.values()) * bytes_per_image(resolution, patches, patch_size, COARSEST)
        self.sets: dict[Side, PatchSet] = {
            side: PatchSet(
                side,
                plan.wanted[side],
                resolution,
                self.draws,
                patches=patches,
                patch_size=patch_size,
                coarsest=COARSEST,
                in_memory=needed <= self._budget / 2,
            )
            for side in ("real", "fake")
        }
        self._kept: dict[tuple[int, int, int], Projections] = {}
        self._floor: dict[str, Any] | None = None

    @classmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose the number of images, equal on both sides.

        The paper's 16384, or as many as both sides have. If the fakes are made on demand and the reals are fewer than
        that, half of the reals: the other half then gives the floor at the very same number.
        """
        band_resolutions(resolution, COARSEST)  # refuses sizes that have none
        real, fake = available["real"], available["fake"]
        if num_images is None and fake is None and real is not None and real < NUM_IMAGES:
            num_images = max(1, real // 2)
        elif num_images is None:
            num_images = min([NUM_IMAGES, *(have for have in (real, fake) if have is not None)])
        for side in ("real", "fake"):
            have = available[side]
            if have is not None and have < num_images:
                raise InputError(
                    f"--num-images {num_images} is more than the {have} {side} images; SWD needs equally many of both"
                )
        if num_images < 1:
            raise InputError(f"--num-images must be at least 1, got {num_images}")
        real_wanted = 2 * num_images if real is None else min(2 * num_images, real)
        warnings = []
        if num_images < 2048:
            warnings.append(
                f"measured on {num_images} images: SWD falls as images are added (the paper has {NUM_IMAGES}), "
                "so compare it only with values at the same number, and with its floor"
            )
        if real_wanted < 2 * num_images:
            warnings.append(
                f"the floor is measured between halves of {real_wanted // 2} real images, fewer than {num_images}: "
                "it is an upper estimate"
                if real_wanted > 1
                else "one real image gives no floor"
            )
        return Plan(num_images, {"real": real_wanted, "fake": num_images}, tuple(warnings))

    def update(self, side: Side, images: NDArray[np.uint8], first: int) -> None:
        """Take the patches of some images."""
        self.sets[side].update(images, first)

    def pieces(self) -> Iterator[tuple[Side, Piece]]:
        """Side and patches of some images at a time."""
        for side, patches in self.sets.items():
            for piece in patches.pieces():
                yield side, piece

    def take(self, piece: tuple[Side, Piece]) -> None:
        """Take over the patches of some images."""
        side, patches = piece
        self.sets[side].take(patches)

    def clear(self, side: Side) -> None:
        """Forget the images of a side."""
        self.sets[side].clear()
        if side == "real":
            self._kept.clear()
            self._floor = None

    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """SWD per band (keyed by its side in pixels), their plain average, and the floor.

        ``standard_error`` and ``levels_error`` say how far the values of other images, patches and directions would
        lie, see `variance_of_images`. ``projection_error`` is the standard error over the repeats of directions alone:
        patches and images stay the same, so it says how well the projections are averaged out.
        """
        count, half = self.plan_of_images.num_images, self.plan_of_images.wanted["real"] // 2
        bands = self.sets["real"].bands
        values, floors = np.zeros((2, len(bands), self._repeats))
        with_floor = self._floor is None and half > 0
        rooms = [np.empty(self._portion * count * self.sets["real"].num_patches, np.float32) for _ in range(2)]
        with progress(len(bands) * self._repeats, "projecting", unit="repeat") as bar:
            for band, repeat, start, directions in self._portions():
                real = self._real_projections((band, repeat, start), directions, rooms[0])
                fake = project(self.sets["fake"].descriptors(band, 0, count), directions, rooms[1])
                values[band, repeat] += wasserstein(real, fake).sum()
                if with_floor:
                    first, second = (self.sets["real"].descriptors(band, k * half, (k + 1) * half) for k in range(2))
                    first_half = real if half == count else project(first, directions, rooms[0])
                    floors[band, repeat] += wasserstein(first_half, project(second, directions, rooms[1])).sum()
                bar.update(len(directions) / self._directions)
        values *= FACTOR / self._directions
        floors *= FACTOR / self._directions
        if with_floor:
            method = "disjoint" if half == count else "disjoint halves"
            self._floor = {**self._averages(floors), "num_images": half, "method": method}
        errors = self._errors(values)
        return {
            **self._averages(values),
            "standard_error": None if errors is None else float(errors[-1]),
            "levels_error": None if errors is None else self._by_band(errors[:-1]),
            "projection_error": self._by_band(values.std(axis=1) / max(1, self._repeats - 1) ** 0.5),
            "floor": self._floor and dict(self._floor),
            "num_images": count,
            "protocol": dict(self.protocol),
            "warnings": list(self.plan_of_images.warnings),
        }

    def _errors(self, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Standard errors of every band and of the average, shape (bands + 1,); None below 8 images.

        From disjoint blocks of images: their values lie above that of the whole sets, since they are
        smaller, but SWD scatters as 1 / sqrt(n) whether the sets are alike or not, so the mean of all blocks scatters
        as the value does. Every block has directions of its own.

        Parameters
        ----------
        values : ndarray of float64, shape (bands, repeats)
            Of the whole sets.
        """
        count = self.plan_of_images.num_images
        blocks = min(BLOCKS, count // 2)
        if blocks < 4:
            return None
        along = []  # bands, each of shape (blocks, directions)
        for band, side in enumerate(self.sets["real"].bands):
            directions = np.concatenate(
                [
                    self.draws.directions(side, repeat, self._directions, self._dimensions)
                    for repeat in range(self._repeats)
                ]
            )
            share = max(2, len(directions) // blocks)
            found = np.empty((blocks, share))
            for k in range(blocks):
                images = k * count // blocks, (k + 1) * count // blocks
                own = directions[np.arange(k * share, (k + 1) * share) % len(directions)]
                real, fake = (project(patches.descriptors(band, *images), own) for patches in self.sets.values())
                found[k] = FACTOR * wasserstein(real, fake)
            along.append(found)
        whole = np.append(values, values.mean(axis=0, keepdims=True), axis=0)
        of_directions = whole.var(axis=1) / max(1, self._repeats - 1)
        errors: NDArray[np.float64] = np.sqrt(variance_of_images(along) + of_directions)
        return errors

    @property
    def _portion(self) -> int:
        """Directions whose projections of two sets fit into a quarter of the memory at once."""
        bytes_a_direction = 2 * 4 * self.plan_of_images.num_images * self.sets["real"].num_patches
        size = self._directions
        while size > 1 and size * bytes_a_direction > self._budget / 4:
            size //= 2
        return size

    def _portions(self) -> Iterator[tuple[int, int, int, NDArray[np.float32]]]:
        """Band, repeat, first direction and the unit vectors of every portion."""
        for band, side in enumerate(self.sets["real"].bands):
            for repeat in range(self._repeats):
                directions = self.draws.directions(side, repeat, self._directions, self._dimensions)
                for start in range(0, self._directions, self._portion):
                    yield band, repeat, start, directions[start : start + self._portion]

    def _real_projections(
        self, key: tuple[int, int, int], directions: NDArray[np.float32], room: NDArray[np.float32]
    ) -> Projections:
        """Projections of the reals, kept for the next fakes if that was asked for and if memory allows."""
        if key in self._kept:
            return self._kept[key]
        descriptors = self.sets["real"].descriptors(key[0], 0, self.plan_of_images.num_images)
        bytes_of_all = 4 * len(descriptors.patches) * self._directions * self._repeats * len(self.sets["real"].bands)
        if not self.keep_real or bytes_of_all > self._budget / 4:
            return project(descriptors, directions, room)
        return self._kept.setdefault(key, project(descriptors, directions))

    def _averages(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """Value and levels from what was measured, shape (bands, repeats)."""
        return {"value": float(values.mean()), "levels": self._by_band(values.mean(axis=1))}

    def _by_band(self, numbers: NDArray[np.float64]) -> dict[str, float]:
        return {str(side): float(number) for side, number in zip(self.sets["real"].bands, numbers, strict=True)}
