"""Restoration networks: every kind of file against an independent reference, in tiles, in threads, and refused."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from synthetic_networks import compact, convolutions, onnx_graph, photograph, waifu2x

from datasets.errors import InputError
from toolkit.celebahq import restoration, tiles


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


def levels(one: np.ndarray, other: np.ndarray) -> int:
    """Largest difference in grey levels."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def test_kinds_are_the_modules_of_the_folder():
    assert restoration.names() == ["onnx", "spandrel", "waifu2x"]


def test_files_are_recognised_by_content(files):
    found = {name: restoration.load(path) for name, path in files.items()}
    assert {name: restorer.kind for name, restorer in found.items()} == {
        "pth": "spandrel",
        "safetensors": "spandrel",
        "onnx": "onnx",
        "waifu2x": "waifu2x",
    }
    assert found["pth"].name == "RealESRGAN Compact 2x"
    assert found["waifu2x"].name == "vgg_3 1x"
    assert len({restorer.digest for restorer in found.values()}) == 4


def correlated(image: np.ndarray, layers) -> np.ndarray:
    """The layers of a waifu2x network by scipy's correlation, in float64."""
    planes = np.pad(image / 255.0, ((len(layers),) * 2, (len(layers),) * 2, (0, 0)), mode="edge").transpose(2, 0, 1)
    for number, (weight, bias) in enumerate(layers):
        planes = np.stack(
            [
                sum(scipy.signal.correlate2d(p, k, mode="valid") for p, k in zip(planes, kernels, strict=True)) + b
                for kernels, b in zip(weight.astype(float), bias.astype(float), strict=True)
            ]
        )
        if number < len(layers) - 1:
            planes = np.where(planes > 0, planes, 0.1 * planes)
    return np.rint(np.clip(planes.transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)


def test_waifu2x_against_scipy(tmp_path):
    layers = convolutions((3, 8, 6, 3), seed=1)
    layers[0] = (-layers[0][0], layers[0][1])  # so that much of it is negative, where the slope counts
    layers[1] = (-layers[1][0], layers[1][1])
    restored = restoration.load(waifu2x(tmp_path / "n.json", layers))(photograph())
    expected = correlated(photograph(), layers)
    assert levels(restored, expected) <= 1
    assert (restored != expected).mean() < 1e-3
    assert levels(restored, photograph()) > 20


def test_waifu2x_that_doubles_sees_repeated_pixels(tmp_path):
    layers = convolutions()
    restorer = restoration.load(waifu2x(tmp_path / "scale2.0x_model.json", layers))
    assert restorer.scale == 2
    photo = photograph(40, 50)
    assert levels(restorer(photo), correlated(photo.repeat(2, 0).repeat(2, 1), layers)) <= 1


@pytest.mark.parametrize("name", ["pth", "safetensors"])
def test_spandrel_against_torch(files, name):
    """The network written out: three convolutions with rectifiers between, on top of the repeated pixels."""
    state = {key: value.double() for key, value in compact(2).items()}
    x = torch.from_numpy(photograph()).permute(2, 0, 1)[None].double() / 255
    y = x
    for layer in (0, 2, 4, 6):
        y = torch.nn.functional.conv2d(y, state[f"body.{layer}.weight"], state[f"body.{layer}.bias"], padding=1)
        if layer < 6:
            y = torch.nn.functional.prelu(y, state[f"body.{layer + 1}.weight"])
    y = torch.pixel_shuffle(y, 2) + x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = (y.clamp(0, 1)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert levels(restoration.load(files[name])(photograph()), expected) <= 1


@pytest.mark.parametrize(("values", "contrast"), [((0.0, 1.0), 1.0), ((0.0, 255.0), 1.0), ((-1.0, 1.0), 1.3)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_onnx_finds_range_layout_and_factor(tmp_path, values, contrast, layout):
    path = onnx_graph(tmp_path / "n.onnx", scale=2, values=values, layout=layout, contrast=contrast)
    restorer = restoration.load(path)
    weight, bias = convolutions((3, 3), seed=3)[0]
    weight[range(3), range(3), 1, 1] += contrast - 1
    bias = bias / 4 - (contrast - 1) / 2
    planes = np.pad(photograph() / 255.0, ((1, 1), (1, 1), (0, 0))).transpose(2, 0, 1)
    seen = [
        sum(scipy.signal.correlate2d(p, k, mode="valid") for p, k in zip(planes, kernels, strict=True)) + b
        for kernels, b in zip(weight, bias, strict=True)
    ]
    expected = np.rint(np.clip(np.stack(seen, 2), 0, 1) * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    # 90x130 is filled up to multiples of 16 with its last pixels, where the reference has zeros
    assert levels(restorer(photograph())[:-2, :-2], expected[:-2, :-2]) <= 1


@pytest.mark.parametrize("kind", [np.float16, np.uint8])
def test_onnx_of_other_types(tmp_path, kind):
    values = (0.0, 255.0) if kind is np.uint8 else (0.0, 1.0)
    reference = restoration.load(onnx_graph(tmp_path / "a.onnx"))(photograph())
    restored = restoration.load(onnx_graph(tmp_path / "b.onnx", kind=kind, values=values))(photograph())
    assert levels(restored, reference) <= 1


def test_onnx_of_a_fixed_size(tmp_path):
    free = restoration.load(onnx_graph(tmp_path / "a.onnx", scale=2))
    fixed = restoration.load(onnx_graph(tmp_path / "b.onnx", scale=2, size=(64, 80)))
    assert levels(fixed(photograph())[:-4, :-4], free(photograph())[:-4, :-4]) <= 1
    assert levels(fixed(photograph(20, 30))[:-4, :-4], free(photograph(20, 30))[:-4, :-4]) <= 1


@pytest.mark.parametrize("name", KINDS)
def test_tiles_do_not_show(files, name):
    """One level of difference is what another order of a sum may make."""
    whole = restoration.load(files[name], tile=256)(photograph())
    for tile in (80, 97):
        assert levels(restoration.load(files[name], tile=tile)(photograph()), whole) <= 1


def test_cut_edges_would_show_without_margin(files):
    whole = restoration.load(files["waifu2x"])(photograph())
    assert levels(restoration.load(files["waifu2x"], tile=64, overlap=2)(photograph()), whole) > 1


@given(length=st.integers(1, 400), tile=st.integers(40, 90), scale=st.integers(1, 4), margin=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_weights_of_tiles_add_up(length, tile, scale, margin):
    network = Doubler(scale, margin)
    total = np.zeros(length * scale)
    for start, end, weights in tiles.spans(length, tile, 2 * margin + 5, network):
        assert 0 <= start < end <= length
        assert end - start == min(tile, length)
        if start > 0:
            assert not weights[: margin * scale].any()
        if end < length:
            assert not weights[len(weights) - margin * scale :].any()
        total[start * scale : end * scale] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)


class Doubler:
    """A network that repeats pixels, and remembers what it was shown."""

    name, blend, size, multiple = "repeat", 4, None, 1

    def __init__(self, scale: int = 2, margin: int = 3) -> None:
        self.scale, self.margin = scale, margin
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        self.seen.append(tile.shape)
        return tile.repeat(self.scale, 0).repeat(self.scale, 1)


def test_no_tile_is_larger_than_asked_for():
    network, photo = Doubler(), photograph(300, 111)
    result = tiles.in_tiles(network, photo, tile=48, overlap=10, where="test")
    assert np.array_equal(result, photo.repeat(2, 0).repeat(2, 1))
    assert set(network.seen) == {(48, 48, 3)}
    assert len(network.seen) == 8 * 3


def test_single_pixels_pass(files):
    for name in KINDS:
        restorer = restoration.load(files[name])
        assert restorer(photograph()[:1, :1]).shape == (restorer.scale, restorer.scale, 3)


@pytest.mark.parametrize("name", ["pth", "onnx", "waifu2x"])
def test_threads_give_what_one_gives(files, name):
    restorer = restoration.load(files[name])
    photos = [np.roll(photograph(), 11 * number, axis=1) for number in range(6)]
    alone = [restorer(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(restorer, photos))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_pickles_hold_the_path_alone(files, name):
    restorer = restoration.load(files[name])
    data = pickle.dumps(restoration.enlarge_with(restorer) if restorer.scale > 1 else restorer)
    assert len(data) < 1000
    again = pickle.loads(data)
    expected = restorer(photograph())
    assert np.array_equal(again(photograph(), 2) if restorer.scale > 1 else again(photograph()), expected)


def test_a_file_that_changed_is_refused(tmp_path):
    path = waifu2x(tmp_path / "n", convolutions())
    data = pickle.dumps(restoration.load(path))
    waifu2x(path, convolutions(seed=5))
    restoration._read_network.cache_clear()  # as in another process
    with pytest.raises(InputError, match=r"n has changed since it was opened; give the new file a name of its own"):
        pickle.loads(data)(photograph())


@pytest.mark.parametrize(("factor", "passes"), [(1, 0), (2, 1), (3, 1), (4, 2), (6, 1), (8, 3)])
def test_any_factor(files, factor, passes):
    enlarge = restoration.enlarge_with(restoration.load(files["pth"]))
    assert enlarge.passes(factor) == passes
    photo = photograph(30, 41)
    result = enlarge(photo, factor)
    assert result.shape == (30 * factor, 41 * factor, 3)
    assert result.dtype == np.uint8
    mean = result.reshape(30, factor, 41, factor, 3).mean(axis=(1, 3))
    assert np.abs(mean - photo).mean() < 14
    if factor == 1:
        assert np.array_equal(result, photo)


def test_a_network_larger_than_the_factor_is_reduced(tmp_path):
    torch.save(compact(4), tmp_path / "n")
    restorer = restoration.load(tmp_path / "n")
    enlarge = restoration.enlarge_with(restorer, "box")
    assert enlarge.passes(2) == 1
    expected = restorer(photograph(20, 30)).reshape(40, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(enlarge(photograph(20, 30), 2) - expected).max() <= 1


def test_what_enlarges_nothing_enlarges_nothing(files):
    with pytest.raises(InputError, match=r"d: this network \(vgg_3 1x\) does not make images larger"):
        restoration.enlarge_with(restoration.load(files["waifu2x"]))


def test_tiles_that_are_too_small(files):
    with pytest.raises(InputError, match=r"a tile of 60 pixels is too small for an overlap of 48; take at least 80"):
        restoration.load(files["pth"], tile=60)


def test_pixels_of_other_kinds_are_a_mistake(files):
    restorer = restoration.load(files["waifu2x"])
    for pixels in (photograph().astype(np.float32), photograph()[:, :, 0], photograph()[:0]):
        with pytest.raises(ValueError, match="need uint8 pixels"):
            restorer(pixels)


def test_torch_is_imported_for_torch_alone(files):
    """Neither other kinds of files nor the package itself import torch; torchvision is never needed."""
    code = (
        "import sys; from pathlib import Path; from toolkit.celebahq import restoration\n"
        f"restoration.load(Path({str(files['waifu2x'])!r})); restoration.load(Path({str(files['onnx'])!r}))\n"
        "assert 'torch' not in sys.modules\n"
        f"restoration.load(Path({str(files['pth'])!r}))\n"
        "assert 'torch' in sys.modules and 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_results_are_bytes_again(files):
    """The whole way: a photograph saved as JPEG, restored, and nothing but uint8 RGB comes out."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(photograph()).save(stream, "JPEG", quality=40)
    restored = restoration.load(files["waifu2x"])(np.asarray(Image.open(stream)))
    assert restored.dtype == np.uint8
    assert restored.shape == (90, 130, 3)
    assert restored.flags.c_contiguous
