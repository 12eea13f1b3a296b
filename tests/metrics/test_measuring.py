"""Metrics on features from paths: networks, the cache, files of features, everything that applies at once."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from datasets.order import Order
from metrics import cache, features, scores, subsampling
from metrics.feature_sets import FeatureSet
from metrics.features.random_projection import Network
from metrics.gaussian import Gaussian
from metrics.measuring import Measurement, make_statistics, measure
from metrics.opening import open_image_set
from metrics.scores import kid
from metrics.scores.fid import fid, frechet_distance
from metrics.scores.fid_infinity import fid_infinity

Images = NDArray[np.uint8]
NETWORK = "random-projection"
ON_FEATURES = [name for name in scores.general_names() if scores.load(name).extractor is not None]
SPECIAL = [name for name in scores.names() if name not in scores.general_names()]
TWO_SETS = [name for name in ON_FEATURES if scores.load(name).two_sets]


def save(images: Images, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{k:03d}.png")
    return folder


@pytest.fixture
def sets(tmp_path: Path, scenes: Callable[..., Images]) -> tuple[Path, Path]:
    """Forty reals and thirty fakes of 32x32."""
    return save(scenes(40, 32), tmp_path / "real"), save(scenes(30, 32, seed=1) // 2, tmp_path / "fake")


def by_network(names: list[str], real: Path | None, fake: Path, **options: Any) -> Measurement:
    return measure(names, real, fake, **{"extractor": NETWORK, "no_cache": True, **options})


def values(found: Measurement) -> dict[str, float]:
    return {result["metric"]: result["value"] for result in found.results}


def test_features_are_those_of_the_network(sets: tuple[Path, Path]) -> None:
    network = Network()
    (result,) = by_network(["fid"], *sets).results
    fits = []
    for path in sets:
        images = open_image_set(path)
        assert images.num_images is not None
        fits.append(Gaussian.fit(network(images.read(np.arange(images.num_images))).pool.numpy()))
    assert result["metric"] == "fd-random-projection"
    assert result["value"] == pytest.approx(frechet_distance(*fits), rel=1e-6)
    assert result["extractor"]["weights"] == network.weights_digest
    assert (result["real"]["num_images"], result["fake"]["num_images"], result["num_images"]) == (40, 30, 30)
    assert any("random weights" in warning for warning in result["warnings"])


def test_values_are_equal_with_and_without_the_cache(sets: tuple[Path, Path], tmp_path: Path) -> None:
    without = by_network(ON_FEATURES, *sets)
    fresh = by_network(ON_FEATURES, *sets, no_cache=False, cache=tmp_path / "cache")
    known = by_network(ON_FEATURES, *sets, no_cache=False, cache=tmp_path / "cache", batch_size=7)
    assert without.results == fresh.results == known.results
    assert "70 computed, 0 taken" in fresh.notes[0]
    assert "0 computed, 70 taken" in known.notes[0]
    assert str(tmp_path / "cache") in fresh.notes[0]
    assert without.notes == ()
    assert all(np.isfinite(value) for value in values(without).values())


def test_every_metric_asks_only_for_the_images_it_wants(sets: tuple[Path, Path], tmp_path: Path) -> None:
    found = by_network(["fid"], *sets, num_images=15, no_cache=False, cache=tmp_path / "cache")
    assert "45 computed" in found.notes[0]  # 15 of each, and 15 reals for the floor


def test_floor_is_of_as_many_reals_as_the_value(sets: tuple[Path, Path]) -> None:
    """The value is of the first 20 reals of the seed's order, the floor of them against the 20 after."""
    network = Network()
    real, fake = (
        network(images.read(Order(count, 0).rows(0, count))).pool.numpy()
        for images, count in ((open_image_set(sets[0]), 40), (open_image_set(sets[1]), 30))
    )
    for name, function in (("fid", fid), ("kid", kid.kid), ("fid-infinity", fid_infinity)):
        (result,) = by_network([name], *sets, num_images=20).results
        assert (result["real"]["num_images"], result["num_images"], result["floor"]["num_images"]) == (40, 20, 20)
        assert not any("the floor is" in warning for warning in result["warnings"])
        assert result["value"] == pytest.approx(function(real[:20], fake[:20]), rel=1e-5)
        assert result["floor"]["value"] == pytest.approx(function(real[:20], real[20:]), rel=1e-5)
        (result,) = by_network([name], *sets).results
        assert (result["num_images"], result["floor"]["num_images"]) == (30, 20)
        assert any("with 60 real images it would be" in warning for warning in result["warnings"])


