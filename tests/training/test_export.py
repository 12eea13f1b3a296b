"""Exported generators: every format draws what the network draws, by other runtimes and by the NumPy oracle."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import pggan as oracle

from datasets.errors import InputError
from training import checkpoint, conditioning, graphs
from training.architectures import mnist_modes, pggan
from training.checkpoint import Checkpoint
from training.config import Config, load_architecture
from training.export import cli
from training.exporting import export
from training.sampler import Sampler
from training.settings import to_mapping

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"fmap_base": 64, "fmap_max": 16, "latent_size": 12}
Array = NDArray[np.float64]


def write(folder: Path, config: Config, *, level: int = 4, alpha: float = 1.0, resolution: int = 32) -> Path:
    """Checkpoint of an untrained generator whose biases and statistics are not what they begin as."""
    classes = 3 if config.conditioning.kind == "acgan" else 0
    torch.manual_seed(5)
    generator = load_architecture(config).Generator(config.network, resolution, classes)
    for name, tensor in generator.state_dict().items():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand_like(tensor) + (0.5 if "variance" in name else -0.3))
    facts = {"config": to_mapping(config), "resolution": resolution, "level": level, "alpha": alpha}
    tensors = {f"average/{name}": tensor for name, tensor in generator.state_dict().items()}
    path = folder / "checkpoint-000001000.safetensors"
    checkpoint.save(path, Checkpoint(1000, {**facts, "class_counts": [4] * classes}, tensors))
    return path


def paper(**options: Any) -> Config:
    return Config(network=pggan.Config(**WIDTHS, **options))


def conditional() -> Config:
    return Config(network=pggan.Config(**WIDTHS), conditioning=conditioning.Config(kind="acgan"))


def drawn_by_oracle(path: Path, z: Array, level: int, labels: Array | None = None, alpha: float = 1.0) -> Array:
    saved = checkpoint.load(path)
    weights = {name: tensor.double().numpy() for name, tensor in saved.group("average").items()}
    return oracle.generator(weights, saved.facts["config"]["network"], z, level, alpha, labels)


def by_onnx(path: Path, **inputs: Array) -> Array:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == list(inputs)
    (images,) = session.run(["images"], {name: one.astype(np.float32) for name, one in inputs.items()})
    return np.asarray(images, np.float64)


def test_all_formats_draw_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("onnxscript")
    source = write(tmp_path, paper())
    done = export(source, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {
        source.name, "out.safetensors", "out.onnx", "out.pt2", "out.json",
    }  # fmt: skip
    for count in (1, 3):  # any number of images
        z = rng.standard_normal((count, 12))
        wanted = drawn_by_oracle(source, z, 4)
        np.testing.assert_allclose(by_onnx(tmp_path / "out.onnx", latents=z), wanted, atol=1e-4)
        program = torch.export.load(tmp_path / "out.pt2").module()
        np.testing.assert_allclose(program(torch.from_numpy(z).float()).detach().numpy(), wanted, atol=1e-4)
    sampler, _ = Sampler.from_path(tmp_path / "out.safetensors")
    assert (sampler.level, sampler.alpha, sampler.resolution) == (4, 1.0, 16)
    images, _ = Sampler.from_path(source)
    rows = np.arange(3)
    np.testing.assert_array_equal(sampler.images(7, rows).repeat(2, 2).repeat(2, 3), images.images(7, rows))
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["inputs"]["latents"]["shape"] == ["batch", 12]
    assert card["outputs"]["images"]["shape"] == ["batch", 3, 16, 16]
    assert card["source"]["digest"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert card["config"]["network"]["fmap_base"] == 64
    for name in ("out.safetensors", "out.onnx", "out.pt2"):
        assert card["files"][name]["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert card["files"][name]["largest_difference"] == done.differences[name.removeprefix("out.")] < 1e-4


def test_labels_and_a_fixed_batch(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("onnxscript")
    source = write(tmp_path, conditional(), level=5)
    export(source, tmp_path / "out", resolution=8, batch=2, formats=["onnx", "pt2"])
    z, labels = rng.standard_normal((2, 12)), np.eye(3)[[2, 0]]
    wanted = drawn_by_oracle(source, z, 3, labels)
    found = by_onnx(tmp_path / "out.onnx", latents=z, labels=labels)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(found - drawn_by_oracle(source, z, 3, np.eye(3)[[1, 1]])).max() > 0.01
    program = torch.export.load(tmp_path / "out.pt2").module()
    images = program(torch.from_numpy(z).float(), torch.from_numpy(labels).float())
    np.testing.assert_allclose(images.detach().numpy(), wanted, atol=1e-4)
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["inputs"]["labels"]["shape"] == [2, 3]
    assert card["level"] == 3


CONFIGS = {
    "batch norm": Config(arch="mnist_modes", network=mnist_modes.Config(fmap_base=8, latent_size=6)),
    "table 1": paper(generator_norm="batch", tanh=True, generator_leak=0.0, equalized=False),
    "apart": paper(fused_resampling=False),
    "pixel biases": paper(first_layer="pixel_biases", normalize_labels=True),
    "unnormalized": paper(first_layer="unnormalized", normalize_latents=False),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_every_kind_of_network(case: str, tmp_path: Path) -> None:
    done = export(write(tmp_path, CONFIGS[case]), tmp_path / "out", formats=["safetensors", "pt2"])
    assert done.differences["safetensors"] == 0.0
    assert done.differences["pt2"] < 1e-4


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ({}, {"resolution": 32}, r"has grown to 16x16; export that or less, not 32"),
        ({}, {"resolution": 12}, r"12"),
    ],
)
def test_refused(made: dict[str, Any], asked: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = write(tmp_path, paper(), **made)
    with pytest.raises(InputError, match=message):
        export(source, tmp_path / "out", formats=["pt2"], **asked)
    assert list(tmp_path.iterdir()) == [source]


def test_a_level_that_is_fading_in(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write(tmp_path, paper(), alpha=0.4)
    done = export(source, tmp_path / "now", formats=["safetensors", "pt2"])
    assert (done.level, done.alpha) == (4, 0.4)
    z = rng.standard_normal((4, 12))
    wanted = drawn_by_oracle(source, z, 4, alpha=0.4)
    assert np.abs(wanted - drawn_by_oracle(source, z, 4)).max() > 0.01
    images = torch.export.load(tmp_path / "now.pt2").module()(torch.from_numpy(z).float())
    np.testing.assert_allclose(images.detach().numpy(), wanted, atol=1e-4)
    assert Sampler.from_path(tmp_path / "now.safetensors")[0].alpha == 0.4
    assert json.loads((tmp_path / "now.json").read_text())["alpha"] == 0.4
    done = export(source, tmp_path / "before", formats=["safetensors"], resolution=8)
    assert (done.level, done.alpha) == (3, 1.0)
    assert Sampler.from_path(tmp_path / "before.safetensors")[0].alpha == 1.0


def test_graphs_of_8_bit_images(tmp_path: Path, rng: np.random.Generator) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    source = write(tmp_path, paper())
    export(source, tmp_path / "out", formats=["onnx"], bits=8)
    z = rng.standard_normal((3, 12))
    wanted = np.clip(np.round(drawn_by_oracle(source, z, 4) * 127.5 + 127.5), 0, 255)
    assert wanted.min() == 0
    session = runtime.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    (images,) = session.run(["images"], {"latents": z.astype(np.float32)})
    assert images.dtype == np.uint8
    assert np.abs(images - wanted).max() <= 1  # on the edge between two grey levels
    assert (images != wanted).mean() < 0.001
    card = json.loads((tmp_path / "out.json").read_text())
    assert card["outputs"]["images"] == {"shape": ["batch", 3, 16, 16], "type": "uint8", "range": "[0, 255]"}


def test_an_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out.onnx has an ending, which the command adds; name it .*out$"):
        export(write(tmp_path, paper()), tmp_path / "out.onnx")


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path, paper())
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(InputError, match=r"out.json exists already"):
        export(source, tmp_path / "out", formats=["pt2"])
    assert (tmp_path / "out.json").read_text() == "mine"
    export(source, tmp_path / "out", formats=["pt2"], overwrite=True)


@pytest.mark.parametrize("fault", ["other images", "other shape"])
def test_nothing_is_published_unless_it_draws_the_same(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, paper())
    read = graphs.READERS["pt2"]

    def wrong(path: Path) -> graphs.Draw:
        draw = read(path)
        return lambda inputs: draw(inputs) + 0.05 if fault == "other images" else draw(inputs)[:, :, ::2]

    monkeypatch.setitem(graphs.READERS, "pt2", wrong)
    with pytest.raises(InputError, match=r"out.pt2 would draw .* not written"):
        export(source, tmp_path / "out", formats=["safetensors", "pt2"])
    assert list(tmp_path.iterdir()) == [source]


def test_onnx_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, paper())
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"ONNX needs onnxscript, not installed: pip install 'growgan\[export\]'"):
        export(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, paper())
    cli.main([str(source), str(tmp_path / "out"), "--format", "safetensors"], standalone_mode=False)
    said = capsys.readouterr().err
    assert "largest difference" in said
    assert "generator of 16x16" in said
    command = [sys.executable, "training/export.py", str(tmp_path / "nothing"), str(tmp_path / "other")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
