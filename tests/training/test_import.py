"""Generators of other programs draw the same images here, and what is no such generator is refused in one line."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import synthetic_generators as files
import torch
from numpy.typing import NDArray
from oracles import foreign_generators as oracle

from datasets.errors import InputError
from metrics.images import ImageSet
from training import checkpoint, sample
from training.import_checkpoint import cli
from training.importing import import_generator
from training.sampler import Sampler

ROOT = Path(__file__).resolve().parents[2]
Array = NDArray[np.float64]

TENSORFLOW: dict[str, tuple[dict[str, Any], float, int, float]] = {  # arguments, lod; level, alpha
    "fused": ({}, 0.0, 5, 1.0),
    "separate": ({"fused_scale": False, "latent_size": 7}, 0.0, 5, 1.0),
    "fading": ({"pixelnorm_epsilon": 1e-4}, 0.25, 5, 0.75),
    "early": ({}, 1.75, 4, 0.25),
    "first level": ({}, 3.0, 2, 1.0),
    "labels": ({"label_size": 3}, 0.0, 5, 1.0),
    "plain": ({"use_wscale": False, "use_pixelnorm": False, "use_leakyrelu": False}, 0.0, 5, 1.0),
    "raw latents": ({"normalize_latents": False, "fmap_decay": 0.5}, 0.0, 5, 1.0),
    "grey": ({"num_channels": 1}, 0.0, 5, 1.0),
}
GAN_ZOO: dict[str, tuple[dict[str, Any], list[int]]] = {
    "whole": ({}, [6, 6, 3]),
    "fading": ({"alpha": 0.3}, [6, 6, 3]),
    "first level": ({"alpha": 0.0}, [5]),
    "tanh": ({"lossCriterion": "DCGAN", "leakyReluLeak": 0.1}, [6, 3]),
    "plain": ({"equalizedlR": False}, [6, 6]),
    "classes": ({"attribKeysOrder": {"hat": {"order": 0, "values": ["no", "yes", "two"]}}}, [6, 6]),
    "grey": ({}, [4, 2]),
}
CONFIG = {
    "equalizedlR": True,
    "leakyReluLeak": 0.2,
    "lossCriterion": "WGANGP",
    "alpha": 0.0,
    "perChannelNormalization": True,
    "noiseVectorDim": 9,
    "attribKeysOrder": None,
    "depthOtherScales": [6, 3],
}


# Weights of other scales are kept in float32; few feature maps make that show where a pixel is nearly black before
# it is normalized.
ROUNDED = 2e-6


def drawn(path: Path, z: Array, labels: Array | None = None) -> Array:
    """Images of an imported checkpoint at the level that it is at, computed in float64, where rounding is no excuse."""
    sampler, _ = Sampler.from_path(path)
    given = None if labels is None else torch.from_numpy(labels)
    with torch.inference_mode():
        images = sampler.generator.double()(torch.from_numpy(z), sampler.level, sampler.alpha, given)
    found: Array = images.numpy()
    return found


def imported(path: Path, **options: Any) -> tuple[Path, Any]:
    saved, found = import_generator(path, **options)
    out = path.with_suffix(".safetensors")
    checkpoint.save(out, saved)
    return out, found


def close(found: Array, wanted: Array) -> None:
    if wanted.shape[1] == 1:
        wanted = wanted.repeat(3, axis=1)
    assert wanted.std() > 0.05
    np.testing.assert_allclose(found, wanted, atol=ROUNDED * np.abs(wanted).max())


@pytest.mark.parametrize("case", TENSORFLOW)
def test_tensorflow(case: str, tmp_path: Path, rng: np.random.Generator) -> None:
    changes, lod, level, alpha = TENSORFLOW[case]
    arguments = {"num_channels": 3, "resolution": 32, "label_size": 0, "fmap_base": 32, "fmap_max": 8, **changes}
    trained, average = (files.tensorflow_variables(rng, arguments, lod) for _ in range(2))
    path = files.tensorflow_pickle(tmp_path / "network.pkl", arguments, [trained, average])
    out, found = imported(path)
    assert (found.level, found.alpha, found.top_level) == (level, pytest.approx(alpha), level)
    classes = arguments["label_size"]
    z = rng.standard_normal((3, arguments.get("latent_size") or 8))
    labels = np.eye(classes)[[2, 0, 1]] if classes else None
    close(drawn(out, z, labels), oracle.tensorflow(average, arguments, z, labels))
    if case == "fused":
        out, _ = imported(path, average=False)
        close(drawn(out, z), oracle.tensorflow(trained, arguments, z))


@pytest.mark.parametrize("writer", ["stylegan", "python 2"])
def test_tensorflow_of_other_writers(writer: str, tmp_path: Path, rng: np.random.Generator) -> None:
    arguments = {
        "num_channels": 3,
        "resolution": 16,
        "label_size": 0,
        "fmap_base": 64,
        "fmap_max": 8,
        "dtype": "float32",
    }
    variables = files.tensorflow_variables(rng, arguments, 0.0)  # 8 maps at every level: shapes do not tell
    out, found = imported(
        files.tensorflow_pickle(tmp_path / "network.pkl", arguments, [variables, variables], writer=writer)
    )
    assert found.notes == ()
    z = rng.standard_normal((3, 8))
    close(drawn(out, z), oracle.tensorflow(variables, arguments, z))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("case", GAN_ZOO)
def test_gan_zoo(case: str, legacy: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    changes, widths = GAN_ZOO[case]
    config = {**CONFIG, **changes}
    classes = 3 if case == "classes" else 0
    size = 1.0 if config["equalizedlR"] else 0.2
    channels = 1 if case == "grey" else 3
    trained, average = (files.gan_zoo_state(rng, 9 + classes, widths, channels, size) for _ in range(2))
    path = files.gan_zoo_file(tmp_path / "zoo.pt", config, legacy=legacy, netG=trained, netD=trained, avgG=average)
    out, found = imported(path)
    assert (found.level, found.alpha) == (1 + len(widths), 1 - config["alpha"])
    z = rng.standard_normal((3, 9))
    labels = np.eye(classes)[[2, 0, 1]] if classes else None
    joined = z if labels is None else np.concatenate([z, labels], axis=1)
    close(drawn(out, z, labels), oracle.gan_zoo(average, config, joined))
    assert any("no, yes, two" in note for note in found.notes) == (case == "classes")
    out, _ = imported(path, average=False)
    close(drawn(out, z, labels), oracle.gan_zoo(trained, config, joined))


@pytest.mark.parametrize("equalized", [True, False])
def test_pro_gan_3(equalized: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    size = 1.0 if equalized else 0.1
    trained, average = (files.pro_gan_state(rng, 7, [8, 8, 4, 2], scale=size) for _ in range(2))
    conf = {"depth": 5, "num_channels": 3, "latent_size": 7, "use_eql": equalized}
    parts = {name: {"conf": conf, "state_dict": files.tensors(state)} for name, state in [("generator", trained)]}
    parts["shadow_generator"] = {"conf": conf, "state_dict": files.tensors(average)}
    path = tmp_path / "depth_4_epoch_12.bin"
    torch.save({**parts, "discriminator": {}, "gen_optim": {"state": {}}}, path)
    z = rng.standard_normal((3, 7))
    out, found = imported(path)
    assert (found.level, found.alpha, found.notes) == (4, 1.0, ())
    close(drawn(out, z), oracle.pro_gan(average, z, 4, version=3, equalized=equalized))
    out, _ = imported(path, average=False)
    close(drawn(out, z), oracle.pro_gan(trained, z, 4, version=3, equalized=equalized))
    out, found = imported(path.rename(tmp_path / "mine.bin"))
    assert found.level == 5
    assert "--resolution" in found.notes[0]
    close(drawn(out, z), oracle.pro_gan(average, z, 5, version=3, equalized=equalized))
    out, found = imported(tmp_path / "mine.bin", resolution=8)
    assert drawn(out, z).shape == (3, 3, 8, 8)
    close(drawn(out, z), oracle.pro_gan(average, z, 3, version=3, equalized=equalized))


@pytest.mark.parametrize("size", [1.0, 0.1])
def test_pro_gan_2(size: float, tmp_path: Path, rng: np.random.Generator) -> None:
    state = files.pro_gan_state(rng, 8, [8, 8, 8, 8, 4], version=2, scale=size)
    path = tmp_path / "GAN_GEN_SHADOW_3.pth"
    torch.save({f"module.{name}": value for name, value in files.tensors(state).items()}, path)
    out, found = imported(path)
    assert found.level == 5
    assert ("it is not" in found.notes[0]) == (size < 1)
    z = rng.standard_normal((3, 8))
    close(drawn(out, z), oracle.pro_gan(state, z, 5, version=2, equalized=size == 1.0))


def test_an_import_is_sampled_and_measured(tmp_path: Path, rng: np.random.Generator) -> None:
    arguments = {"num_channels": 3, "resolution": 16, "label_size": 2, "fmap_base": 32, "fmap_max": 8}
    variables = files.tensorflow_variables(rng, arguments, 0.0)
    out, _ = imported(files.tensorflow_pickle(tmp_path / "network.pkl", arguments, [variables]))
    images = sample.open_image_set(out, num_images=None, seed=1)
    assert isinstance(images, ImageSet)
    assert images.read(np.arange(5)).shape == (5, 3, 16, 16)
    facts = checkpoint.load(out).facts
    assert facts["imported"]["layout"].startswith("the TensorFlow release")
    assert facts["class_counts"] == [1, 1]


def zoo(folder: Path, changes: dict[str, Any], widths: list[int], **states: Any) -> Path:
    rng = np.random.default_rng(0)
    states = states or {"netG": files.gan_zoo_state(rng, 9, widths)}
    return files.gan_zoo_file(folder / "f", {**CONFIG, **changes}, **states)


def tensorflow(folder: Path, function: str = "G_paper", drop: str = "", **changes: Any) -> Path:
    arguments = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 8}
    variables = files.tensorflow_variables(np.random.default_rng(0), arguments, 0.0)
    if drop:
        del variables[drop]
    elif "more" in changes:
        variables["8x8/Noise/weight"] = np.zeros(3, np.float32)
    elif "infinite" in changes:
        variables["4x4/Conv/bias"][2] = np.inf
    return files.tensorflow_pickle(folder / "f", arguments | changes, [variables], function)


def saved(folder: Path, value: Any, *classes: type[Any]) -> Path:
    return files.dump(value, folder / "f", *classes, write=torch.save)


def written(folder: Path, data: bytes) -> Path:
    (folder / "f").write_bytes(data)
    return folder / "f"


def tar_of(*names: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return held.getvalue()


def zip_of(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02}.")
    return held.getvalue()


STRANGER = files.foreign_class("models.networks", "Trained")
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "other function": (lambda f: tensorflow(f, function="G_style"), "no generator built by G_paper, but 'G_style'"),
    "discriminator only": (lambda f: tensorflow(f, function="D_paper"), "but 'D_paper'"),
    "weight missing": (lambda f: tensorflow(f, drop="8x8/Conv1/weight"), "no array 8x8/Conv1/weight"),
    "weight too many": (lambda f: tensorflow(f, more=1), "no place in the layout .8x8/Noise"),
    "other widths": (lambda f: tensorflow(f, fmap_max=16), "expected 16 x 256; its layout"),
    "not finite": (lambda f: tensorflow(f, infinite=1), "4x4/Conv/bias holds numbers that are not finite"),
    "resolution": (lambda f: tensorflow(f, resolution=24), "resolution"),
    "argument": (lambda f: tensorflow(f, fmap_base="many"), "fmap_base is 'many'"),
    "channels": (lambda f: tensorflow(f, num_channels=4), "images of 4 channels"),
    "forbidden global": (
        lambda f: written(f, b"\x80\x04cos\nsystem\n\x8c\x04true\x85R."),
        "mentions os.system.*tfutil",
    ),
    "other repository": (
        lambda f: written(f, b"\x80\x04ctraining.networks\nNetwork\n)\x81."),
        "mentions training.networks.Network",
    ),
    "plain pickle": (lambda f: written(f, pickle.dumps({"a": 1})), "layout that we do not read .it begins 'a'"),
    "forbidden in torch": (
        lambda f: saved(f, {"netG": STRANGER()}, STRANGER),
        "models.networks.Trained.*nothing of it",
    ),
    "zoo: several attributes": (
        lambda f: zoo(f, {"attribKeysOrder": {"a": {"values": [1]}, "b": {"values": [1]}}}, [4]),
        "2 attributes",
    ),
    "zoo: widths": (lambda f: zoo(f, {}, [8, 8, 6, 2]), "8, 8, 6, 2 from 4x4 on do not follow"),
    "zoo: discriminator only": (lambda f: zoo(f, {}, [], netD={}), "no generator .netG or avgG"),
    "zoo: other model": (lambda f: zoo(f, {}, [], netG={"main.weight": np.ones(3)}), "not of its PGAN"),
    "zoo: no config": (
        lambda f: saved(f, {"netG": files.tensors(files.gan_zoo_state(np.random.default_rng(0), 9, [4]))}),
        "no config",
    ),
    "zoo: strange config": (lambda f: zoo(f, {"leakyReluLeak": [1]}, [4]), "types that its layout does not have"),
    "pro_gan: discriminator": (lambda f: saved(f, {"discriminator": {}}), "a discriminator and no generator"),
    "pro_gan: its state": (lambda f: saved(f, {"module.final_block.conv_1.weight": torch.ones(1)}), "a discriminator"),
    "pro_gan: state 3": (lambda f: saved(f, {"from_rgb.0.0.weight": torch.ones(1)}), "a discriminator"),
    "torch: other": (lambda f: saved(f, {"model": torch.ones(1)}), "do not read .it begins 'model'"),
    "torch: list": (lambda f: saved(f, [torch.ones(1)]), "do not read .list"),
    "pro_gan: version 1": (
        lambda f: saved(f, {"module.rgb_converters.0.conv.weight": torch.ones(3, 4, 1, 1)}),
        "pro_gan_pytorch 1, whose files lack the scales",
    ),
    "page": (lambda f: written(f, b"<!DOCTYPE html><p>quota exceeded"), "an HTML page"),
    "empty": (lambda f: written(f, b""), "it is empty"),
    "text": (lambda f: written(f, b"epoch 3\n"), "begins neither as a pickle nor"),
    "tar": (lambda f: written(f, tar_of("pickle")), "tar archive, as the first versions of torch.save"),
    "other zip": (lambda f: written(f, zip_of("readme.txt")), "a zip archive without data.pkl"),
    "torch script": (lambda f: written(f, zip_of("f/data.pkl", "f/constants.pkl", "f/code/net.py")), "TorchScript"),
    "safetensors": (lambda f: written(f, safetensors.torch.save({"w": torch.ones(2)})), "a safetensors file"),
    "missing": (lambda f: f / "nothing.pkl", "is not a file"),
    "folder": (lambda f: tensorflow(f).rename(f / "network-final.pkl").parent, r"folder .with network-final.pkl."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        import_generator(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


class Trap:
    """Pickles as a call that makes a file, as an attack would make worse things."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def trapped(layout: str, folder: Path, trap: Trap) -> Path:
    """File that is right in all but one value."""
    rng = np.random.default_rng(0)
    if layout == "TensorFlow":
        arguments = {"num_channels": 3, "resolution": 8, "fmap_base": 32, "fmap_max": 8}
        variables = files.tensorflow_variables(rng, arguments, 0.0)
        return files.tensorflow_pickle(folder / "f.pkl", arguments | {"seed": trap}, [variables])
    if layout.startswith("GAN zoo"):
        state = files.gan_zoo_state(rng, 9, [4])
        legacy = layout.endswith("legacy")
        return files.gan_zoo_file(folder / "f.pt", CONFIG | {"GDPP": trap}, legacy=legacy, netG=state)
    state = files.pro_gan_state(rng, 8, [8, 8], version=3 if layout == "pro_gan 3" else 2)
    held = {**files.tensors(state), "rgb_converters.9.weight": trap}
    if layout == "pro_gan 3":
        part = {"conf": {"use_eql": True}, "state_dict": files.tensors(state)}
        held = {"generator": part, "discriminator": {}, "gen_optim": {"state": {0: trap}}}
    torch.save(held, folder / "f.bin")
    return folder / "f.bin"


