"""The quality score: against its formula, and on real photographs made worse in every way it shall see."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage
from oracles import quality as oracle
from PIL import Image

from toolkit.celebahq import quality

PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def photograph(name: str, side: int = 512) -> np.ndarray:
    """The middle of a photograph of scikit-image."""
    image = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    image = image.crop((left, top, left + short, top + short))
    return np.asarray(image if short <= side else image.resize((side, side), Image.Resampling.LANCZOS))


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blurred(pixels):
    return rounded(scipy.ndimage.gaussian_filter(pixels.astype(float), (1, 1, 0)))


def enlarged(pixels):
    small = Image.fromarray(pixels).resize((len(pixels) // 4,) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((len(pixels),) * 2, Image.Resampling.BICUBIC))


def saved_as_jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=15)
    return np.asarray(Image.open(stream))


def printed(pixels):
    """Halftone: dots of six pixels, each ink at its own angle, and slightly blurred by a scanner."""
    y, x = np.mgrid[0 : len(pixels), 0 : len(pixels)]
    dots = np.empty(pixels.shape)
    for channel, angle in enumerate(np.radians([15, 45, 75])):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        screen = (np.cos(np.pi * along / 3) + np.cos(np.pi * across / 3)) / 4 + 0.5
        dots[:, :, channel] = 255 * (pixels[:, :, channel] / 255 > screen)
    return rounded(scipy.ndimage.gaussian_filter(dots, (0.7, 0.7, 0)))


def moved(pixels):
    return rounded(cv2.filter2D(pixels.astype(np.float32), -1, np.eye(9, dtype=np.float32) / 9))


def noisy(pixels):
    return rounded(pixels + np.random.default_rng(5).normal(0, 20, pixels.shape))


def striped(pixels):
    """The lowest sixth is the last row of the rest, as padding with the border makes it."""
    pixels = pixels.copy()
    pixels[-len(pixels) // 6 :] = pixels[-len(pixels) // 6 - 1]
    return pixels


WORSE = (blurred, enlarged, saved_as_jpeg, printed, moved, noisy, striped)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_worse_photographs_rank_below(name):
    pixels = photograph(name)
    found = quality.score(pixels)
    assert {change.__name__: quality.score(change(pixels)).score < found.score for change in WORSE} == {
        change.__name__: True for change in WORSE
    }


def test_the_reasons_are_told():
    pixels = photograph("astronaut.png")
    details = quality.score(pixels).details
    worse = {change.__name__: quality.score(change(pixels)).details for change in WORSE}
    assert worse["enlarged"]["missing"] > details["missing"] + 1.5
    assert worse["printed"]["uneven"] > details["uneven"] + 0.5
    assert worse["saved_as_jpeg"]["uneven"] > details["uneven"] + 0.02
    assert details["streaks"] == 0
    assert 0.05 < worse["striped"]["streaks"] < 0.17
    # Each channel has noise of 20, and luma is a mean of them with these weights.
    added = 20 * np.hypot(np.hypot(0.299, 0.587), 0.114)
    assert worse["noisy"]["noise"] == pytest.approx(np.hypot(added, details["noise"]), rel=0.1)


def test_stripes_at_an_angle_are_seen():
    """Padding is turned along with the face."""
    y, x = np.mgrid[0:256, 0:256]
    profile = scipy.ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 60, 800), 1)
    for angle in (0.0, 0.3, 0.9, 2.0):
        values = np.interp(x * np.cos(angle) + y * np.sin(angle) + 300, np.arange(800), profile)
        stripes = np.repeat(rounded(128 + values)[:, :, None], 3, axis=2)
        assert quality.score(stripes).details["streaks"] > 0.5


@pytest.mark.parametrize(("height", "width"), [(64, 100), (130, 97)])
def test_against_the_formula(height, width):
    pixels = np.ascontiguousarray(photograph("astronaut.png")[40 : 40 + height, 150 : 150 + width])
    pixels[:, :40] = pixels[:, 40:41]  # some stripes too
    found = quality.score(pixels)
    score, missing, uneven, streaks = oracle.quality(pixels)
    assert found.score == pytest.approx(score, abs=0.01)
    assert found.details["missing"] == pytest.approx(missing, abs=1e-3)
    assert found.details["uneven"] == pytest.approx(uneven, abs=1e-3)
    assert found.details["streaks"] == pytest.approx(streaks, abs=1e-4)


def test_which_way_up_does_not_matter():
    pixels = photograph("coffee.png")
    expected = quality.score(pixels).score
    for turned in (np.rot90(pixels), pixels[::-1], pixels[:, ::-1], pixels.transpose(1, 0, 2)):
        assert quality.score(np.ascontiguousarray(turned)).score == pytest.approx(expected, abs=1.5)


def test_contrast_matters_little():
    pixels = photograph("chelsea.png")
    expected = quality.score(pixels).score
    assert quality.score(rounded(pixels * 0.6 + 40)).score == pytest.approx(expected, abs=3)


def test_images_without_a_picture():
    assert quality.score(np.full((128, 128, 3), 90, np.uint8)).score < 30
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert quality.score(noise).score < 40
    for side in (1, 4, 63):
        assert 0 <= quality.score(noise[:side, :side]).score <= 100
    with pytest.raises(ValueError, match="need uint8 pixels"):
        quality.score(noise[:, :, 0])
    with pytest.raises(ValueError, match="need uint8 pixels"):
        quality.score(noise.astype(float))


def test_threads_change_nothing(monkeypatch):
    """Another process with more threads finds the same number, to the last digit that is given."""
    code = (
        "import numpy as np; from toolkit.celebahq import quality\n"
        "pixels = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)\n"
        "print(repr(quality.score(pixels)))"
    )
    pixels = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == repr(quality.score(pixels))