def test_too_few_images_are_of_the_side_that_has_them(sets: tuple[Path, Path], tmp_path: Path) -> None:
    one = save(np.zeros((1, 3, 32, 32), np.uint8), tmp_path / "one")
    for name in TWO_SETS:
        for side, pair in (("fake", (sets[0], one)), ("real", (one, sets[1]))):
            with pytest.raises(InputError, match=rf"needs at least \d+ {side} images, got 1; give it more"):
                by_network([name], *pair)
    with pytest.raises(InputError, match="Inception Score needs at least 10 images, got 1; give it more"):
        by_network(["inception-score"], None, one)
    with pytest.raises(InputError, match="KID needs at least 20 images, got --num-images 5"):
        by_network(["kid"], *sets, num_images=5)
    with pytest.raises(InputError, match="--num-images 31 is more than the 30 images"):
        by_network(["inception-score"], None, sets[1], num_images=31)
    with pytest.raises(InputError, match="one holds 1 image; a covariance needs at least 2"):
        make_statistics(one, tmp_path / "x.npz", extractor=NETWORK, no_cache=True)


def test_weights_of_a_network_that_is_not_used_are_refused(
    sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path
) -> None:
    weights = tmp_path / "w.pth"
    torch.save(Network().standard_weights(lambda *_: None)[1], weights)  # type: ignore[arg-type]
    reason = rf"--weights .*w.pth: the network inception is not used, .*real.npz holds features of {NETWORK}; "
    with pytest.raises(InputError, match=reason):
        measure(["fid"], files[0], sets[1], weights=[str(weights)], no_cache=True)
    with pytest.raises(InputError, match="is not used, both sides are files of features"):
        measure(["fid"], *files, weights=[str(weights)], no_cache=True)
    with pytest.raises(InputError, match=f"the network vgg16 is not used, only {NETWORK} is"):
        by_network(["fid"], *sets, weights=[f"vgg16={weights}"])
    with pytest.raises(InputError, match="vgg16 is not used; name it with --extractor vgg16"):
        make_statistics(sets[0], tmp_path / "x.npz", extractor=NETWORK, weights=[f"vgg16={weights}"], no_cache=True)
    named = measure(["fid"], files[0], sets[1], weights=[f"{NETWORK}={weights}"], no_cache=True)
    assert values(named) == values(measure(["fid"], files[0], sets[1], no_cache=True))


def test_images_that_were_shrunk_have_features_of_their_own(sets: tuple[Path, Path], tmp_path: Path) -> None:
    options = {"no_cache": False, "cache": tmp_path / "cache"}
    large, small = by_network(["fid"], *sets, **options), by_network(["fid"], *sets, resolution=16, **options)
    assert "70 computed" in small.notes[0]
    assert values(small) == values(by_network(["fid"], *sets, resolution=16)) != values(large)


def test_an_interrupted_measurement_goes_on(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = cache.FeatureCache.put, []

    def put_some(self: cache.FeatureCache, *arguments: Any) -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(arguments[0]))
        put(self, *arguments)

    options = {"no_cache": False, "cache": tmp_path / "cache", "batch_size": 8}
    monkeypatch.setattr(cache.FeatureCache, "put", put_some)
    with pytest.raises(KeyboardInterrupt):
        by_network(["fid"], *sets, **options)
    monkeypatch.setattr(cache.FeatureCache, "put", put)
    found = by_network(["fid"], *sets, **options)
    assert calls == [min(8, Network().block_size)] * 3  # by blocks of the network, not by batches
    assert f"{70 - sum(calls)} computed, {sum(calls)} taken" in found.notes[0]
    assert values(found) == values(by_network(["fid"], *sets))