@pytest.mark.parametrize("layout", ["TensorFlow", "GAN zoo", "GAN zoo, legacy", "pro_gan 3", "pro_gan 2"])
def test_nothing_in_a_file_is_run(layout: str, tmp_path: Path) -> None:
    marker = tmp_path / "it was run"
    path = trapped(layout, tmp_path, Trap(marker))
    with pytest.raises(InputError, match=r"mentions posix\.mkdir.* refused, and nothing of it was run"):
        import_generator(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.is_dir()  # the trap works


def test_a_level_beyond_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"levels up to 8x8; --resolution 16 is beyond"):
        import_generator(tensorflow(tmp_path), resolution=16)


@pytest.mark.parametrize("layout", ["pickle", "zip", "legacy"])
def test_damage_is_one_line(layout: str, tmp_path: Path, rng: np.random.Generator) -> None:
    if layout == "pickle":
        path = tensorflow(tmp_path)
    else:
        state = files.gan_zoo_state(rng, 9, [4])
        path = files.gan_zoo_file(tmp_path / "f", CONFIG, legacy=layout == "legacy", netG=state)
    data = path.read_bytes()
    for end in (1, 2, 20, len(data) // 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            import_generator(path)
    places = [(found.start() + 1, 1) for found in re.finditer(b"\x80\x02", data)]  # protocols: torch warns of others
    places += zip(rng.integers(0, min(len(data), 1500), 60), rng.integers(0, 8, 60), strict=True)
    for place, bit in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(bit)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):  # or the damage is where it does no harm; nothing else may be raised
            import_generator(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tensorflow(tmp_path), tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=r"no checkpoint of growgan; training/import_checkpoint.py reads those"):
        Sampler.from_path(path)
    cli.main([str(path), str(out)], standalone_mode=False)
    assert "generator of the TensorFlow release of 2018: 8x8, " in capsys.readouterr().err
    assert Sampler.from_path(out)[0].resolution == 8
    with pytest.raises(InputError, match=r"exists already"):
        cli.main([str(path), str(out)], standalone_mode=False)
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        cli.main([str(path), str(tmp_path / "out.pt")], standalone_mode=False)
    before = out.read_bytes()
    path.write_bytes(path.read_bytes()[:500])
    command = [sys.executable, "training/import_checkpoint.py", str(path), str(out), "--overwrite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert out.read_bytes() == before
