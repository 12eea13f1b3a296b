"""Metrics of the averaged generator at every snapshot, against the same reals all along."""

from __future__ import annotations

from typing import Any

from datasets.errors import InputError
from datasets.formats import PyramidReader
from metrics import cache, scores
from metrics.evaluate import Evaluator
from metrics.images import PyramidImageSet
from metrics.measuring import open_networks
from metrics.networks import Networks
from training.config import SnapshotConfig
from training.sampler import GeneratorImageSet, Sampler

_ALWAYS = ("swd", "ms-ssim")  # need nothing but images; left out with a note where these are too small or too few


class SnapshotMetrics:
    """Measures samplers of one run; the reals are read once, and what is derived from them kept in the cache.

    Parameters
    ----------
    reader : PyramidReader
        The data set.
    resolution : int
        Side at which to measure, the finest of the run.
    config : SnapshotConfig
        What to measure, on how many images, with which networks.
    seed : int
        Of the latents and of the metrics' own random numbers.
    device : str
        Where networks of metrics on features work.

    Raises
    ------
    InputError
        If a metric that was added cannot be measured, or the weights of its network cannot be had: better now than at
        the first snapshot.
    """

    def __init__(
        self, reader: PyramidReader, resolution: int, config: SnapshotConfig, seed: int, device: str = "cpu"
    ) -> None:
        self._seed = seed
        self.notes: list[str] = []  # for the user
        self._evaluator: Evaluator | None = None
        # Half of the reals at most, so that the noise floor can be measured at the same number of images.
        count = min(config.metric_images, reader.manifest.num_images // 2) // 2 * 2
        if not config.metric_images:
            return
        real = PyramidImageSet(reader, resolution)
        networks = _networks(config, device)
        names, left_out = [], []
        for name in config.measured:
            evaluator = Evaluator([name], real, num_images=max(count, 1), networks=networks, extractor=config.extractor)
            try:
                evaluator.check(real)  # stands for the fakes, of which there are none yet
                names.append(name)
            except InputError as error:
                if name not in _ALWAYS:
                    raise InputError(f"snapshots.metrics, {name}: {_as_options(error)}") from None
                left_out.append(name)
        if left_out:
            self.notes.append(
                f"no {' and '.join(map(str.upper, left_out))} at the snapshots: they need 4 images of at least 16 "
                f"pixels, {reader.path} gives {reader.manifest.num_images} of {resolution}"
            )
        if names:
            self._evaluator = Evaluator(
                names,
                real,
                num_images=count,
                seed=seed,
                networks=networks,
                extractor=config.extractor,
                cache_folder=cache.default_folder(),
            )

    def measure(self, sampler: Sampler) -> list[dict[str, Any]]:
        """Results of a snapshot, one mapping per metric; empty if nothing is measured."""
        if self._evaluator is None:
            return []
        return self._evaluator(GeneratorImageSet(sampler, "the run's averaged generator", self._seed, passing=True))


def _networks(config: SnapshotConfig, device: str) -> Networks:
    """Networks of the metrics on features; none is opened before it is asked for."""
    used = sorted({network for name in config.measured if (network := scores.load(name).network(config.extractor))})
    try:
        networks = open_networks(used, weights=config.weights, device=device)
    except InputError as error:
        if not used:  # whatever they are
            raise InputError(
                f"snapshots.weights has {', '.join(config.weights)}, and no metric of snapshots.metrics "
                f"({', '.join(config.measured)}) needs weights; add fid, or leave them out"
            ) from None
        raise InputError(_as_options(error)) from None
    for network, file in networks.weights.items():
        if network not in used:
            raise InputError(
                f"snapshots.weights has {file} for the network {network}, which no metric of snapshots.metrics "
                f"({', '.join(config.measured)}) goes through; add fid, or leave the weights out"
            )
    return networks


def _as_options(error: InputError) -> str:
    """What ``metrics`` says, with the names that its options have here."""
    text = str(error)
    for option, here in (("--weights", "snapshots.weights"), ("--num-images", "snapshots.metric_images")):
        text = text.replace(option, here)
    return text
