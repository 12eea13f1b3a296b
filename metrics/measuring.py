"""From paths and options to results: what the command line asks for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.atomic import check_writable
from datasets.errors import InputError
from datasets.order import Order
from metrics import features, scores, sharing
from metrics.batches import Batch, choose_batch_size
from metrics.cache import default_folder
from metrics.evaluate import Evaluator
from metrics.feature_score import number_of
from metrics.feature_sets import FeatureSet, write_statistics
from metrics.gaussian import Gaussian
from metrics.images import ImageSet
from metrics.networks import Networks
from metrics.opening import open_image_set
from metrics.scores import Progress, Side, no_progress


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was found.

    Attributes
    ----------
    results : list of dict
        One per metric, see `metrics.evaluate.evaluate`.
    skipped : dict of str to str
        Metric -> why it was left out.
    notes : tuple of str
        Where features were taken from and kept.
    sets : dict of side to ImageSet
        What was measured.
    seed : int
    """

    results: list[dict[str, Any]]
    skipped: dict[str, str]
    notes: tuple[str, ...]
    sets: dict[Side, ImageSet]
    seed: int

    def picture(self, side: Side, place: int) -> NDArray[np.uint8] | None:
        """Image at a place of the measurement's order, shape (3, h, w); None if a side is no images."""
        images = self.sets[side]
        if isinstance(images, FeatureSet):
            return None
        in_order = images.num_images is None
        rows = np.array([place]) if in_order else Order(images.num_images or 0, self.seed).rows(place, 1)
        return images.read_each(rows)[0]


def measure(
    names: list[str],
    real: Path | None,
    fake: Path,
    *,
    num_images: int | None = None,
    seed: int = 0,
    resolution: int | None = None,
    batch_size: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    extractor: str | None = None,
    progress: Progress = no_progress,
    all_that_apply: bool = False,
    truncation: float | None = None,
    skip_bad: bool = False,
    **network_options: Any,
) -> Measurement:
    """Measure image sets at the given paths.

    Parameters
    ----------
    names : list of str
        Metrics.
    real, fake : Path
        What `metrics.opening.open_image_set` opens.
    num_images, seed, resolution, batch_size, options, extractor, progress
        See `metrics.evaluate.evaluate` and `metrics.opening.open_image_set`.
    all_that_apply : bool
        Leave out, with the reason, what these sets cannot be measured by; otherwise that is an error. Metrics of
        special images (`metrics.scores.Score.own_network_only`) are left out unless `weights` names their network.
    truncation : float, optional
        Of the latents of a generator, for `fake`; see `training.sampler.Sampler`.
    skip_bad : bool
        Leave out image files that cannot be decoded, see `metrics.opening.open_image_set`.
    network_options
        See `open_networks`.

    Raises
    ------
    InputError
        If something cannot be measured, or with `all_that_apply` nothing can.
    """
    progress = progress if sharing.rank() == 0 else no_progress
    general = [name for name in names if not scores.load(name).own_network_only]
    used = [scores.load(name).network(extractor) for name in (general if all_that_apply else names)]
    networks = open_networks([name for name in used if name], progress=progress, **network_options)
    skipped, special = {}, {}
    if all_that_apply:  # metrics of special images only if the user says that these are such, by naming the weights
        for name in names:
            if name not in general and scores.load(name).extractor not in networks.weights:
                named = f"--weights {scores.load(name).extractor}=FILE"
                special[name] = f"it has a network of its own, for special images alone; if these are such, add {named}"
        names = [name for name in names if name not in special]
    open_set = functools.partial(
        open_image_set, num_images=num_images, seed=seed, resolution=resolution, skip_bad=skip_bad, progress=progress
    )
    real_set, fake_set = None if real is None else open_set(real), open_set(fake, truncation=truncation)
    _check_weights_are_used(networks, names, [one for one in (real_set, fake_set) if one is not None], extractor)
    make = functools.partial(
        Evaluator,
        real=real_set,
        num_images=num_images,
        seed=seed,
        batch_size=batch_size,
        options=options,
        networks=networks,
        extractor=extractor,
        cache_folder=networks.cache_folder,
        keep_real=False,
    )
    if all_that_apply:
        for name in names:
            try:
                make([name]).check(fake_set)
            except InputError as error:
                skipped[name] = str(error)
        names = [name for name in names if name not in skipped]
        skipped |= special
        if not names:
            name, reason = next(iter(skipped.items()))
            raise InputError(f"none of the metrics can be measured; {name}: {reason}")
    try:
        evaluator = make(names)
        results = evaluator(fake_set, progress)
        sets: dict[Side, ImageSet] = {"fake": fake_set, **({} if real_set is None else {"real": real_set})}
        return Measurement(results, skipped, (*networks.notes, *evaluator.notes), sets, seed)
    finally:
        networks.close()


