"""One pass over the images feeds every metric that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.order import Order
from metrics import result, scores, sharing
from metrics.batches import Batch, FeatureSource, Networks, Steps, choose_batch_size, feature_source, one_ahead
from metrics.cache import Facts
from metrics.extraction import Extraction
from metrics.feature_sets import FeatureSet
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
    networks: Networks | None = None,
    extractor: str | None = None,
    cache_folder: Path | None = None,
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
    networks : callable, optional
        Opens the networks of metrics on features by name, see `metrics.networks`; needed by such metrics.
    extractor : str, optional
        One network for all metrics on features, in place of each one's own.
    cache_folder : Path, optional
        Where what metrics on pixels derive from the reals is kept, such as `metrics.cache.default_folder`.
    progress : Progress
        Such as `datasets.console.progress`.

    Returns
    -------
    list of dict
        One result per metric, JSON-able, with protocol, image sets, versions and warnings. Empty in all but the first
        of several processes, see `metrics.sharing`.

    Raises
    ------
    InputError
        If the sets do not fit each other or a metric.
    """
    return Evaluator(
        metric_names,
        real,
        num_images=num_images,
        seed=seed,
        batch_size=batch_size,
        options=options,
        networks=networks,
        extractor=extractor,
        cache_folder=cache_folder,
        keep_real=False,
    )(fake, progress)


