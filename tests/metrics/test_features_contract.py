"""What every feature extractor must keep to; a new file in metrics/features is tested here without a word."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles.networks import plain, random_state

from datasets.errors import InputError
from metrics import features
from metrics.features import Extractor, Features
from metrics.resize import names as resize_modes
from metrics.resize import resize

COUNT = 3
DIGEST_OF_SEED_0 = "bd5ba1487b3385122b3fc99ec6617cad72515dbb84834b0229a7b37a1e81d161"


NORMALISATIONS = {  # of the published networks: (x - mean) / deviation
    "inception": ((128, 128, 128), (128, 128, 128)),
    "vgg16": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "efficientnet-lite0": ((127, 127, 127), (128, 128, 128)),
    "random-projection": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "digits": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}
SIZES = {"inception": 299, "vgg16": 224, "efficientnet-lite0": 224, "random-projection": 64, "digits": 32}


@dataclasses.dataclass
class Case:
    """A network with random weights, and its features of three images in blocks of two."""

    kind: type[Extractor]
    state: dict[str, torch.Tensor]
    network: Extractor
    found: Features


def images() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:40, 0:24] / 40
    channels = [np.stack((120 * y + 100 * x, 255 * y * x, 200 * x**2)) + 15 * k for k in range(COUNT)]
    noise = np.random.default_rng(1).integers(0, 20, (COUNT, 3, 40, 24))
    return (np.stack(channels) + noise).astype(np.uint8)


@pytest.fixture(scope="module", params=features.names())
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    kind = features.load(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extractor, "block_size", 2)
        state = random_state(kind.shapes(kind.__new__(kind)))
        network = kind(state)
        yield Case(kind, state, network, network(images()))


def test_says_what_it_is(case: Case) -> None:
    assert issubclass(case.kind, Extractor)
    assert case.network.name in features.names()
    assert case.network.title
    assert case.network.default_resize in resize_modes()
    assert case.network.distance == ("fid" if case.network.name == "inception" else f"fd_{case.kind.__module__[17:]}")
    module = __import__(case.kind.__module__, fromlist=["__doc__"])
    assert any(str(year) in (module.__doc__ or "") for year in range(1980, 2031)), "name the paper in the header"


def test_gives_float32_vectors_on_its_device(case: Case) -> None:
    found, network = case.found, case.network
    assert found.pool.shape == (COUNT, network.feature_size)
    assert found.pool.dtype == torch.float32
    assert found.pool.isfinite().all()
    assert not found.pool.requires_grad
    found.pool[0, 0] += 0  # a plain tensor, not one of inference mode
    assert (found.logits is None) == (network.num_classes is None)
    if found.logits is not None and found.logits_unbiased is not None:
        assert found.logits.shape == found.logits_unbiased.shape == (COUNT, network.num_classes)
        bias = (found.logits - found.logits_unbiased).numpy()
        np.testing.assert_allclose(bias, bias[:1].repeat(COUNT, axis=0), atol=1e-5)
        assert np.abs(bias).max() > 0.1


def test_agrees_with_a_plain_statement(case: Case) -> None:
    """A new network needs its own in tests/oracles/networks.py."""
    name = case.network.name
    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in NORMALISATIONS[name])
    resized = resize(torch.from_numpy(images()[:1]), SIZES[name], case.network.default_resize)
    pool, logits = plain(name, case.state, (resized - mean) / deviation)
    assert (case.found.pool[:1] - pool).norm() < 4e-6 * pool.norm()
    assert (case.found.logits is None) == (logits is None)
    if case.found.logits is None or logits is None:
        return
    assert (case.found.logits[:1] - logits).norm() < 4e-6 * logits.norm()


def test_images_differ(case: Case) -> None:
    assert (case.found.pool[0] - case.found.pool[1]).norm() > 1e-3 * case.found.pool[0].norm()


def test_an_image_has_the_same_features_to_the_bit_in_every_batch(case: Case) -> None:
    before = torch.random.get_rng_state()
    alone = case.network([torch.from_numpy(images()[1])])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(alone.pool, case.found.pool[1:2])
    if alone.logits is not None and case.found.logits is not None:
        assert torch.equal(alone.logits, case.found.logits[1:2])


def test_logits_follow_from_kept_features(case: Case) -> None:
    again = case.network.classify(case.found.pool)
    assert again.pool is case.found.pool
    if again.logits_unbiased is not None and case.found.logits_unbiased is not None:
        assert torch.equal(again.logits_unbiased, case.found.logits_unbiased)


def test_protocol_and_cache_key_are_plain(case: Case) -> None:
    network = case.network
    for record in (network.protocol, network.cache_key):
        assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert network.cache_key.items() <= network.protocol.items()
    assert len(network.weights_digest) == 64
    assert network.cache_key["weights"] == network.weights_digest
    assert network.cache_key["resize"] == network.default_resize


def test_weights_of_its_own_making_are_marked(case: Case) -> None:
    assert not case.network.weights_published
    assert any("not the published ones" in warning for warning in case.network.warnings)


def test_other_weights_are_refused(case: Case) -> None:
    with pytest.raises(
        InputError, match=rf"the state dict given is not a file of weights of {case.network.name}: \d+ of"
    ):
        case.kind({"a": torch.zeros(3)})


def test_float32_is_the_standard(case: Case) -> None:
    assert case.network.deviation_from_float32(images()) == 0
    assert case.network.dtype == "float32"


def test_unknown_names_and_options() -> None:
    with pytest.raises(InputError, match="no network called clip; choose from digits, efficientnet-lite0, inception"):
        features.load("clip")
    kind = features.load("random-projection")
    with pytest.raises(InputError, match="no number format float16; choose from float32, bfloat16"):
        kind(dtype="float16")
    with pytest.raises(InputError, match="no resize mode called nearest"):
        kind(resize="nearest")
    with pytest.raises(InputError, match="there is no device"):
        kind(device="cuda:99")
    with pytest.raises(InputError, match="there is no device"):
        kind(device="gpu")
    with pytest.raises(InputError, match="images must be uint8"):
        kind()(np.zeros((1, 3, 8, 8)))


def test_the_offline_network() -> None:
    kind = features.load("random-projection")
    network, scenes = kind(), images()
    # From numpy's PCG64: another digest means other weights, so other values for whoever compares with older ones.
    assert network.weights_digest == DIGEST_OF_SEED_0
    assert kind(seed=1).weights_digest != network.weights_digest  # type: ignore[call-arg]
    assert network.warnings == ["random-projection has random weights: its values serve tests only"]
    mixed = network([scenes[0], torch.from_numpy(scenes[1][:, :20]), scenes[2]])
    whole = network(scenes)
    assert torch.equal(mixed.pool[[0, 2]], whole.pool[[0, 2]])  # sizes are mixed freely, each image by itself
    assert not torch.equal(mixed.pool[1], whole.pool[1])
    found = {mode: kind(resize=mode)(scenes).pool for mode in resize_modes()}
    assert not torch.equal(found["tf1"], found["torch"])
    assert not torch.equal(found["tf1"], found["clean"])


def test_number_formats() -> None:
    """The format that is asked for is the one that is used."""
    kind = features.load("random-projection")
    half = kind(dtype="bfloat16")
    assert 1e-4 < half.deviation_from_float32(images()) < 2e-2
    assert half(images()).pool.dtype == torch.float32
    assert any("this is not the standard fd_random_projection" in warning for warning in half.warnings)
    assert 0 < kind(dtype="float64").deviation_from_float32(images()) < 1e-6
    assert kind().cache_key != half.cache_key


def test_shortcuts_that_a_trainer_allows_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    network = features.load("random-projection")()
    outside = network(images()).pool
    seen: list[tuple[object, ...]] = []
    graph = network._graph

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark, x.dtype))
        return graph(x)

    monkeypatch.setattr(network, "_graph", watched)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = torch.backends.cudnn.conv.fp32_precision
    try:
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = network(images()).pool
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    finally:
        torch.backends.cudnn.conv.fp32_precision = before
    assert torch.equal(inside, outside)
    assert set(seen) == {("ieee", False, torch.float32)}
    assert torch.backends.cudnn.benchmark
