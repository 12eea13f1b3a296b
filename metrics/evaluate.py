"""One pass over the images feeds every metric that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.order import Order
from metrics import result, scores
from metrics.images import ImageSet
from metrics.scores import Plan, Progress, Score, Side, no_progress


def evaluate(
    metric_names: Sequence[str],
    real: ImageSet | None,
    fake: ImageSet,
    *,
    num_images: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """Measure `fake`, against `real` where a metric compares two sets.

    Parameters
    ----------
    metric_names : sequence of str
        Such as ``["swd", "ms-ssim"]``; see `metrics.scores.names`.
    real : ImageSet, optional
        Needed by metrics of two sets. Metrics of one set measure it too, as a ``reference``.
    fake : ImageSet
        The images to judge.
    num_images : int, optional
        Images of each side; every metric's own protocol if not given.
    seed : int
        Chooses the images (a random subset where not all are measured) and everything random in the metrics.
    batch_size : int, optional
        Images in memory at a time; chosen by their size if not given. Does not change the values.
    options : mapping of metric name to keywords, optional
        Further arguments of single metrics.
    progress : Progress
        Such as `datasets.console.progress`.

    Returns
    -------
    list of dict
        One result per metric, JSON-able, with protocol, image sets, versions and warnings.

    Raises
    ------
    InputError
        If the sets do not fit each other or a metric.
    """
    return Evaluator(
        metric_names, real, num_images=num_images, seed=seed, batch_size=batch_size, options=options, keep_real=False
    )(fake, progress)


class Evaluator:
    """`evaluate` for many sets of fakes against the same reals, which are read once.

    A trainer makes one of these and calls it with every new set of samples. Parameters are those of `evaluate`.
    """

    def __init__(
        self,
        metric_names: Sequence[str],
        real: ImageSet | None,
        *,
        num_images: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        keep_real: bool = True,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"--batch-size must be at least 1, got {batch_size}")
        if seed < 0:
            raise InputError(f"--seed must be 0 or more, got {seed}")
        self.real, self.num_images, self.seed, self.batch_size = real, num_images, seed, batch_size
        self.keep_real = keep_real
        self.options = options or {}
        self.classes = {name: scores.load(name) for name in metric_names}
        self._scores: dict[str, Score] = {}  # of two sets, with the reals already given
        self._references: dict[str, dict[str, Any]] = {}  # metrics of one set: their results on the reals
        for name, score in self.classes.items():
            if score.two_sets and real is None:
                raise InputError(f"{name} compares two sets; name the real images too")

    def __call__(self, fake: ImageSet, progress: Progress = no_progress) -> list[dict[str, Any]]:
        """Measure one set of fakes; see `evaluate`."""
        if self.real is not None and self.real.resolution != fake.resolution:
            sizes = self.real.resolution, fake.resolution
            raise InputError(
                f"{self.real.name} has images of {sizes[0]}x{sizes[0]}, {fake.name} of {sizes[1]}x{sizes[1]}; "
                f"measure both at one size: --resolution {min(sizes)}"
            )
        plans = {name: self._plan(score, fake) for name, score in self.classes.items()}
        self._prepare_real(plans, fake.resolution, progress)
        active = {
            name: self._scores[name] if score.two_sets else self._new(name, plans[name], fake.resolution)
            for name, score in self.classes.items()
        }
        self._feed(active, "fake", fake, progress)
        results = [self._result(name, score, fake, progress) for name, score in active.items()]
        for score in self._scores.values():
            score.clear("fake")
        return results

    def _plan(self, score: type[Score], fake: ImageSet) -> Plan:
        available: dict[Side, int | None] = {"fake": fake.num_images}
        if score.two_sets and self.real is not None:
            available["real"] = self.real.num_images
        return score.plan(available, fake.resolution, self.num_images)

    def _new(self, name: str, plan: Plan, resolution: int) -> Score:
        return self.classes[name](
            plan, resolution, seed=self.seed, keep_real=self.keep_real, **self.options.get(name, {})
        )

    def _prepare_real(self, plans: Mapping[str, Plan], resolution: int, progress: Progress) -> None:
        """Give the reals to every metric that has not seen them yet, or has seen another number of them."""
        if self.real is None:
            return
        fresh: dict[str, Score] = {}
        references: dict[str, Score] = {}
        for name, score in self.classes.items():
            if score.two_sets:
                if name not in self._scores or self._scores[name].plan_of_images != plans[name]:
                    fresh[name] = self._scores[name] = self._new(name, plans[name], resolution)
            elif name not in self._references:
                plan = score.plan({"fake": self.real.num_images}, resolution, self.num_images)
                references[name] = self._new(name, plan, resolution)
        self._feed({**fresh, **references}, "real", self.real, progress)
        for name, reference in references.items():
            self._references[name] = {k: v for k, v in reference.compute().items() if k not in ("protocol", "warnings")}

    def _feed(self, active: Mapping[str, Score], side: Side, images: ImageSet, progress: Progress) -> None:
        """Read as many images as any metric wants, once, in the seed's order, and hand each metric its share."""
        wanted = {
            name: score.plan_of_images.wanted[side if score.two_sets else "fake"] for name, score in active.items()
        }
        total = max(wanted.values(), default=0)
        if not total:
            return
        # Images made on demand come in their own order: number k is as random as any other.
        rows = np.arange(total) if images.num_images is None else Order(images.num_images, self.seed).rows(0, total)
        batch_size = self.batch_size or _batch_size(images.resolution)
        with progress(total, f"{side} images") as bar:
            for first in range(0, total, batch_size):
                batch = images.read(rows[first : first + batch_size])
                for name, score in active.items():
                    share = batch[: max(0, wanted[name] - first)]
                    if len(share):
                        score.update(side if score.two_sets else "fake", share, first)
                bar.update(len(batch))

    def _result(self, name: str, score: Score, fake: ImageSet, progress: Progress) -> dict[str, Any]:
        found = score.compute(progress)
        plan = score.plan_of_images
        real = self.real if score.two_sets or name in self._references else None
        if real is not None and real.digest == fake.digest and real.kind == fake.kind:
            found["warnings"].append("both sets hold the same images")
        record = {
            "metric": name,
            **found,
            "seed": self.seed,
            "real": None if real is None else result.describe(real, plan.wanted.get("real", plan.num_images)),
            "fake": result.describe(fake, plan.wanted["fake"]),
            "versions": result.versions(),
        }
        if name in self._references:
            record["reference"] = self._references[name]
            record["real"]["num_images"] = self._references[name]["num_images"]
        return record


def _batch_size(resolution: int) -> int:
    """Images whose pixels take 32 MiB at most; a power of two, since generators work in such blocks."""
    fitting = (32 << 20) // (3 * resolution**2)
    return int(1 << max(1, min(8, fitting.bit_length() - 1)))