class Evaluator:
    """`evaluate` for many sets of fakes against the same reals, which are read once.

    A trainer makes one of these and calls it with every new set of samples. Parameters are those of `evaluate`.

    Attributes
    ----------
    notes : list of str
        What was taken from the cache or kept there, for the user.
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
        networks: Networks | None = None,
        extractor: str | None = None,
        cache_folder: Path | None = None,
        keep_real: bool = True,
    ) -> None:
        for text, value in (("--batch-size", batch_size), ("--num-images", num_images)):
            if value is not None and value < 1:
                raise InputError(f"{text} must be at least 1, got {value}")
        if seed < 0:
            raise InputError(f"--seed must be 0 or more, got {seed}")
        self.real, self.num_images, self.seed, self.batch_size = real, num_images, seed, batch_size
        self.keep_real, self.cache_folder = keep_real, cache_folder
        self.options = options or {}
        self.classes = {name: scores.load(name) for name in metric_names}
        self._open_network, self._extractor = networks, extractor
        self._scores: dict[str, Score] = {}  # of two sets, with the reals already given
        self._references: dict[str, dict[str, Any]] = {}  # metrics of one set: their results on the reals
        self._real_wanted: dict[str, int] = {}  # of two sets: reals that the cache does not make superfluous
        self.notes: list[str] = []
        for name, score in self.classes.items():
            if score.two_sets and real is None:
                raise InputError(f"{name} compares two sets; name the real images too")
            for option in score.options:
                if option.name.replace("-", "_") in self.options.get(name, {}):
                    option.check(self.options[name][option.name.replace("-", "_")])

    def check(self, fake: ImageSet) -> None:
        """Refuse what cannot be measured, before anything is read.

        Raises
        ------
        InputError
        """
        self._prepare(fake)

    def __call__(self, fake: ImageSet, progress: Progress = no_progress) -> list[dict[str, Any]]:
        """Measure one set of fakes; see `evaluate`."""
        resolution, plans, sources = self._prepare(fake)
        self._prepare_real(plans, resolution, sources, progress)
        active = {
            name: self._scores[name] if score.two_sets else self._new(name, plans[name], resolution)
            for name, score in self.classes.items()
        }
        self._feed(active, "fake", fake, sources, progress)
        merged = {name: sharing.merge(score) for name, score in active.items()}
        first = sharing.rank() == 0
        results = (
            [self._result(name, score, fake, sources.get(name), progress) for name, score in merged.items()]
            if first
            else []
        )
        for score in self._scores.values():
            score.clear("fake")
        return results

    def _prepare(self, fake: ImageSet) -> tuple[int, dict[str, Plan], dict[str, FeatureSource]]:
        """Side of the images, number of images for every metric, and where metrics on features get them."""
        resolution = self._common_resolution(fake)
        plans = {}
        for name, score in self.classes.items():
            if score.two_sets and self.real is not None:
                available = _available(name, score, {"real": self.real, "fake": fake})
            else:
                available = _available(name, score, {"fake": fake})
                if self.real is not None:  # measured too, for the reference
                    score.plan(_available(name, score, {"fake": self.real}), resolution, self.num_images)
            plans[name] = score.plan(available, resolution, self.num_images)
        sets = [fake] if self.real is None else [self.real, fake]
        sources = {
            name: feature_source(score, sets, self._extractor, self._open_network)
            for name, score in self.classes.items()
            if score.extractor is not None
        }
        return resolution, plans, sources

    def _common_resolution(self, fake: ImageSet) -> int:
        """Side at which metrics on pixels measure; 0 if only features are measured of images that differ in size."""
        if not any(score.needs == "pixels" for score in self.classes.values()):
            return fake.resolution or 0
        side = fake.check_uniform()
        if self.real is not None and self.real.check_uniform() != side:
            sizes = self.real.check_uniform(), side
            raise InputError(
                f"{self.real.name} has images of {sizes[0]}x{sizes[0]}, {fake.name} of {sizes[1]}x{sizes[1]}; "
                f"measure both at one size: --resolution {min(sizes)}"
            )
        return side

    def _new(self, name: str, plan: Plan, resolution: int) -> Score:
        return self.classes[name](
            plan, resolution, seed=self.seed, keep_real=self.keep_real, **self.options.get(name, {})
        )

    def _prepare_real(
        self, plans: Mapping[str, Plan], resolution: int, sources: Mapping[str, FeatureSource], progress: Progress
    ) -> None:
        """Give the reals to every metric that has not seen them yet, or has seen another number of them."""
        if self.real is None:
            return
        fresh: dict[str, Score] = {}
        references: dict[str, Score] = {}
        for name, score in self.classes.items():
            if score.two_sets:
                if name not in self._scores or self._scores[name].plan_of_images != plans[name]:
                    fresh[name] = self._scores[name] = self._new(name, plans[name], resolution)
                    self._recall(name, fresh[name])
            elif name not in self._references:
                plan = score.plan({"fake": self.real.num_images}, resolution, self.num_images)
                if (known := self._reference_facts(name, plan, resolution)) is not None:
                    self._references[name] = known
                    self.notes.append(f"{name} of {self.real.name} was taken from the cache {self.cache_folder}")
                else:
                    references[name] = self._new(name, plan, resolution)
        self._feed({**fresh, **references}, "real", self.real, sources, progress)
        for name, reference in references.items():
            whole = sharing.merge(reference)
            if sharing.rank() == 0:
                found = whole.compute()
                self._references[name] = {k: v for k, v in found.items() if k not in ("protocol", "warnings")}
                if (facts := self._facts(name, reference.plan_of_images, resolution)) is not None:
                    facts.put(self._references[name])
        if references:
            self._references = sharing.from_first(self._references)

    def _recall(self, name: str, score: Score) -> None:
        """Let a metric of two sets look up what the cache knows of the reals; the first process does it for all."""
        wanted = score.plan_of_images.wanted.get("real", 0)
        if self.cache_folder is not None and self.real is not None and not isinstance(self.real, FeatureSet):
            if sharing.rank() == 0:
                wanted = score.recall(self.cache_folder, self.real.digest)
                self.notes += score.notes
            wanted = sharing.from_first(wanted)
        self._real_wanted[name] = wanted

    def _facts(self, name: str, plan: Plan, resolution: int) -> Facts | None:
        """Entry of the cache for a metric on pixels of the reals; features have a cache of their own."""
        if self.cache_folder is None or self.real is None or self.classes[name].needs != "pixels":
            return None
        key = {
            "reference": self.real.digest,
            "metric": name,
            "resolution": resolution,
            "seed": self.seed,
            "num_images": plan.num_images,
            "options": dict(self.options.get(name, {})),
            "version": 1,
        }
        return Facts(self.cache_folder, key)

    def _reference_facts(self, name: str, plan: Plan, resolution: int) -> dict[str, Any] | None:
        """Result of a metric of one set on the reals, if the cache has it."""
        facts = self._facts(name, plan, resolution) if sharing.rank() == 0 else None
        return sharing.from_first(None if facts is None else facts.get())

    def _feed(
        self,
        active: Mapping[str, Score],
        side: Side,
        images: ImageSet,
        sources: Mapping[str, FeatureSource],
        progress: Progress,
    ) -> None:
        """Read as many images as any metric wants, once, in the seed's order, and hand each metric its share.

        Of several processes each reads every so manieth batch.
        """
        wanted = {
            name: score.plan_of_images.wanted.get(side if score.two_sets else "fake", 0)
            for name, score in active.items()
        }
        if side == "real":
            wanted |= {name: self._real_wanted[name] for name, score in active.items() if score.two_sets}
        if isinstance(images, FeatureSet) and images.features is None:
            for score in active.values():
                score.use_statistics(side, images.gaussian)
        total = max(wanted.values(), default=0)
        if not total:
            return
        # Images made on demand come in their own order: number k is as random as any other.
        rows = np.arange(total) if images.num_images is None else Order(images.num_images, self.seed).rows(0, total)
        networks = [source.network for source in sources.values() if source.network is not None]
        batch_size = self.batch_size or choose_batch_size(images.resolution, networks)
        limits: dict[Extraction | None, int] = {}  # images whose features by a network are wanted
        for name in active.keys() & sources.keys():
            network = sources[name].network
            limits[network] = max(limits.get(network, 0), wanted[name])

        def prepare(batch: Batch) -> None:
            start = batch.first
            pixels = any(name not in sources and wanted[name] > start for name in active)
            batch.read_ahead(pixels, {network: most - start for network, most in limits.items() if most > start})

        mine = (
            Batch(images, rows[first : first + batch_size], first)
            for number, first in enumerate(range(0, total, batch_size))
            if number % sharing.world_size() == sharing.rank()
        )
        with progress(total, f"{side} images") as bar:
            for batch in one_ahead(mine, prepare):
                first = batch.first
                work = (min(len(batch.rows), most - first) for network, most in limits.items() if network is not None)
                steps = Steps(bar, min(total - first, batch_size * sharing.world_size()), sum(max(0, n) for n in work))
                for name, score in active.items():
                    if wanted[name] > first:
                        given = (
                            batch.features(
                                sources[name].network,
                                limits[sources[name].network] - first,
                                logits=score.needs == "logits",
                                done=steps,
                            )
                            if name in sources
                            else batch.pixels
                        )
                        score.update(side if score.two_sets else "fake", given[: wanted[name] - first], first)
                steps.finish()

    def _result(
        self, name: str, score: Score, fake: ImageSet, source: FeatureSource | None, progress: Progress
    ) -> dict[str, Any]:
        found = score.compute(progress)
        plan = score.plan_of_images
        real = self.real if score.two_sets or name in self._references else None
        if real is not None and real.digest == fake.digest and real.kind == fake.kind:
            found["warnings"].append("both sets hold the same images")
        found["warnings"] += [*(real.warnings if real is not None else ()), *fake.warnings]
        if source is not None:
            found["warnings"] += source.warnings
        record = {
            "metric": name if source is None else score.name_with(name, source.name),
            **found,
            "seed": self.seed,
            "real": None if real is None else result.describe(real, plan.wanted.get("real")),
            "fake": result.describe(fake, plan.wanted.get("fake")),
            "versions": result.versions(),
            **({} if source is None else {"extractor": source.protocol}),
        }
        if name in self._references:
            record["reference"] = self._references[name]
            record["real"]["num_images"] = self._references[name]["num_images"]
        return record


def _available(name: str, score: type[Score], sides: Mapping[Side, ImageSet]) -> dict[Side, int | None]:
    """Number of images of every side that is not given as statistics; None where they are made on demand."""
    available: dict[Side, int | None] = {}
    for side, images in sides.items():
        if not isinstance(images, FeatureSet) or images.features is not None:
            available[side] = images.num_images
        elif not score.takes_statistics:
            raise InputError(
                f"{images.name} holds mean and covariance, which serve FID; {name} needs images or their features"
            )
    return available
