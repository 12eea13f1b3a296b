"""The metrics as a library: arrays, tensors, the interface of torchmetrics, and the session in docs/metrics.md."""

from __future__ import annotations

import copy
import doctest
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics import as_torchmetrics, scores
from metrics.arrays import measure_arrays
from metrics.evaluate import evaluate
from metrics.features.random_projection import Network
from metrics.images import ArrayImageSet
from metrics.networks import Networks
from metrics.scores import (
    density_coverage,
    fid,
    fid_infinity,
    geometry_score,
    inception_score,
    kid,
    mind,
    prd,
    precision_recall,
)

Images = NDArray[np.uint8]
QUICK = {"geometry-score": {"repeats": 2, "gamma": 0.1}, "swd": {"directions": 4}}


@pytest.mark.parametrize("tensors", [False, True])
def test_arrays_and_tensors_give_what_image_sets_give(tensors: bool, scenes: Callable[..., Images]) -> None:
    sets = scenes(30, 32), scenes(24, 32, seed=1)
    real, fake = (torch.from_numpy(images) if tensors else images for images in sets)
    found = measure_arrays(scores.general_names(), real, fake, extractor="random-projection", options=QUICK)
    expected = evaluate(
        scores.general_names(),
        *map(ArrayImageSet, sets),
        networks=Networks(),
        extractor="random-projection",
        options=QUICK,
    )
    assert {one["metric"]: one["value"] for one in found} == {one["metric"]: one["value"] for one in expected}


def test_images_of_many_sizes(scenes: Callable[..., Images]) -> None:
    sizes = [np.zeros((3, 20 + k, 30), np.uint8) + np.uint8(k) for k in range(25)]
    (found,) = measure_arrays(["fid"], scenes(30, 32), sizes, extractor="random-projection")
    assert np.isfinite(found["value"])
    with pytest.raises(InputError, match="fake: the images differ in size"):
        measure_arrays(["swd"], scenes(30, 32), sizes)
    with pytest.raises(InputError, match="real: images must be uint8"):
        measure_arrays(["swd"], scenes(30, 32).astype(np.float32), scenes(30, 32))
    with pytest.raises(InputError, match="fake: there are no images"):
        measure_arrays(["swd"], scenes(30, 32), scenes(0, 32))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # torchmetrics, where it is installed, of empty ones
@pytest.mark.parametrize("name", scores.general_names())
def test_fed_by_and_by(name: str, scenes: Callable[..., Images]) -> None:
    real, fake = scenes(24, 32), scenes(24, 32, seed=1) // 2
    metric = as_torchmetrics.ImageMetric(name, extractor="random-projection", options=QUICK.get(name, {}))
    for first in (0, 7):
        rows = slice(first, 7 if first == 0 else None)
        metric.update(torch.from_numpy(real[rows]), real=True)
        metric.update(fake[rows], real=False)
    value = metric.compute()
    assert isinstance(value, torch.Tensor)
    assert metric.result is not None
    assert metric.result["num_images"] == 24
    fresh = as_torchmetrics.ImageMetric(name, extractor="random-projection", options=QUICK.get(name, {}))
    fresh.update(real, real=True)
    fresh.update(fake)
    assert float(fresh.compute()) == pytest.approx(float(value), rel=1e-6)
    metric.reset()
    with pytest.raises(ValueError, match="no fake images were given"):
        metric.compute()


def test_values_are_ours(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(24, 32), scenes(24, 32, seed=1) // 2
    metric = as_torchmetrics.ImageMetric("fid", extractor="random-projection")
    metric.update(real, real=True)
    metric.update(fake)
    network = Network()
    assert float(metric.compute()) == pytest.approx(fid.fid(network(real).pool.numpy(), network(fake).pool.numpy()))
    with pytest.raises(InputError, match="--subsets must be at least 1"):
        as_torchmetrics.ImageMetric("kid", extractor="random-projection", options={"subsets": 0})


@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics is optional")
def test_is_a_metric_of_torchmetrics(scenes: Callable[..., Images]) -> None:
    torchmetrics = importlib.import_module("torchmetrics")
    metrics = [as_torchmetrics.ImageMetric("fid", extractor="random-projection"), as_torchmetrics.ImageMetric("swd")]
    assert all(isinstance(metric, torchmetrics.Metric) for metric in metrics)
    collection = torchmetrics.MetricCollection({metric.name: metric for metric in metrics}, compute_groups=False)
    collection.update(scenes(12, 32), real=True)
    collection.update(scenes(12, 32, seed=1), real=False)
    assert set(collection.compute()) == {"fid", "swd"}


def test_functions_on_features() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 60, 4)).astype(np.float32)
    assert kid.kid(x, y, subset_size=60, subsets=1) == pytest.approx(kid.squared_mmd(x, y))
    assert prd.prd(x, x) == pytest.approx((1, 1), abs=1e-6)
    assert geometry_score.geometry_score(x, x, repeats=2, landmarks=8, gamma=0.2) == 0