def open_networks(
    names: Sequence[str],
    *,
    weights: Sequence[str] = (),
    cache: Path | None = None,
    no_cache: bool = False,
    progress: Progress = no_progress,
    **options: Any,
) -> Networks:
    """Networks with the options that a user gave.

    Parameters
    ----------
    names : sequence of str
        Networks that may be asked for.
    weights : sequence of str
        Files of weights, each ``FILE``, or ``NETWORK=FILE`` where there are several networks.
    cache, no_cache
        Folder of features; the user's cache folder if not given, none with `no_cache`.
    options
        ``resize``, ``dtype``, ``device``, ``trust_torchscript``: see `metrics.networks.Networks`.

    Raises
    ------
    InputError
        If there is no such network, or it is not clear which one the weights are of.
    """
    files = {}
    for text in weights:
        network, _, file = text.partition("=")
        if network in features.names():
            files[network] = Path(file)
        elif file and not Path(text).exists():
            raise InputError(
                f"--weights {text}: there is no network {network}; choose from {', '.join(features.names())}"
            )
        elif len(set(names)) == 1:
            files[names[0]] = Path(text)
        else:
            among = ", ".join(sorted(set(names)))
            raise InputError(f"--weights {text} does not say of which network ({among}); write NETWORK={text}")
    folder = None if no_cache else (cache or default_folder())
    return Networks(weights=files, cache_folder=folder, progress=progress, **options)


def _check_weights_are_used(
    networks: Networks, names: Sequence[str], sets: Sequence[ImageSet], extractor: str | None
) -> None:
    """Refuse weights of a network that nothing goes through, as where files of features decide on another one.

    Raises
    ------
    InputError
    """
    given = [images for images in sets if isinstance(images, FeatureSet)]
    recorded = [(images.name, images.network["network"]) for images in given if images.network is not None]
    used = set()
    for score in map(scores.load, names):
        if score.needs == "logits" or (score.needs == "features" and len(given) < len(sets)):
            used.add(score.network(extractor or next((network for _, network in recorded), None)))
    for network, file in networks.weights.items():
        if network in used:
            continue
        why = f"only {', '.join(sorted(filter(None, used)))} is, see --extractor; leave the weights out"
        if not used:
            why = "both sides are files of features; leave the weights out"
        elif recorded and not extractor:
            name, other = recorded[0]
            why = f"{name} holds features of {other}; leave them out, or write {other}={file} if they are of that"
        raise InputError(f"--weights {file}: the network {network} is not used, {why}")


def make_statistics(
    path: Path,
    out: Path,
    *,
    extractor: str = "inception",
    num_images: int | None = None,
    seed: int = 0,
    resolution: int | None = None,
    with_features: bool = False,
    overwrite: bool = False,
    truncation: float | None = None,
    skip_bad: bool = False,
    progress: Progress = no_progress,
    **network_options: Any,
) -> tuple[str, ...]:
    """Write mean and covariance of the features of an image set, and the features themselves if wanted.

    Returns
    -------
    tuple of str
        Notes for the user.

    Raises
    ------
    InputError
        If the set cannot be read, holds fewer than two images, or the file cannot be written.
    """
    check_writable(out, overwrite=overwrite)
    networks = open_networks([extractor], progress=progress, **network_options)
    for other, file in networks.weights.items():
        if other != extractor:
            raise InputError(f"--weights {other}={file}: {other} is not used; name it with --extractor {other} too")
    images = open_image_set(
        path,
        num_images=num_images,
        seed=seed,
        resolution=resolution,
        skip_bad=skip_bad,
        progress=progress,
        truncation=truncation,
    )
    if isinstance(images, FeatureSet):
        raise InputError(f"{path} holds {images.kind} already; name a set of images")
    have = images.num_images
    if have is None and num_images is None:
        raise InputError(f"{path} makes images on demand; say how many with --num-images")
    count = num_images or have or 0
    if have is not None and have < 2:
        raise InputError(f"{path} holds {number_of(have)}; a covariance needs at least 2, give it more")
    if count < 2 or (have is not None and have < count):
        raise InputError(f"--num-images must be from 2 to the {have} images of {path}, got {count}")
    network = networks(extractor)
    # All images in their own order, so that row k of the features is image k; otherwise the subset of the seed.
    whole = have is None or have == count
    rows = np.arange(count) if whole or have is None else Order(have, seed).rows(0, count)
    found = np.empty((count, network.extractor.feature_size), np.float32)
    size = choose_batch_size(images.resolution, [network])
    try:
        with progress(count, "images") as bar:
            for first in range(0, count, size):
                batch = Batch(images, rows[first : first + size])
                found[first : first + size] = batch.features(network, size, logits=False)
                bar.update(len(batch.rows))
    finally:
        networks.close()
    if not np.isfinite(found).all():
        raise InputError(f"features of {path} are not finite; {extractor} or its weights are at fault")
    write_statistics(
        out,
        Gaussian.fit(found),
        found if with_features else None,
        network.extractor.cache_key,
        overwrite=overwrite,
    )
    return (*images.warnings, *network.extractor.warnings, *networks.notes)
