"""Images of a generator: the same for a seed in whatever portions, truncated or not, and told so in results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from datasets.errors import InputError
from metrics import result
from training import sample
from training.config import SnapshotConfig
from training.evaluation import _networks
from training.options import Cells
from training.sample import grid_of, write_samples
from training.sampler import GeneratorImageSet, Sampler, truncated


class Stand(nn.Module):
    """Writes its latents into pixels, so that images tell them."""

    latent_size = 12

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.2))

    def forward(self, latents: Tensor, level: int, alpha: float, labels: Tensor | None) -> Tensor:
        images: Tensor = (self.gain * latents).view(-1, 3, 2, 2).repeat(1, 1, 2, 2)
        return images


def sampler(truncation: float | None = None) -> Sampler:
    return Sampler(Stand().requires_grad_(False), 2, 1.0, 8, truncation=truncation)


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_images_do_not_depend_on_batches(truncation: float | None) -> None:
    rows = np.arange(150)
    whole = sampler(truncation).images(3, rows)
    for size in (1, 7, 64):
        parts = sampler(truncation)
        found = np.concatenate([parts.images(3, rows[start : start + size]) for start in range(0, 150, size)])
        np.testing.assert_array_equal(found, whole)
    backwards = sampler(truncation).images(3, rows[::-1].copy())
    np.testing.assert_array_equal(backwards[::-1], whole)
    assert whole.shape == (150, 3, 8, 8)
    assert len({image.tobytes() for image in whole}) > 140
    assert not np.array_equal(sampler(truncation).images(4, rows), whole)


@pytest.mark.parametrize("limit", [0.05, 0.7, 2.0])
def test_truncated_latents_have_the_truncated_normal_distribution(limit: float) -> None:
    z = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    found = truncated(z, limit)
    assert found.dtype == torch.float32
    assert float(found.abs().max()) <= limit
    assert bool((found[z.argsort()].diff() >= 0).all())  # every number keeps its rank
    assert scipy.stats.kstest(found.double().numpy(), scipy.stats.truncnorm(-limit, limit).cdf).pvalue > 0.01


def test_wide_truncation_changes_nothing_and_extremes_stay_finite() -> None:
    z = torch.tensor([-9.0, -1, 0, 0.5, 9, 40])
    assert truncated(z[1:4], 12.0).tolist() == pytest.approx(z[1:4].tolist(), abs=1e-6)
    assert truncated(z, 0.3).tolist() == pytest.approx([-0.3, *truncated(z[1:4], 0.3).tolist(), 0.3, 0.3])


def test_truncation_narrows_the_images_and_is_recorded() -> None:
    rows = np.arange(64)
    wide, narrow = (GeneratorImageSet(sampler(psi), "run", 5) for psi in (None, 0.5))
    assert narrow.read(rows).std() < 0.5 * wide.read(rows).std()
    assert result.describe(wide, 64)["seed"] == 5
    assert "truncation" not in result.describe(wide, 64)
    assert result.describe(narrow, 64)["truncation"] == {"psi": 0.5, "method": "truncated normal latents"}
    digests = {GeneratorImageSet(sampler(psi), "run", 5).digest for psi in (None, 0.5, 0.6)}
    assert len(digests) == 3


def test_rows_of_a_grid_are_limits_of_truncation() -> None:
    cells = Cells(np.array([4, 0, 9]), None, 2)
    picture = grid_of(sampler(), 3, cells, [None, 0.4], gap=2)
    assert picture.shape == (8 + 2 + 8, 8 + 2 + 8 + 2 + 8, 3)
    for row, limit in enumerate((None, 0.4)):
        images = sampler(limit).images(3, cells.numbers)
        for column in range(3):
            part = picture[10 * row : 10 * row + 8, 10 * column : 10 * column + 8]
            np.testing.assert_array_equal(part, images[column].transpose(1, 2, 0))
    assert (picture[8:10] == 255).all()
    assert (picture[:, 18:20] == 255).all()
    assert grid_of(sampler(), 3, cells).shape == (16, 16, 3)


def test_a_folder_holds_every_image_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image 5 is asked for 2 times, and a folder holds it once"):
        write_samples(sampler(), tmp_path / "out", Cells(np.array([4, 5, 5]), None, 2), 0)
    same = Cells(np.array([4, 5, 5]), np.array([0, 1, 1]), 2)
    with pytest.raises(InputError, match="image 5 is asked for 2 times"):
        write_samples(sampler(), tmp_path / "out", same, 0)
    assert list(tmp_path.iterdir()) == []
    write_samples(sampler(), tmp_path / "out", Cells(np.array([4, 5, 5]), np.array([0, 1, 2]), 2), 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000004-class0.png",
        "000005-class1.png",
        "000005-class2.png",
    ]


def test_a_write_error_names_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the work if it shows then, else after it; always with the name that the user gave."""
    folder = tmp_path / "folder"
    folder.mkdir()
    out = folder / "x.png"

    def opened(*_: object, **__: object) -> tuple[Sampler, Path]:
        shutil.rmtree(folder)  # while it works
        return sampler(), tmp_path

    monkeypatch.setattr(Sampler, "from_path", opened)
    with pytest.raises(InputError, match=r"cannot write .*folder/x\.png: No such file"):
        sample.cli.main([str(tmp_path), str(out), "--num", "2"], standalone_mode=False)

    def working(*_: object, **__: object) -> tuple[Sampler, Path]:
        raise AssertionError("works before it knows whether it can write")

    monkeypatch.setattr(Sampler, "from_path", working)
    for name in (f"{'x' * 250}.png", "x" * 250):
        with pytest.raises(InputError, match="no file can be created there"):
            sample.cli.main([str(tmp_path), str(tmp_path / name)], standalone_mode=False)


def test_the_command_looks_at_every_option(tmp_path: Path) -> None:
    for arguments, message in (
        ("x.jpg", "end in .png"),
        ("x --gap 0", "--gap is for"),
        ("x --zoom 1", "--zoom is for"),
        ("x --num 3 --numbers 4", "--numbers does not go with --num"),
        ("x.png --num 3 --class-rows", "--class-rows does not go with --num"),
        ("x.png --nearest 6", "--nearest goes with"),
        ("x.png --by pixels", "--by goes with"),
        ("x.png --weights f", "--weights goes with"),
        ("x.png --compare-at 4", "--compare-at goes with"),
        ("x.png --neighbours d --grid 3", "--neighbours does not go with --grid"),
        ("x.png --truncation-rows 1 --truncation 1", "--truncation-rows does not go with --truncation"),
    ):
        name, *options = arguments.split()
        with pytest.raises(InputError, match=message):
            sample.cli.main([str(tmp_path), str(tmp_path / name), *options], standalone_mode=False)


def test_weights_that_no_metric_needs() -> None:
    with pytest.raises(
        InputError, match=r"snapshots.weights has nope.pth, and no metric .* needs weights; add fid, or"
    ):
        _networks(SnapshotConfig(weights=("nope.pth",)), "cpu")


@pytest.mark.parametrize("psi", [0, -1, float("nan"), float("inf")])
def test_bad_truncation(psi: float) -> None:
    with pytest.raises(InputError, match="truncation must be a number above 0"):
        sampler(psi)