ON_TWO_SETS: dict[str, Callable[..., object]] = {
    "fid": fid.fid,
    "fid-infinity": fid_infinity.fid_infinity,
    "kid": kid.kid,
    "mind": mind.mind,
    "precision-recall": precision_recall.precision_recall,
    "realism": precision_recall.realism,
    "density-coverage": density_coverage.density_coverage,
    "prd": prd.prd,
    "geometry-score": geometry_score.geometry_score,
}


@pytest.mark.parametrize("name", ON_TWO_SETS)
def test_functions_refuse_features_without_meaning(name: str) -> None:
    measure = ON_TWO_SETS[name]
    x, y = np.random.default_rng(0).standard_normal((2, 40, 4)).astype(np.float32)
    for value in (np.nan, np.inf):
        bad = y.copy()
        bad[[17, 30], 2] = value
        with pytest.raises(InputError, match="fake features are not finite in 2 of 40 rows, the first is row 17"):
            measure(x, bad)
        with pytest.raises(InputError, match="real features are not finite in 2 of 40 rows"):
            measure(bad, x)
    with pytest.raises(InputError, match=r"features of 4 \(real\) and 3 \(fake\) numbers an image cannot be compared"):
        measure(x, y[:, :3])
    for wrong in (y[0], y[:, :0], y.astype(str), y[None]):
        with pytest.raises(InputError, match="fake features must be numbers of shape"):
            measure(x, wrong)
    with pytest.raises(InputError, match=r"real features must be of at least \d images?, got [01]; "):
        measure(x[:0] if name == "geometry-score" else x[: int(name not in ("mind", "prd"))], y)


def test_functions_refuse_unequal_numbers_where_they_need_equal_ones() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 40, 4)).astype(np.float32)
    for measure in (mind.mind, prd.prd):
        with pytest.raises(InputError, match=r"equally many images, got 40 \(real\) and 39 \(fake\)"):
            measure(x, y[:39])


def test_inception_score_refuses_logits_without_meaning() -> None:
    logits = np.random.default_rng(0).standard_normal((20, 5))
    assert inception_score.inception_score(logits) == inception_score.split_scores(logits, 10).mean()
    with pytest.raises(InputError, match="logits features must be of at least 10 images, got 9"):
        inception_score.inception_score(logits[:9])
    logits[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite in 1 of 20 rows, the first is row 3"):
        inception_score.inception_score(logits)


def test_session_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    session = doctest.DocTestParser().get_doctest(text, {}, "docs/metrics.md", "docs/metrics.md", 0)
    assert len(session.examples) >= 5
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(session)
    assert failed == 0


@pytest.mark.parametrize("name", ["fid", "swd", "inception-score"])
def test_can_be_pickled_with_what_it_has_seen(name: str, scenes: Callable[..., Images]) -> None:
    real, fake = scenes(30, 32), scenes(30, 32, seed=1) // 2
    metric = as_torchmetrics.ImageMetric(name, extractor="random-projection", options=QUICK.get(name, {}))
    metric.update(real, real=True)
    metric.update(fake[:10])
    copies = [pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)]
    found = []
    for one in (metric, *copies):
        one.update(fake[10:])
        found.append(float(one.compute()))
    assert found == [found[0]] * 3


def test_pickled_with_other_weights_than_are_here_now(
    scenes: Callable[..., Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = as_torchmetrics.ImageMetric("fid", extractor="random-projection")
    held = pickle.dumps(metric)
    as_torchmetrics._network.cache_clear()
    monkeypatch.setattr("metrics.weights.tensors_sha256", lambda tensors: "other")
    with pytest.raises(InputError, match="are not those that this metric was made with"):
        pickle.loads(held)
    as_torchmetrics._network.cache_clear()


RANK = """
import json, sys
import growgan
import numpy as np, torch
from torch import distributed
from metrics.as_torchmetrics import ImageMetric
distributed.init_process_group("gloo")
rank, found = distributed.get_rank(), {}
for name in ("fid", "swd", "inception-score"):
    metric = ImageMetric(name, extractor="random-projection", options=json.loads(sys.argv[2]).get(name, {}))
    for side in ("real", "fake"):
        images = np.load(f"{sys.argv[1]}/{side}.npy")
        own = images[:17] if rank == 0 else images[17:]
        for start in range(0, len(own), 5):
            metric.update(torch.from_numpy(own[start : start + 5]), real=side == "real")
    found[name] = float(metric.compute())
if rank == 1:
    print(json.dumps(found))
distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics gathers")
def test_two_processes_compute_on_what_both_have_seen(tmp_path: Path, scenes: Callable[..., Images]) -> None:
    """Uneven shares; every process must know the value, so the second one is asked."""
    sets = {"real": scenes(30, 32), "fake": scenes(30, 32, seed=1) // 2}
    for side, images in sets.items():
        np.save(tmp_path / f"{side}.npy", images)
    (tmp_path / "rank.py").write_text(RANK)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(tmp_path / "rank.py"), str(tmp_path), json.dumps(QUICK)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    for name, value in json.loads(done.stdout).items():
        alone = as_torchmetrics.ImageMetric(name, extractor="random-projection", options=QUICK.get(name, {}))
        for side, images in sets.items():
            alone.update(images, real=side == "real")
        assert value == pytest.approx(float(alone.compute()), rel=1e-6)
