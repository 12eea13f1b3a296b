"""Ways through the latent space, films of them and of a run's development, and the files that hold films."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from datasets.errors import InputError
from training import films, frames, video
from training.grid import tile
from training.latent_paths import MOST_SMOOTHING, SmoothPath, SphericalPath, slerp
from training.options import Layout
from training.randomness import latents
from training.sampler import Sampler


def vectors(seed: int, count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(2, 40), share=st.floats(0, 1))
def test_slerp_between_unit_vectors_is_shoemakes_formula(seed: int, size: int, share: float) -> None:
    a, b = torch.nn.functional.normalize(vectors(seed, 2, size))
    angle = math.acos(max(-1.0, min(1.0, float(a @ b))))
    found = slerp(a, b, torch.tensor(share, dtype=torch.float64))
    assert float(found.norm()) == pytest.approx(1, abs=1e-12)
    if 1e-3 < angle < math.pi - 1e-3:
        expected = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_slerp_closed_forms() -> None:
    a, b = torch.tensor([3.0, 0, 0]), torch.tensor([0.0, 0, 5])
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(a, b, torch.tensor(0.5)), torch.tensor([4 * half, 0, 4 * half]).double())
    for share, expected in ((0.0, a), (1.0, b)):
        torch.testing.assert_close(slerp(a, b, torch.tensor(share)), expected.double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(slerp(a, 2 * a, torch.tensor(0.25)), 1.25 * a.double(), atol=1e-12, rtol=0)
    opposite = torch.stack([slerp(a, -a, torch.tensor(share)) for share in (0.0, 0.5, 1.0)])
    torch.testing.assert_close(opposite.norm(dim=1), torch.full((3,), 3.0).double())
    torch.testing.assert_close(opposite[2], -a.double(), atol=1e-9, rtol=0)


def test_spherical_path_passes_its_stations_at_constant_speed() -> None:
    numbers = np.array([[3, 0], [17, 1], [85, 2], [3, 9]])
    path = SphericalPath(5, numbers, 32)
    stations = path.at(np.arange(4) / 4)
    for station, row in enumerate(numbers):
        for cell, number in enumerate(row):
            torch.testing.assert_close(stations[station, cell], latents(5, number, 1, 32)[0])
    torch.testing.assert_close(path.at(np.array([1.0]))[0], stations[0])
    fine = torch.nn.functional.normalize(path.at(np.linspace(0, 0.25, 11))[:, 1].double(), dim=1)
    steps = (fine[1:] * fine[:-1]).sum(1).acos()
    torch.testing.assert_close(steps, steps[:1].expand(10), rtol=1e-3, atol=0)
    assert float(steps[0]) > 0.05
    with pytest.raises(InputError, match="two stations or more"):
        SphericalPath(5, numbers[:1], 32)


def test_smooth_path_begins_at_the_latents_and_closes() -> None:
    path = SmoothPath(7, np.array([4, 70]), 24, 0.05)
    expected = torch.cat([latents(7, 4, 1, 24), latents(7, 70, 1, 24)])
    start, end, near, before = path.at(np.array([0.0, 1.0, 1e-4, 1 - 1e-4]))
    torch.testing.assert_close(start, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(end, start, atol=1e-6, rtol=0)
    # It passes the seam without a bend: the second difference is of the order of the square of the step.
    assert float((near - 2 * start + before).abs().max()) < 1e-4
    assert float((near - start).abs().max()) > 1e-4


def test_smooth_path_does_not_depend_on_frames_or_portions() -> None:
    path = SmoothPath(7, np.array([4, 70, 4]), 24, 0.05)
    coarse, fine = path.at(np.arange(10) / 10), path.at(np.arange(40) / 40)
    torch.testing.assert_close(fine[::4], coarse, atol=1e-6, rtol=0)
    torch.testing.assert_close(fine[:, 0], fine[:, 2])  # the same number, the same way
    alone = SmoothPath(7, np.array([70]), 24, 0.05).at(np.arange(10) / 10)
    torch.testing.assert_close(alone[:, 0], coarse[:, 1])
    assert not torch.allclose(SmoothPath(8, np.array([70]), 24, 0.05).at(np.arange(10) / 10), alone)


@pytest.mark.parametrize("smoothing", [0.03, 0.12])
def test_smooth_path_has_the_statistics_of_filtered_noise_on_a_circle(smoothing: float) -> None:
    size, count = 8_000, 50
    z = SmoothPath(1, np.array([0]), size, smoothing).at(np.arange(count) / count)[:, 0].double().numpy()
    error = 1 / math.sqrt(size)
    assert np.abs(z.mean(axis=1)).max() < 5 * error  # at every moment alike
    assert np.abs(z.var(axis=1) - 1).max() < 5 * math.sqrt(2) * error
    # Against noise that SciPy filters, and against the closed form, a wrapped Gaussian of sqrt(2) times the width.
    noise = np.random.default_rng(0).standard_normal((2_000, 500))
    filtered = gaussian_filter1d(noise, 500 * smoothing, mode="wrap", truncate=5)[:, ::10]
    for lag in (1, 3, 10, 25):
        terms = [np.exp(-((lag / count + turn) ** 2) / (4 * smoothing**2)) for turn in range(-4, 5)]
        zero = [np.exp(-(turn**2) / (4 * smoothing**2)) for turn in range(-4, 5)]
        expected = sum(terms) / sum(zero)
        assert (z[0] * z[lag]).mean() == pytest.approx(expected, abs=5 * error)
        found = (filtered * np.roll(filtered, lag, axis=1)).mean() / np.square(filtered).mean()
        assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("smoothing", [0.0, -1.0, 0.2, float("nan")])
def test_smoothing_that_is_too_much(smoothing: float) -> None:
    with pytest.raises(InputError, match="smoothing must be above 0"):
        SmoothPath(0, np.array([0]), 8, smoothing)


class Stand(nn.Module):
    """Writes its latents into pixels, and the class into the brightness, so that images tell both."""

    latent_size = 12

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.2))

    def forward(self, latents: Tensor, level: int, alpha: float, labels: Tensor | None) -> Tensor:
        images: Tensor = (self.gain * latents).view(-1, 3, 2, 2).repeat(1, 1, 2, 2)
        return images if labels is None else images * 0.1 + (labels.argmax(1) * 0.4 - 0.6).view(-1, 1, 1, 1)


def sampler(class_counts: tuple[int, ...] = (), truncation: float | None = None) -> Sampler:
    generator = Stand().requires_grad_(False)
    return Sampler(generator, 2, 1.0, 8, truncation=truncation, class_counts=class_counts)


@pytest.mark.parametrize("kind", ["smooth", "spherical"])
def test_a_film_begins_with_the_images_of_its_numbers(kind: str) -> None:
    drawer = sampler()
    stations = 2 if kind == "spherical" else None
    path, cells = films.walk(drawer, 3, kind, layout=Layout(3, 2), stations=stations, seconds=8)
    film = list(films.interpolation(drawer, path, cells, 3, 40, zoom=1))
    assert len(film) == 40
    assert film[0].shape == (2 * 8, 3 * 8, 3)
    expected = tile(drawer.images(3, np.arange(6)), 3)
    assert int(np.abs(film[0].astype(int) - expected).max()) <= 1
    changes = [np.abs(one.astype(int) - two).mean() for one, two in zip(film, [*film[1:], film[0]], strict=True)]
    assert changes[-1] < 2 * max(changes[:-1])  # the seam is a step as any other
    assert np.mean(changes) > 0.5
    again = list(films.interpolation(drawer, path, cells, 3, 40, zoom=1))
    assert all(np.array_equal(one, two) for one, two in zip(film, again, strict=True))


def test_truncation_narrows_a_film() -> None:
    spread = []
    for psi in (None, 0.3):
        drawer = sampler(truncation=psi)
        path, cells = films.walk(drawer, 3, "smooth", layout=Layout(2, 2))
        spread.append(np.std(list(films.interpolation(drawer, path, cells, 3, 20, zoom=1))))
    assert spread[1] < 0.5 * spread[0]


def test_class_rows_of_a_film() -> None:
    drawer = sampler((5, 5, 5))
    path, cells = films.walk(drawer, 3, "smooth", layout=Layout(2, None), class_rows=True, labels=[2, 0])
    assert cells.numbers.tolist() == [0, 1, 0, 1]
    film = np.stack(list(films.interpolation(drawer, path, cells, 3, 9, zoom=1)))
    top, bottom = film[:, :8].astype(int), film[:, 8:]
    assert np.abs(top - bottom - 102).max() <= 1  # two classes of brightness 0.4 apart, the same latents
    path, cells = films.walk(drawer, 3, "spherical", layout=Layout(2, None), class_rows=True, stations=3)
    assert path.at(np.zeros(1)).shape == (1, 6, 12)
    drawn, cells = films.walk(drawer, 3, "smooth", layout=Layout(4, 2))
    film = next(films.interpolation(drawer, drawn, cells, 3, 9, zoom=1))
    expected = tile(drawer.images(3, np.arange(8)), 4)
    assert int(np.abs(film.astype(int) - expected).max()) <= 1


def test_walks_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="--numbers names 3 images; --grid needs 2"):
        films.walk(sampler(), 0, "smooth", layout=Layout(2, 1), numbers=[1, 2, 3])
    with pytest.raises(InputError, match="needs 2 for each station"):
        films.walk(sampler(), 0, "spherical", layout=Layout(2, 1), numbers=[1, 2, 3])
    with pytest.raises(InputError, match="two stations or more"):
        films.walk(sampler(), 0, "spherical", layout=Layout(2, 1), numbers=[1, 2])
    with pytest.raises(InputError, match=r"--smoothing 1 s is too much for a film of 3 s.*use at most 0\.48"):
        films.walk(sampler(), 0, "smooth", layout=Layout(1, 1), smoothing=1.0, seconds=3.0)
    films.walk(sampler(), 0, "smooth", layout=Layout(1, 1), smoothing=3 * MOST_SMOOTHING, seconds=3.0)
    with pytest.raises(InputError, match="--stations goes with --path spherical"):
        films.walk(sampler(), 0, "smooth", layout=Layout(1, 1), stations=3)
    with pytest.raises(InputError, match="--smoothing goes with --path smooth"):
        films.walk(sampler(), 0, "spherical", layout=Layout(1, 1), smoothing=1.0)
    with pytest.raises(InputError, match="--numbers names images of 2 stations, not of --stations 3"):
        films.walk(sampler(), 0, "spherical", layout=Layout(2, 1), numbers=[1, 2, 3, 4], stations=3)
    films.walk(sampler(), 0, "spherical", layout=Layout(2, 1), numbers=[1, 2, 3, 4], stations=2)


def test_film_options_that_would_say_nothing_are_refused(tmp_path: Path) -> None:
    out = str(tmp_path / "x.gif")
    for command, other in (("interpolation", "--frames"), ("timelapse", "--fps")):
        with pytest.raises(InputError, match=f"--seconds and {other} both say how long the film is"):
            video.cli.main([command, str(tmp_path), out, "--seconds", "3", other, "9"], standalone_mode=False)
        with pytest.raises(InputError, match="no file can be created there"):
            video.cli.main([command, str(tmp_path), str(tmp_path / f"{'x' * 250}.gif")], standalone_mode=False)


def write_run(path: Path, grids: dict[int, NDArray[np.uint8]]) -> Path:
    (path / "samples").mkdir(parents=True)
    levels = [
        {"level": 2, "start": 0, "fade_end": 0, "end": 100, "batch": 4},
        {"level": 3, "start": 100, "fade_end": 200, "end": 2_000_000_000, "batch": 4},
    ]
    (path / "run.json").write_text(json.dumps({"total_images": 2_000_000_000, "levels": levels}))
    for images, grid in grids.items():
        Image.fromarray(grid).save(path / "samples" / f"fakes-{images:09d}.png")
    return path


def test_timelapse_shows_every_grid_in_the_order_of_images_shown(tmp_path: Path) -> None:
    shown = [0, 90, 150, 999_999_999, 1_000_000_500]  # the last has a digit more: by name it would come second
    grids = {images: np.full((32, 64, 3), 10 + 40 * k, np.uint8) for k, images in enumerate(shown)}
    grids[90] = np.full((16, 80, 3), 50, np.uint8)  # before the layout was changed
    count, frames_of = films.timelapse(write_run(tmp_path / "run", grids), zoom=5)
    found = list(frames_of)
    assert count == len(found) == 5
    assert [int(frame[0, 0, 0]) for frame in found] == [10, 50, 90, 130, 170]
    assert {frame.shape for frame in found} == {(160 + 26, 320, 3)}
    assert found[1][79, 319].tolist() == [50] * 3
    assert found[1][80:160].max() == 0
    captions = [frame[160:] for frame in found]
    assert all(caption[:, :200].max() > 200 for caption in captions)
    assert not any(np.array_equal(one, two) for one, two in itertools.pairwise(captions))
    assert np.array_equal(captions[0][:, 230:], captions[1][:, 230:])  # both at 4x4
    assert not np.array_equal(captions[1][:, 230:], captions[2][:, 230:])


def test_timelapse_of_runs_that_have_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samples holds no fakes-\*\.png"):
        films.timelapse(write_run(tmp_path / "run", {}))
    with pytest.raises(InputError, match="does not exist"):
        films.timelapse(tmp_path / "nowhere")
    broken = write_run(tmp_path / "broken", {5: np.zeros((8, 8, 3), np.uint8)})
    file = broken / "samples" / "fakes-000000005.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match=r"fakes-000000005\.png is damaged"):
        list(films.timelapse(broken)[1])


def some_frames(count: int, height: int = 24, width: int = 36) -> list[frames.Frame]:
    """Flat colours that change, with a bright corner."""
    film = [np.full((height, width, 3), (20 + 15 * k, 200 - 15 * k, 60), np.uint8) for k in range(count)]
    for frame in film:
        frame[: height // 2, : width // 2] = 240
    return film


def test_films_in_every_kind_of_file(tmp_path: Path) -> None:
    film = some_frames(7, height=23, width=35)  # odd sides
    assert frames.write_film(tmp_path / "folder", iter(film), 10) == 7
    for k, path in enumerate(sorted((tmp_path / "folder").iterdir())):
        assert path.name == f"{k:06d}.png"
        with Image.open(path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), film[k])
    assert frames.write_film(tmp_path / "film.gif", iter(film), 10) == 7
    with Image.open(tmp_path / "film.gif") as animation:
        assert animation.n_frames == 7  # type: ignore[attr-defined]
        assert animation.info["duration"] == 100
        animation.seek(6)
        assert np.abs(np.asarray(animation.convert("RGB")).astype(int) - film[6]).max() < 12
    assert frames.write_film(tmp_path / "film.mp4", iter(film), 10) == 7
    decoded = decode(tmp_path / "film.mp4", 24, 36)
    assert len(decoded) == 7
    for found, expected in zip(decoded, film, strict=True):
        assert np.abs(found[2:9, 2:15].astype(int) - expected[2:9, 2:15]).max() < 12
        assert np.abs(found[16:21, 24:33].astype(int) - expected[16:21, 24:33]).max() < 12
    assert frames.write_film(tmp_path / "strip.png", iter(film), 10) == 7
    with Image.open(tmp_path / "strip.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[:, 35 * 6 :], film[6])
        assert picture.size == (35 * 7, 23)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.gif", "film.mp4", "folder", "strip.png"]


def decode(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    command = [frames.encoder(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "strip.png", "folder"])
def test_a_film_that_breaks_off_leaves_nothing(tmp_path: Path, name: str) -> None:
    def breaking() -> Iterator[frames.Frame]:
        yield from some_frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frames.write_film(tmp_path / name, breaking(), 10)
    with pytest.raises(InputError, match="no frames to write"):
        frames.write_film(tmp_path / name, iter([]), 10)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho 'no space left\nat all' >&2\nexit 3\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    out = tmp_path / "film.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(frames, "encoder", lambda: str(fake))
        with pytest.raises(
            InputError, match=r"cannot write .*film\.mp4: the encoder ended with code 3: no space left at"
        ):
            frames.write_film(out, iter(some_frames(3, 400, 400)), 10)
        with pytest.raises(InputError, match=r"code 3: no space left at all; free space or choose another disk, or"):
            video._write(out, iter(some_frames(3, 400, 400)), 3, 10)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "imageio" in name else find(name, *rest)
    )
    with pytest.raises(InputError, match=r"pip install 'growgan\[video\]', or write a \.gif"):
        frames.check_target(out)
    frames.check_target(tmp_path / "film.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken.gif"
    taken.touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for out, message in (
        (tmp_path / "film.avi", "name a file that ends in .mp4, .gif or .png, or a folder"),
        (taken, "exists already"),
        (tmp_path / "full", "exists already; name a new or empty folder"),
        (tmp_path / "no" / "film.gif", "does not exist; create it first"),
        (tmp_path / "no" / "folder", "does not exist; create it first"),
    ):
        with pytest.raises(InputError, match=message):
            frames.check_target(out)
    frames.check_target(taken, overwrite=True)


def test_small_films_are_enlarged() -> None:
    small = some_frames(1)[0]
    assert frames.enlarged(small, None).shape == (24 * 9, 36 * 9, 3)
    np.testing.assert_array_equal(frames.enlarged(small, 3)[1::3, 2::3], small)
    assert frames.enlarged(np.zeros((8, 640, 3), np.uint8), None).shape == (8, 640, 3)
