"""What the metrics on features share: they keep the features of both sets, and measure when all are there."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.feature_checks import check_features
from metrics.scores import Plan, Progress, Score, Side, no_progress

_PIECE = 4096  # images whose features are sent to another process at a time


class FeatureScore(Score):
    """A metric of one or two sets of features.

    Parameters
    ----------
    plan, resolution, seed, keep_real
        See `metrics.scores.Score`.
    """

    needs: ClassVar[Literal["pixels", "features", "logits"]] = "features"
    extractor: ClassVar[str | None] = "inception"
    protocol_images: ClassVar[int] = 50_000
    """Number of images of each side in the protocol of the paper."""
    equal_sides: ClassVar[bool] = False
    """True if both sides must have equally many images; otherwise all reals are used, up to `most_reals`."""
    most_reals: ClassVar[int] = 200_000
    fewest: ClassVar[int] = 2
    """Fewer images of a side than this cannot be measured."""
    enough: ClassVar[int] = 10_000
    """Fewer than this give a warning, with `few_means`."""
    few_means: ClassVar[str] = "the value depends on the number of images: compare equal numbers only"

    def __init__(self, plan: Plan, resolution: int, *, seed: int, keep_real: bool = False) -> None:
        super().__init__(plan, resolution, seed=seed, keep_real=keep_real)
        self._features: dict[Side, NDArray[np.float32]] = {}
        self._given: dict[Side, NDArray[np.bool_]] = {
            side: np.zeros(wanted, np.bool_) for side, wanted in plan.wanted.items()
        }
        self._known_floor: dict[str, Any] | None = None

    @classmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose the protocol's number of images, or as many as there are; of the reals all, for the floor too.

        Where both sides have equally many, which is so if the user names a number, as many further reals are wanted for
        the floor. A side that is not in `available` is given as statistics.
        """
        del resolution
        sides: list[Side] = [side for side in ("real", "fake") if side in available]
        if num_images is not None and num_images < cls.fewest:
            raise InputError(f"{cls.title} needs at least {cls.fewest} images, got --num-images {num_images}")
        for side in sides:
            have, of_side = available[side], f"{side} " if cls.two_sets else ""
            if have is not None and have < cls.fewest:
                raise InputError(f"{cls.title} needs at least {cls.fewest} {of_side}images, got {have}; give it more")
            if num_images is not None and have is not None and have < num_images:
                raise InputError(f"--num-images {num_images} is more than the {number_of(have, of_side)}")
        have_all = [have for side in sides if (have := available[side]) is not None]
        count = num_images or min([cls.protocol_images, *have_all] if cls.equal_sides else [cls.protocol_images])
        wanted: dict[Side, int] = {}
        for side in sides:
            have = available[side]
            limit = count if side == "fake" else max(count, cls.most_reals)
            if side == "real" and (cls.equal_sides or num_images is not None or have is None):
                limit = 2 * count  # the second half is for the floor
            wanted[side] = limit if have is None else min(limit, have)
        num_reals = wanted.get("real")
        if num_reals is not None and (cls.equal_sides or num_images is not None or available["real"] is None):
            num_reals = min(count, num_reals)
        compared = [number for number in (num_reals, wanted.get("fake")) if number is not None]
        few = min(compared, default=cls.enough)
        return Plan(wanted.get("fake", count), wanted, cls.warnings_about(few), num_reals)

    @classmethod
    def warnings_about(cls, count: int) -> tuple[str, ...]:
        """What a reader must know if a side has so few images."""
        return (f"measured on {number_of(count)}: {cls.few_means}",) if count < cls.enough else ()

    def update(self, side: Side, images: NDArray[Any], first: int) -> None:
        """Take the features of images number `first` and following, float32 of shape (n, d)."""
        if images.ndim != 2:
            raise ValueError(f"features must be of shape (n, d), got {images.shape}")
        rows = slice(first, first + len(images))
        self._room(side, images.shape[1])[rows] = images
        self._given[side][rows] = True

    def _room(self, side: Side, size: int) -> NDArray[np.float32]:
        """Memory for the features of a side."""
        if side not in self._features:
            self._features[side] = np.zeros((len(self._given[side]), size), np.float32)
        return self._features[side]

    def pieces(self) -> Iterator[tuple[Side, NDArray[np.int64], NDArray[np.float32]]]:
        """Side, numbers and features of the images that were given, some thousands at a time."""
        for side, features in self._features.items():
            rows = np.flatnonzero(self._given[side])
            for start in range(0, len(rows), _PIECE):
                some = rows[start : start + _PIECE]
                yield side, some, features[some]

    def take(self, piece: tuple[Side, NDArray[np.int64], NDArray[np.float32]]) -> None:
        """Take over features of some images."""
        side, rows, features = piece
        room = self._room(side, features.shape[1])
        room[rows] = features
        self._given[side][rows] = True

    def clear(self, side: Side) -> None:
        """Forget the features of a side."""
        self._given[side][:] = False
        self._features.pop(side, None)
        if side == "real":
            self._known_floor = None

    def features(self, side: Side) -> NDArray[np.float32]:
        """All features of a side, shape (n, d), in the order of the measurement.

        Raises
        ------
        ValueError
            If some were never given.
        InputError
            If some are not finite.
        """
        missing = int((~self._given[side]).sum())
        if missing:
            raise ValueError(f"{missing} of {len(self._given[side])} {side} images were never given")
        found = self._features[side]
        check_features({side if self.two_sets else "the": found})
        return found

    @property
    def reals(self) -> NDArray[np.float32]:
        """Features of the reals behind the value, without those that only the floor needs."""
        return self.features("real")[: self.plan_of_images.num_reals]

    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Value, error and floor; see `measure` and `floor`."""
        del progress
        fake = self.features("fake")
        found = self.measure(self.reals, fake) if self.two_sets else self.measure(fake, fake)
        warnings = [*self.plan_of_images.warnings, *found.pop("warnings", ())]
        floor = self._floor() if self.two_sets else None
        if self.two_sets:
            warnings += self._about_floor(floor)
        if found["standard_error"] is None:
            warnings.append("there are too few images, or repeats, for a standard error")
        return {
            **found,
            **({"floor": floor} if self.two_sets else {}),
            "num_images": self.plan_of_images.num_images,
            "protocol": dict(self.protocol),
            "warnings": warnings,
        }

    @property
    def least(self) -> int:
        """Fewest images of a side that can be measured with the options given."""
        return self.fewest

    @property
    @abc.abstractmethod
    def protocol(self) -> Mapping[str, Any]:
        """Every number that the value depends on."""

    @abc.abstractmethod
    def measure(self, real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Any]:
        """Value, standard error and what else there is to say; a metric of one set looks at `fake` alone."""

    def _about_floor(self, floor: Mapping[str, Any] | None) -> list[str]:
        """What a reader must know of a floor that is missing, or of fewer images than the value."""
        count, have = self.plan_of_images.num_images, self.plan_of_images.wanted["real"]
        if floor is None:
            return [
                f"{number_of(have, 'real ')} {'is' if have == 1 else 'are'} too few for a floor; "
                f"it needs {2 * self.least}, and {2 * count} for equal N"
            ]
        if floor["num_images"] < count:
            return [
                f"the floor is of {number_of(floor['num_images'])}, the value of {count}; "
                f"with {2 * count} real images it would be at the same number"
            ]
        return []

    def _floor(self) -> dict[str, Any] | None:
        """The same of real images against other real images, as many as there are fakes if the reals suffice."""
        real = self.features("real")
        half = min(len(real) // 2, self.plan_of_images.num_images)
        if half < self.least:
            return None
        if self._known_floor is None:  # the same for all fakes, and as much work as a value
            found = self.measure(real[:half], real[half : 2 * half])
            self._known_floor = {
                "value": found["value"],
                "standard_error": found.get("standard_error"),
                "num_images": half,
                "method": "disjoint halves of the reals",
            }
        return dict(self._known_floor)


def number_of(count: int, kind: str = "") -> str:
    """``1 image``, ``2 images``, ``2 real images``."""
    return f"{count} {kind}image{'' if count == 1 else 's'}"
