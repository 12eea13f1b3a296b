"""The Inception network of FID: what differs between the tools that use it, its files, and NVIDIA's program of it."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from oracles.networks import Inception, random_state
from torch import Tensor, nn

from datasets.errors import InputError
from metrics.features import Extractor
from metrics.features.inception import CONVOLUTIONS, Network
from metrics.weights import Published


@pytest.fixture(autouse=True)
def _single_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extractor, "block_size", 1)
        yield


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(Network.shapes(Network.__new__(Network)), seed=4)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """One image of the input size, at which all resize modes leave it as it is."""
    y, x = np.mgrid[0:299, 0:299] / 299
    image = np.stack((255 * y, 127 + 120 * np.sin(40 * x * y), 200 * x)) + np.random.default_rng(0).normal(
        0, 9, (3, 299, 299)
    )
    return torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8))[None]


def close(found: Tensor, expected: Tensor, tolerance: float = 2e-6) -> bool:
    return bool((found - expected).norm() < tolerance * expected.norm())


def test_state_dict_is_that_of_the_public_file(state: dict[str, Tensor]) -> None:
    """566 entries with the counters, 23,850,960 parameters, 95,542,320 bytes, as torchvision's of 1008 classes."""
    assert len(CONVOLUTIONS) == 94
    assert len(state) + 94 == 566
    learnt = sum(value.numel() for name, value in state.items() if "running" not in name)
    assert learnt == 23_850_960
    assert sum(4 * value.numel() for value in state.values()) + 94 * 8 == 95_542_320
    assert {file.sha256[:8] for file in Network.published} == {"6726825d"}
    assert all(file.sha256[:8] in file.file for file in Network.published)


def test_all_layers_with_the_normalisation_of_pytorch_fid(state: dict[str, Tensor], picture: Tensor) -> None:
    exact = {name: value.double() for name, value in state.items()}
    expected = Inception(exact).layers(2 * (picture.double() / 255) - 1)
    for size, features in expected.items():
        network = Network(state, resize="torch", feature_size=size)
        found = network(picture)
        assert close(found.pool, features), size
        assert (found.logits is None) == (size != 2048)
        assert network.distance == ("fid" if size == 2048 else f"fid{size}")
        assert network.cache_key["feature_size"] == size


def test_clean_and_tf1_share_the_normalisation_of_tensorflow(state: dict[str, Tensor], picture: Tensor) -> None:
    found = {mode: Network(state, resize=mode)(picture).pool for mode in ("tf1", "clean", "torch")}
    assert close(found["clean"], found["tf1"])
    assert not close(found["torch"], found["tf1"], 1e-4)


def test_bfloat16_is_near_and_says_so(state: dict[str, Tensor], picture: Tensor) -> None:
    network = Network(state, dtype="bfloat16", feature_size=64)
    assert 1e-4 < network.deviation_from_float32(picture) < 2e-2
    assert any("about half a percent: this is not the standard fid64" in warning for warning in network.warnings)


def test_files_of_every_format_give_the_same_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    counters = {f"{name}.bn.num_batches_tracked": torch.tensor(0) for name in CONVOLUTIONS}
    torch.save(state | counters, tmp_path / "public.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    digest = Network(state).weights_digest
    for file in ("public.pth", "old.pth", "weights.safetensors"):
        network = Network(tmp_path / file, feature_size=64)
        assert network.weights_digest == digest
        assert network.weights_name == file
        assert not network.weights_published
    changed = dict(state, **{"fc.bias": state["fc.bias"] + 1e-6})
    assert Network(changed).weights_digest != digest


def test_the_published_file_is_known_by_its_sha256(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(Network, "published", (Published("weights.pth", digest),))
    network = Network(str(tmp_path / "weights.pth"))
    assert network.weights_published
    assert network.warnings == []


def test_torchvisions_network_is_refused(state: dict[str, Tensor]) -> None:
    imagenet = dict(state, **{"fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(1000)})
    message = (
        r"is not a file of weights of inception: 1 do not belong, such as AuxLogits.fc.bias; "
        r"1 have another shape, such as fc.weight: \(1000, 2048\), not \(1008, 2048\)"
    )
    with pytest.raises(InputError, match=message):
        Network(imagenet)
    with pytest.raises(InputError, match="features of size 64, 192, 768 and 2048, not 100"):
        Network(state, feature_size=100)
    broken = dict(state, **{"fc.bias": torch.full((1008,), float("nan"))})
    with pytest.raises(InputError, match=r"fc.bias holds numbers that are not finite"):
        Network(broken)


class StandIn(nn.Module):
    """Called like NVIDIA's program: any size, uint8, features on demand."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output = nn.Linear(size, 7)
        self.size = size

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        features = (img.float().mean((2, 3)) - 128).repeat(1, self.size // 3 + 1)[:, : self.size]
        if return_features:
            return features
        logits = features.matmul(self.output.weight.t())
        return (logits if no_output_bias else logits + self.output.bias).softmax(dim=1)


def script(path: Path, size: int = 2048) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is no longer developed; NVIDIA's file stays what it is
        torch.jit.save(torch.jit.script(StandIn(size)), buffer)
    path.write_bytes(buffer.getvalue())
    return path


def test_torchscript_program_does_its_own_resizing(
    tmp_path: Path, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path / "inception.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(Network, "published_scripts", (Published(path.name, digest),))
    network = Network(path)
    found = network([picture[0], picture[0, :, :50]])
    assert found.pool.shape == (2, 2048)
    torch.testing.assert_close(found.pool[0, :3], picture[0].float().mean((1, 2)) - 128)
    assert network.num_classes == 7
    assert network._script is not None
    assert found.logits_unbiased is not None
    probabilities = network._script._program(picture, no_output_bias=True)
    torch.testing.assert_close(found.logits_unbiased[:1].softmax(1), probabilities)
    assert network.weights_published
    assert network.warnings == []
    assert network.cache_key["resize"] == "nvidia"
    assert network.cache_key["weights"] == digest
    assert network.deviation_from_float32(picture) == 0


def test_torchscript_program_of_unknown_origin_is_not_run(tmp_path: Path, picture: Tensor) -> None:
    path = script(tmp_path / "mine.pt")
    with pytest.raises(
        InputError, match=r"mine.pt is a TorchScript program and not a published one .SHA-256 [0-9a-f]{64}"
    ):
        Network(path)
    network = Network(path, trust_torchscript=True)
    assert network(picture).pool.shape == (1, 2048)
    assert any("not the published ones" in warning for warning in network.warnings)
    with pytest.raises(InputError, match=r"resizes by itself .as tf1 does. in float32; for clean and float32 give"):
        Network(path, trust_torchscript=True, resize="clean")
    with pytest.raises(InputError, match=r"gives \(1, 100\) for 1 images, not 2048 numbers each"):
        Network(script(tmp_path / "other.pt", 100), trust_torchscript=True)(picture)


def test_damaged_torchscript_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(script(tmp_path / "whole.pt")) as whole, zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad:
        for name in whole.namelist():
            bad.writestr(name, b"not a program\n" if name.endswith(".py") else whole.read(name))
    with pytest.raises(InputError, match=r"bad.pt is a damaged TorchScript file: ") as caught:
        Network(tmp_path / "bad.pt", trust_torchscript=True)
    assert "\n" not in str(caught.value)