@pytest.fixture
def files(sets: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Features and statistics of both sets."""
    found = tmp_path / "real.npz", tmp_path / "fake.npz"
    for path, out in zip(sets, found, strict=True):
        make_statistics(path, out, extractor=NETWORK, with_features=True, no_cache=True)
    return found


def test_files_of_features_serve_as_images(sets: tuple[Path, Path], files: tuple[Path, Path]) -> None:
    names = [name for name in TWO_SETS if name not in ("kid", "prd", "fid-infinity")]  # these choose by position
    images = values(by_network(names, *sets))
    assert values(by_network(names, files[0], sets[1])) == pytest.approx(images, rel=1e-5)
    assert values(by_network(names, sets[0], files[1])) == pytest.approx(images, rel=1e-5)
    # Two files need no network: they say which one made them.
    assert values(measure(names, *files)) == pytest.approx(images, rel=1e-5)
    assert values(by_network(["kid"], *files)) == values(by_network(["kid"], *sets))
    assert measure(["inception-score"], None, files[1], no_cache=True).results[0]["value"] == pytest.approx(
        by_network(["inception-score"], None, sets[1]).results[0]["value"]
    )


def test_statistics_serve_fid_alone(sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> None:
    mean_only = tmp_path / "statistics.npz"
    make_statistics(sets[0], mean_only, extractor=NETWORK, no_cache=True)
    expected = values(by_network(["fid"], *sets))
    for pair in ((mean_only, sets[1]), (mean_only, files[1])):
        (result,) = by_network(["fid"], *pair).results
        assert result["value"] == pytest.approx(expected["fd-random-projection"], rel=1e-6)
        assert result["floor"] is None
        assert result["real"]["num_images"] == 40
    (mirrored,) = by_network(["fid"], sets[1], mean_only).results
    assert (mirrored["num_images"], mirrored["value"]) == (40, pytest.approx(expected["fd-random-projection"]))
    for name in ("kid", "precision-recall"):
        with pytest.raises(InputError, match=rf"statistics.npz holds mean and covariance, which serve FID; {name}"):
            by_network([name], mean_only, sets[1])
    with pytest.raises(InputError, match="inception-score needs images or their features"):
        by_network(["inception-score"], mean_only, sets[1])
    with pytest.raises(InputError, match="holds statistics and no images; this metric needs the images"):
        measure(["swd"], mean_only, sets[1])


def test_foreign_statistics(sets: tuple[Path, Path], tmp_path: Path) -> None:
    """The layout of TTUR and pytorch-fid: mu and sigma, nothing else."""
    images = open_image_set(sets[0])
    fit = Gaussian.fit(Network()(images.read(np.arange(40))).pool.numpy())
    np.savez(tmp_path / "foreign.npz", mu=fit.mean, sigma=fit.covariance)
    (result,) = by_network(["fid"], tmp_path / "foreign.npz", sets[1]).results
    assert result["value"] == pytest.approx(values(by_network(["fid"], *sets))["fd-random-projection"])
    assert result["real"]["num_images"] is None
    text = " ".join(result["warnings"])
    assert "is not recorded in it; they are taken for those of random-projection" in text
    assert "how many images the statistics are of is not recorded" in text
    (result,) = by_network(["fid"], sets[1], tmp_path / "foreign.npz").results
    assert result["num_images"] is None


@pytest.mark.parametrize("layout", ["stylegan2-ada", "features", "edm2"])
def test_pickled_statistics(layout: str, sets: tuple[Path, Path], tmp_path: Path) -> None:
    rows = Network()(open_image_set(sets[0]).read(np.arange(40))).pool.numpy()
    sums = {"raw_mean": rows.astype(float).sum(0), "raw_cov": rows.astype(float).T @ rows, "num_items": 40}
    content: dict[str, Any] = {
        "stylegan2-ada": {"capture_all": False, "max_items": None, "all_features": None, **sums},
        "features": {"capture_all": True, "all_features": [rows[:25], rows[25:]], **sums},
        "edm2": {"fid": {"mu": rows.astype(float).mean(0), "sigma": np.cov(rows.astype(float).T)}, "fd_dinov2": {}},
    }[layout]
    (tmp_path / "reference.pkl").write_bytes(pickle.dumps(content))
    (result,) = by_network(["fid"], tmp_path / "reference.pkl", sets[1]).results
    assert result["value"] == pytest.approx(values(by_network(["fid"], *sets))["fd-random-projection"], rel=1e-5)
    assert result["real"]["num_images"] == (None if layout == "edm2" else 40)


def test_pickles_of_other_things_are_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    for content, reason in ((Path("x"), "mentions pathlib"), ({"mu": 1}, "is a pickle without raw_mean")):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=reason):
            by_network(["fid"], path, sets[1])


def test_features_of_another_network_are_refused(
    sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "wide.npz", features=np.random.default_rng(0).standard_normal((20, 7)))
    for name in TWO_SETS:
        with pytest.raises(InputError, match=r"wide.npz holds features of 7 numbers, .* 64"):
            by_network([name], sets[0], tmp_path / "wide.npz")
        with pytest.raises(InputError, match=r"wide.npz holds features of 7 numbers, .* 64"):
            by_network([name], files[0], tmp_path / "wide.npz")
    with pytest.raises(InputError, match=r"real.npz holds features made with resize tf1, the other side has torch"):
        by_network(["fid"], files[0], sets[1], resize="torch")
    with pytest.raises(InputError, match=r"real.npz holds features made with network random-projection"):
        by_network(["fid"], *files, extractor="inception")


BAD_FILES: dict[str, dict[str, Any]] = {
    "not finite": {"features": np.full((20, 4), np.nan)},
    r"features must be of shape \(n, d\)": {"features": np.zeros(4)},
    "too large for float32": {"features": np.full((20, 4), 1e300)},
    "features must be floats": {"features": np.zeros((20, 4), np.int64)},
    "mu must be of shape": {"mu": np.zeros(3), "sigma": np.eye(4)},
    "mu must be floats": {"mu": np.array(["a"]), "sigma": np.eye(1)},
    "not symmetric": {"mu": np.zeros(2), "sigma": np.array([[1.0, 2], [0, 1]])},
    "sigma holds numbers that are not finite": {"mu": np.zeros(2), "sigma": np.full((2, 2), np.inf)},
    "num_images must be one whole number": {"mu": np.zeros(2), "sigma": np.eye(2), "num_images": np.array([1.5, 2])},
    "network does not say": {"mu": np.zeros(2), "sigma": np.eye(2), "network": np.asarray("{}")},
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_bad_files_of_features(reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **BAD_FILES[reason])
    with pytest.raises(InputError, match=rf"bad.npz.*{reason}"):
        open_image_set(tmp_path / "bad.npz")


def test_statistics_that_cannot_be_made(sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists"):
        make_statistics(sets[0], files[0], extractor=NETWORK, no_cache=True)
    with pytest.raises(InputError, match="holds features already"):
        make_statistics(files[0], tmp_path / "x.npz", extractor=NETWORK, no_cache=True)
    with pytest.raises(InputError, match="--num-images must be from 2 to the 40 images"):
        make_statistics(sets[0], tmp_path / "x.npz", extractor=NETWORK, num_images=41, no_cache=True)
    assert not (tmp_path / "x.npz").exists()


def test_statistics_record_their_images(sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> None:
    found = open_image_set(files[0])
    assert isinstance(found, FeatureSet)
    assert found.network is not None
    assert found.network["network"] == NETWORK
    assert found.features is not None
    pool = Network()(open_image_set(sets[0]).read(np.arange(40))).pool.numpy()
    np.testing.assert_array_equal(found.features, pool)  # row k is image k
    make_statistics(sets[0], tmp_path / "some.npz", extractor=NETWORK, num_images=9, no_cache=True)
    some = open_image_set(tmp_path / "some.npz")
    assert some.num_images == 9


def test_images_of_many_sizes(sets: tuple[Path, Path], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "mixed").mkdir()
    for k in range(30):
        pixels = generator.integers(0, 256, (20 + k, 70 - k, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "mixed" / f"{k:02d}.png")
    results = [values(by_network(ON_FEATURES, sets[0], tmp_path / "mixed", batch_size=size)) for size in (None, 1, 11)]
    assert results[0] == results[1] == results[2]
    found = by_network(scores.names(), sets[0], tmp_path / "mixed", all_that_apply=True)
    assert set(found.skipped) == {"swd", "ms-ssim", "geometry-score", *SPECIAL}
    assert all("00.png is 70x20 pixels" in reason for name, reason in found.skipped.items() if name not in SPECIAL)
    assert len(found.results) == len(ON_FEATURES)


def test_resize_modes_and_number_formats_are_told(sets: tuple[Path, Path]) -> None:
    found = {}
    for options in ({}, {"resize": "torch"}, {"resize": "clean"}, {"dtype": "bfloat16"}):
        (result,) = by_network(["fid"], *sets, **options).results
        found[json.dumps(options)] = result["value"]
        assert result["extractor"]["resize"] == options.get("resize", "tf1")
        assert any("bfloat16" in warning for warning in result["warnings"]) is ("dtype" in options)
    assert len(set(found.values())) == 4


def test_everything_that_applies(sets: tuple[Path, Path]) -> None:
    quick = {"geometry-score": {"repeats": 3}}
    found = by_network(scores.names(), *sets, all_that_apply=True, options=quick)
    assert list(found.skipped) == SPECIAL
    assert all("network of its own" in found.skipped[name] for name in SPECIAL)
    assert len(found.results) == len(scores.general_names())
    assert json.dumps(found.results, allow_nan=False)
    each = {}
    for name in scores.general_names():
        each |= values(by_network([name], *sets, options=quick))
    assert values(found) == pytest.approx(each, rel=1e-6)


def test_what_does_not_apply_is_named(sets: tuple[Path, Path], files: tuple[Path, Path], tmp_path: Path) -> None:
    few = save(np.zeros((3, 3, 32, 32), np.uint8), tmp_path / "few")
    found = by_network(scores.names(), sets[0], few, all_that_apply=True)
    assert {result["metric"] for result in found.results} >= {"swd", "ms-ssim", "fd-random-projection"}
    assert "needs at least 4 fake images, got 3" in found.skipped["precision-recall"]
    found = measure(scores.names(), *files, all_that_apply=True, extractor=NETWORK, no_cache=True)
    assert set(found.skipped) == {"swd", "ms-ssim", "geometry-score", *SPECIAL}
    with pytest.raises(InputError, match="none of the metrics can be measured"):
        by_network(["swd", "ms-ssim"], *files, all_that_apply=True)


def test_a_network_that_cannot_be_had_is_tried_once(
    sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = []

    def refuse(*arguments: object, **keywords: object) -> None:
        tried.append(1)
        raise InputError("no weights here")

    monkeypatch.setattr(features, "load", lambda name: refuse)
    found = measure(
        scores.names(), *sets, all_that_apply=True, no_cache=True, options={"geometry-score": {"repeats": 2}}
    )
    assert {found.skipped[name] for name in ON_FEATURES} == {"no weights here"}
    assert len(tried) == len({scores.load(name).extractor for name in ON_FEATURES})
    assert {result["metric"] for result in found.results} == {"swd", "ms-ssim", "geometry-score"}


def test_weights_may_be_named_per_network(sets: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save(Network(seed=5).standard_weights(lambda *_: None)[1], tmp_path / "w.pth")  # type: ignore[arg-type]
    (plain,) = by_network(["fid"], *sets, weights=[str(tmp_path / "w.pth")]).results
    (named,) = by_network(["fid"], *sets, weights=[f"{NETWORK}={tmp_path / 'w.pth'}"]).results
    assert plain["value"] == named["value"] != values(by_network(["fid"], *sets))["fd-random-projection"]
    assert plain["extractor"]["weights_published"] is False
    with pytest.raises(InputError, match=r"does not say of which network \(inception, vgg16\); write NETWORK="):
        measure(["fid", "precision-recall"], *sets, weights=["x.pth"])


BAD_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("kid", {"subsets": 0}, "--subsets must be at least 1, got 0"),
    ("kid", {"subset_size": 1}, "--subset-size must be at least 2, got 1"),
    ("inception-score", {"splits": 0}, "--splits must be at least 1"),
    ("inception-score", {"splits": 31}, "--splits 31 is more than the 30 images"),
    ("inception-score", {"splits": 2.5}, "--splits must be a whole number"),
    ("precision-recall", {"neighbours": 0}, "--neighbours must be at least 1"),
    ("density-coverage", {"neighbours": 30}, "--neighbours must be at least 1 and less than the 30 images"),
    ("prd", {"clusters": 1}, "--clusters must be at least 2"),
    ("prd", {"repeats": 0}, "--repeats must be at least 1"),
    ("fid-infinity", {"points": 2}, "--points must be at least 3"),
    ("geometry-score", {"landmarks": 4}, "--landmarks must be at least 5"),
    ("geometry-score", {"gamma": float("nan")}, "--gamma must be at least 0, got nan"),
    ("ms-ssim", {"channels": "both"}, "--channels must be one of joint, separate, got both"),
]


@pytest.mark.parametrize(("name", "options", "reason"), BAD_OPTIONS)
def test_bad_options(name: str, options: dict[str, Any], reason: str, sets: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=reason):
        by_network([name], *sets, options={name: options})


def test_many_neighbours_of_few_images_leave_no_floor(sets: tuple[Path, Path]) -> None:
    (result,) = by_network(["density-coverage"], *sets, options={"density-coverage": {"neighbours": 25}}).results
    assert result["floor"] is None


def test_networks_and_sizes_that_do_not_fit(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no network called nope; choose from .*inception"):
        measure(["fid"], *sets, extractor="nope")
    with pytest.raises(InputError, match="needs at least 20 fake images, got 3"):
        by_network(["kid"], sets[0], save(np.zeros((3, 3, 32, 32), np.uint8), tmp_path / "few"))
    with pytest.raises(InputError, match="more than the 30 fake images"):
        by_network(["fid"], *sets, num_images=35)
    odd = save(np.zeros((12, 3, 48, 48), np.uint8), tmp_path / "odd")
    with pytest.raises(InputError, match="Geometry Score: side 48"):
        measure(["geometry-score"], odd, odd)


def test_errors_of_kid_are_the_spread_of_repeated_draws() -> None:
    generator = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(150):
        x, y = generator.standard_normal((2, 400, 6)).astype(np.float32)
        y = y * 1.5 + 0.5
        found.append(kid.squared_mmd(x, y))
        errors.append(float(subsampling.standard_errors(kid.of_blocks(x, y, 40))[0]))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.25)
