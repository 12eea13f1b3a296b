"""Network files that are refused: code, damage, other kinds of networks, missing packages; each with its message."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from synthetic_networks import compact, convolutions, onnx_graph, photograph, waifu2x

from datasets.errors import InputError
from toolkit.celebahq import restoration


@pytest.fixture
def files(tmp_path):
    """A network of every kind, under names that say nothing."""
    state = compact(2)
    torch.save(state, tmp_path / "a")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "b")
    return {
        "pth": tmp_path / "a",
        "safetensors": tmp_path / "b",
        "onnx": onnx_graph(tmp_path / "c", scale=2),
        "waifu2x": waifu2x(tmp_path / "d", convolutions()),
    }


KINDS = ["pth", "safetensors", "onnx", "waifu2x"]


class Evil:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        restoration.load(path)(photograph(20, 20))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("old", [False, True])
def test_no_code_of_a_file_runs(tmp_path, old):
    state = {**compact(2), "extra": Evil(tmp_path / "made")}
    torch.save(state, tmp_path / "n.pth", _use_new_zipfile_serialization=not old)
    refused(tmp_path / "n.pth", r"holds more than tensors, and loading that could run code, so it is refused \(.*mkdir")
    assert not (tmp_path / "made").exists()


def test_a_bare_pickle_is_refused(tmp_path):
    (tmp_path / "n.pth").write_bytes(pickle.dumps(Evil(tmp_path / "made"), protocol=2))
    refused(tmp_path / "n.pth", "n.pth (holds more than tensors|is no whole file of PyTorch tensors)")
    assert not (tmp_path / "made").exists()


def test_programs_and_whole_modules_are_refused(tmp_path):
    network = torch.nn.Conv2d(3, 3, 3)
    torch.save(network, tmp_path / "module.pth")
    refused(tmp_path / "module.pth", r"holds more than tensors.*torch.nn.modules.conv.Conv2d.*network.state_dict\(\)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would like another format
        torch.jit.save(torch.jit.script(network), tmp_path / "script.pt")
    refused(tmp_path / "script.pt", "script.pt (holds more than tensors|is no whole file)")


def test_tensors_that_are_refused(tmp_path):
    def saved(name: str, state: object) -> Path:
        torch.save(state, tmp_path / name)
        return tmp_path / name

    refused(saved("a", {"weight": torch.zeros(3)}), r"holds 1 tensors of none of the \d+ architectures that spandrel")
    refused(saved("b", compact(2, channels=1)), r"makes 1 channels of 1; take a network for RGB images")
    refused(saved("c", [torch.zeros(3)]), "holds a list, not named tensors")
    state = compact(2)
    refused(saved("d", {**state, "body.0.weight": state["body.0.weight"] * torch.nan}), "'body.0.weight' has values")
    refused(saved("e", {**state, "step": 7}), "'step' is of type int, and only tensors are taken")
    refused(saved("f", {**state, "body.2.weight": torch.zeros(6, 6, 5, 5)}), "does not fit the architecture")
    wide = torch.zeros(1).expand(1 << 30)
    refused(saved("g", {**state, "body.2.bias": wide}), "'body.2.bias' is larger than what the file holds of it")


def test_wrapped_tensors_are_found(tmp_path, files):
    """Trainers save {"params_ema": {"module.body.0.weight": ...}}."""
    torch.save({"params_ema": {f"module.{name}": value for name, value in compact(2).items()}}, tmp_path / "n")
    expected = restoration.load(files["pth"])(photograph())
    assert np.array_equal(restoration.load(tmp_path / "n")(photograph()), expected)


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(files, name, tmp_path):
    data = files[name].read_bytes()
    for number, length in enumerate((len(data) // 2, len(data) - 7, 40)):
        path = tmp_path / f"cut{number}"
        path.write_bytes(data[:length])
        refused(path, f"cut{number} ")


def test_files_that_are_no_networks(tmp_path):
    for name, data in {"text": b"hello", "empty": b"", "png": b"\x89PNG\r\n\x1a\n" + bytes(40)}.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, f"{name} is no network file that can be read: it must be PyTorch tensors")
    refused(tmp_path / "missing", "missing cannot be read: No such file or directory; give the path of a network file")
    refused(tmp_path, "cannot be read: Is a directory")


def test_waifu2x_files_that_are_refused(tmp_path):
    layers = convolutions()
    path = tmp_path / "n.json"
    other = waifu2x(path, layers, class_name="nn.SpatialFullConvolution", kW=4, kH=4)
    refused(other, r"layer 2 is 'nn.SpatialFullConvolution' with kernel \(4, 4\).*only plain 3x3 convolutions")
    refused(waifu2x(path, layers, padW=1), r"layer 2 .* padding \(1, 0\)")
    refused(waifu2x(path, layers, nInputPlane=9), r"layer 2: weight and bias have shapes \(4, 5, 3, 3\) and \(4,\)")
    refused(waifu2x(path, layers, bias=[float("nan")] * 4), "layer 2 has weights that are not finite")
    refused(waifu2x(path, layers, bias=["a"]), "layer 2: weight and bias must be lists of numbers")
    refused(waifu2x(path, convolutions((1, 4, 1))), "layer 1 takes 1 planes, not an image of 3")
    refused(waifu2x(path, convolutions((3, 4, 1))), r"makes 1 planes, not 3; take a network for RGB images")
    refused(waifu2x(path, [layers[0], layers[0]]), "layer 2 takes 3 planes, not the 5 of the layer before it")


def test_numbers_that_are_no_picture(tmp_path):
    weight, bias = convolutions((3, 4))[0]
    path = waifu2x(
        tmp_path / "n.json", [(weight * np.float32(1e38), bias), (np.ones((3, 4, 3, 3), np.float32), bias[:3])]
    )
    with np.errstate(all="ignore"):
        refused(path, "makes numbers of an image that are not finite; the file is damaged")


def test_onnx_files_that_are_refused(tmp_path):
    path = tmp_path / "n.onnx"
    refused(onnx_graph(path, operator=("com.example", "Magic")), "has an operator that is not standard.*com.example")
    refused(onnx_graph(path, channels=1), r"takes \[1, 1, 'height', 'width'\]; it must take one RGB image")
    refused(onnx_graph(path, negative=True), "makes a picture that is not like what it was shown")
    refused(onnx_graph(path, size=(64, "width")), "fix both height and width when it is exported, or none")
    refused(
        onnx_graph(path, size=(32, 32)), "takes images of 32x32 pixels only, which leaves nothing beside an overlap"
    )
    refused(onnx_graph(path, operator=("", "ReduceMean")), "makes .* of an image|grow by the same whole factor")


def test_onnx_with_weights_in_other_files_is_refused(tmp_path):
    import onnx

    model = onnx.load(onnx_graph(tmp_path / "a.onnx"))
    onnx.save(model, tmp_path / "n.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    refused(tmp_path / "n.onnx", "has its weights in other files; export it as one file")


@pytest.mark.parametrize(("name", "package"), [("pth", "spandrel"), ("onnx", "onnxruntime")])
def test_a_missing_package_is_named(files, name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    refused(
        files[name], f"needs the package {package}, which is not installed; .*pip install 'growgan\\[restoration\\]'"
    )
