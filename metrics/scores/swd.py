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

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.known_reals import KnownReals
from metrics.laplacian import band_resolutions
from metrics.patches import Descriptors, Draws, PatchSet, Piece
from metrics.projections import Projections, apart, project, project_apart, sliced_wasserstein, wasserstein
from metrics.room import divide
from metrics.scores import Option, Plan, Progress, Side, no_progress
from metrics.scores import Score as BaseScore

__all__ = ["Score", "sliced_wasserstein", "swd", "variance_of_images"]

NUM_IMAGES = 16384  # of each set, section 5
FACTOR = 1000.0  # the paper and everyone since quotes SWD x 10^3
COARSEST = 16  # side of the coarsest band, section 5
BLOCKS = 16  # disjoint parts of both sets, for the error
_VERSION = 1  # of what is kept in the cache; a change of any number here needs another


def variance_of_images(along: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Variance of the mean over blocks that the draw of images and patches makes, without that of the directions.

    All blocks are measured along the same directions, so what a direction does to all of them is no scatter of theirs.
    What it does to single blocks averages out over the directions; what is left of that, as told by the residuals of
    the two-way table of blocks and directions, is taken off.

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
    inner = np.array([_residual_variance(values) / values.shape[1] for values in along])
    means = np.append(means, means.mean(axis=0, keepdims=True), axis=0)
    inner = np.append(inner, inner.mean() / len(inner))
    found: NDArray[np.float64] = np.maximum(0, means.var(axis=1, ddof=1) - inner) / means.shape[1]
    return found


def _residual_variance(table: NDArray[np.float64]) -> float:
    """Variance of what is left of a table without the means of its rows and columns."""
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.square(left).sum() / ((table.shape[0] - 1) * (table.shape[1] - 1)))


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
    device : str
        ``"cpu"`` is numpy on all cores. Any other of torch's names, such as ``"cuda"`` (or ``"cpu:0"``, for tests),
        keeps patches and projections on that device, where they must fit: there is no temporary file.
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
    options = (
        Option("memory", 4.0, "GiB for patches and projections; the rest goes to a temporary file."),
        Option("device", "cpu", "Where patches are cut, projected and sorted, such as cuda; --memory is then its own."),
    )

    def __init__(
        self,
        plan: Plan,
        resolution: int,
        *,
        seed: int,
        keep_real: bool = False,
        memory: float = 4.0,
        device: str = "cpu",
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
        self._directions, self._repeats = directions, repeats
        self._patches, self._patch_size = patches, patch_size
        self.protocol = {
            "patches_per_image": patches,
            "patch_size": patch_size,
            "directions": directions,
            "repeats": repeats,
            "coarsest_band": COARSEST,
            "factor": FACTOR,
            "error": f"{BLOCKS} disjoint blocks of images",
        }
        self._device = device
        self._sizes = {"patches": patches, "patch_size": patch_size, "coarsest": COARSEST}
        self._room = divide(
            memory, plan.num_images, sum(plan.wanted.values()), resolution, directions * repeats, **self._sizes
        )
        self.sets: dict[Side, PatchSet] = {side: self._empty(side, plan.wanted[side]) for side in ("real", "fake")}
        may_keep = self._room.kept if keep_real and device == "cpu" else 0
        self._known = KnownReals(self._num_rows, self._width, may_keep)

    def _empty(self, side: Side, count: int) -> PatchSet:
        if self._device == "cpu":
            in_memory = self._room.in_memory or not count
            return PatchSet(side, count, self.resolution, self.draws, **self._sizes, in_memory=in_memory)
        from metrics.device_patches import DevicePatchSet  # torch, which takes a second to import
        from metrics.precision import checked_device

        return DevicePatchSet(checked_device(self._device), side, count, self.resolution, self.draws, **self._sizes)

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

    def recall(self, folder: Path, digest: str) -> int:
        """Use the cache for the floor and the sorted projections of the reals, see `KnownReals`."""
        key = {
            "swd of": digest,
            "resolution": self.resolution,
            "seed": self.seed,
            "images": [self.plan_of_images.num_images, self.plan_of_images.wanted["real"]],
            "protocol": self.protocol,
            "version": _VERSION,
        }
        self._known.recall(folder, key, with_rows=self._device == "cpu")
        self.notes = self._known.notes
        wanted = self.plan_of_images.wanted["real"]
        if self._known.complete:
            wanted = 0
        elif self._known.floor is not None:
            wanted = self.plan_of_images.num_images
        self.sets["real"] = self._empty("real", wanted)
        return wanted

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
            self._known.forget()
            if self.sets["real"].num_images < self.plan_of_images.wanted["real"]:
                self.sets["real"] = self._empty("real", self.plan_of_images.wanted["real"])

    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """SWD per band (keyed by its side in pixels), their plain average, and the floor.

        ``standard_error`` and ``levels_error`` say how far the values of other images, patches and directions would
        lie, see `variance_of_images`. ``projection_error`` is the standard error over the repeats of directions alone:
        patches and images stay the same, so it says how well the projections are averaged out.
        """
        count, half = self.plan_of_images.num_images, self.plan_of_images.wanted["real"] // 2
        real, fake = self.sets["real"], self.sets["fake"]
        along, floor_along = np.zeros((2, len(fake.bands), self._repeats * self._directions))
        in_blocks: list[NDArray[np.float64]] = []  # bands, each of shape (blocks, directions)
        with_floor = self._known.floor is None and half > 0
        rooms = [np.empty(self._room.directions * self._width * (self._device == "cpu"), np.float32) for _ in range(2)]
        with progress(len(fake.bands) * self._repeats, "projecting", unit="repeat") as bar:
            for band, side in enumerate(fake.bands):
                directions = self._directions_of(side)
                for start in range(0, len(directions), self._room.directions):
                    chosen = directions[start : start + self._room.directions]
                    rows = slice(start, start + len(chosen))
                    whole = self._real_projections(band, [(0, count)], chosen, start, rooms[0])[0]
                    along[band, rows] = wasserstein(whole, project(fake.descriptors(band, 0, count), chosen, rooms[1]))
                    if with_floor:
                        first, second = (real.descriptors(band, k * half, (k + 1) * half) for k in range(2))
                        first_half = whole if half == count else project(first, chosen, rooms[0])
                        floor_along[band, rows] = wasserstein(first_half, project(second, chosen, rooms[1]))
                    bar.update(len(chosen) / self._directions)
                if self._blocks:
                    in_blocks.append(self._along_in_blocks(band, directions, rooms))
        values, floors = (
            FACTOR * found.reshape(len(fake.bands), self._repeats, -1).mean(axis=2) for found in (along, floor_along)
        )
        if with_floor:
            method = "disjoint" if half == count else "disjoint halves"
            self._known.floor = {**self._averages(floors), "num_images": half, "method": method}
        self._known.put_facts()
        errors = self._errors(values, in_blocks)
        return {
            **self._averages(values),
            "standard_error": None if errors is None else float(errors[-1]),
            "levels_error": None if errors is None else self._by_band(errors[:-1]),
            "projection_error": self._by_band(values.std(axis=1) / max(1, self._repeats - 1) ** 0.5),
            "floor": self._known.floor and dict(self._known.floor),
            "num_images": count,
            "protocol": dict(self.protocol),
            "warnings": list(self.plan_of_images.warnings),
        }

    def _errors(self, values: NDArray[np.float64], in_blocks: list[NDArray[np.float64]]) -> NDArray[np.float64] | None:
        """Standard errors of every band and of the average, shape (bands + 1,); None below 8 images.

        From disjoint blocks of images: their values lie above that of the whole sets, since they are
        smaller, but SWD scatters as 1 / sqrt(n) whether the sets are alike or not, so the mean of all blocks scatters
        as the value does.

        Parameters
        ----------
        values : ndarray of float64, shape (bands, repeats)
            Of the whole sets.
        in_blocks : list of ndarray of float64, shape (blocks, directions)
            Of the blocks, by band.
        """
        if not in_blocks:
            return None
        whole = np.append(values, values.mean(axis=0, keepdims=True), axis=0)
        of_directions = whole.var(axis=1) / max(1, self._repeats - 1)
        errors: NDArray[np.float64] = np.sqrt(variance_of_images(in_blocks) + of_directions)
        return errors

    @property
    def _blocks(self) -> int:
        """Blocks of images, none below 8 images."""
        blocks = min(BLOCKS, self.plan_of_images.num_images // 2)
        return blocks if blocks >= 4 else 0

    @property
    def _share(self) -> int:
        """Directions of the blocks: a 32nd of all, which adds as much to the time."""
        return max(2, self._directions * self._repeats // (2 * BLOCKS)) if self._blocks else 0

    def _along_in_blocks(
        self, band: int, directions: NDArray[np.float32], rooms: list[NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        """Values of disjoint blocks of images, times 1000: shape (blocks, directions)."""
        count, blocks, share = self.plan_of_images.num_images, self._blocks, self._share
        ends = [(k * count // blocks, (k + 1) * count // blocks) for k in range(blocks)]
        found = np.empty((blocks, share))
        for start in range(0, share, self._room.directions):
            places = slice(start, min(start + self._room.directions, share))
            some = directions[:: len(directions) // share][places]  # of all repeats
            reals = self._real_projections(band, ends, some, len(directions) + start, rooms[0])
            fakes = project_apart([self.sets["fake"].descriptors(band, *part) for part in ends], some, rooms[1])
            for k, (real, fake) in enumerate(zip(reals, fakes, strict=True)):
                found[k, places] = FACTOR * wasserstein(real, fake)
        return found

    def _directions_of(self, side: int) -> NDArray[np.float32]:
        """Directions of all repeats in a band."""
        dimensions = 3 * self._patch_size**2
        every = [self.draws.directions(side, repeat, self._directions, dimensions) for repeat in range(self._repeats)]
        return np.concatenate(every)

    @property
    def _width(self) -> int:
        """Patches of one side in a band."""
        return self.plan_of_images.num_images * self._patches

    @property
    def _num_rows(self) -> int:
        """Rows of `_width` projections that hold all of a side: along all directions, and along those of the blocks."""
        return len(self.sets["fake"].bands) * (self._repeats * self._directions + self._share)

    def _real_projections(
        self,
        band: int,
        parts: list[tuple[int, int]],
        directions: NDArray[np.float32],
        first: int,
        room: NDArray[np.float32],
    ) -> list[Projections]:
        """Projections of parts of the reals, each normalised by itself: kept ones, or new ones that are kept.

        Side by side they fill rows of `_width`, of which `first` is the number of the first one within the band.
        """
        num_rows = len(directions)
        rows = band * (self._num_rows // len(self.sets["fake"].bands)) + first + np.arange(num_rows)
        descriptors = [self._real_part(band, *part) for part in parts]
        if self._device != "cpu":
            return project_apart(descriptors, directions, room)
        values = room[: num_rows * self._width].reshape(num_rows, self._width)
        if self._known.read_into(rows, values):
            return apart(descriptors, directions, values)
        if len(parts) == 1:
            found = [project(descriptors[0], directions, room)]
        else:
            found = project_apart(descriptors, directions, room)
        self._known.put(rows, values)
        return found

    def _real_part(self, band: int, start: int, stop: int) -> Descriptors:
        """Statistics of some reals, and their patches unless the projections come from the cache."""
        if self._known.complete:
            return self._known.statistics(band, start, stop, self._patches, 3 * self._patch_size**2)
        descriptors = self.sets["real"].descriptors(band, start, stop)
        self._known.note_statistics(band, start, stop, descriptors)
        return descriptors

    def _averages(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """Value and levels from what was measured, shape (bands, repeats)."""
        return {"value": float(values.mean()), "levels": self._by_band(values.mean(axis=1))}

    def _by_band(self, numbers: NDArray[np.float64]) -> dict[str, float]:
        return {str(side): float(number) for side, number in zip(self.sets["fake"].bands, numbers, strict=True)}
