"""The whole way of a portrait, against its second statement and against what the old libraries' code gave."""

import hashlib
import sys

import numpy as np
import pytest
from celebahq_scenes import HEIGHT, TILTED, WIDTH, scene
from oracles import celebahq as oracle

from datasets.errors import InputError
from datasets.levels import pyramid
from toolkit.celebahq import kernels
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.recipe import reduced, render


def rendered(photo, landmarks, **options):
    return render(photo, oriented_square(landmarks, "face"), "photo.jpg", **options)


@pytest.mark.parametrize(
    ("photo", "landmarks", "applied", "digest"),
    [
        (
            scene(WIDTH, HEIGHT),
            TILTED,
            ("lanczos-4", "pad", "transform"),
            "8467e5e61a834563a5eccd163eb78ca1",
        ),
        (
            scene(700, 900),
            np.add(TILTED, (150, 300)),
            ("crop", "lanczos-4", "transform"),
            "4dd0277406cf64cf3f90f052cbf0c1d5",
        ),
    ],
)
def test_digests_of_the_old_libraries(photo, landmarks, applied, digest):
    """MD5 of channel, row, column.

    Made by Pillow 3.1.1's own C code (see test_celebahq_resampling.py) between lines of NumPy and SciPy that follow
    the released description, with the promotions of NumPy 1.13 written out; not by any code of ours.
    """
    result = rendered(photo, landmarks)
    assert result.applied == applied
    assert hashlib.md5(np.ascontiguousarray(result.pixels.transpose(2, 0, 1)).data).hexdigest() == digest


@pytest.mark.parametrize(
    ("photo", "landmarks", "resolution", "steps"),
    [
        (scene(409, 687), TILTED, 64, ["shrink", "crop", "pad", "transform"]),
        (scene(900, 950), np.add(TILTED, (300, 300)), 64, ["shrink", "crop", "transform"]),
        (scene(409, 687), TILTED, 256, ["crop", "pad", "transform"]),
        (scene(82, 90), np.array(TILTED) / 5, 128, ["crop", "lanczos", "pad", "transform"]),
        (scene(120, 120), np.array(TILTED) / 9 + (40, 40), 64, ["crop", "lanczos", "transform"]),
        # Inside, but the recipe pads whenever fewer than 4 of its border's pixels are left, and this border has 3.
        (scene(60, 60), np.array(TILTED) / 20 + (25, 20), 64, ["crop", "lanczos", "pad", "transform"]),
    ],
)
def test_the_steps_are_the_oracles(photo, landmarks, resolution, steps):
    result = rendered(photo, landmarks, resolution=resolution, direct=True)
    expected, done = oracle.portrait(photo, landmarks, resolution)
    assert done == steps
    assert [name.split("-")[0] for name in result.applied] == steps
    np.testing.assert_array_equal(result.pixels, expected)


def test_smaller_is_the_box_filter_of_1024():
    photo, landmarks = scene(500, 480), np.array(TILTED) * 0.5 + (150, 150)
    large = rendered(photo, landmarks).pixels
    small = rendered(photo, landmarks, resolution=256)
    assert small.applied[-1] == "box-4"
    blocks = large.reshape(256, 4, 256, 4, 3).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_array_equal(small.pixels, np.rint(blocks))
    np.testing.assert_array_equal(reduced(large, 256), pyramid(large.transpose(2, 0, 1))[8].transpose(1, 2, 0))
    assert (rendered(photo, landmarks, resolution=256, direct=True).pixels != small.pixels).any()


def test_without_padding_it_is_black_beyond_the_photograph():
    photo = np.maximum(scene(200, 190), 1)
    landmarks = np.array(TILTED) * 0.45 - (20, 10)
    options = {"resolution": 64, "direct": True, "supersampling": 1}
    bare = rendered(photo, landmarks, pad=False, **options)
    assert bare.applied == ("crop", "transform")
    padded = rendered(photo, landmarks, **options)
    assert "pad" in padded.applied
    assert (bare.pixels == 0).all(axis=-1).any()
    assert not (padded.pixels == 0).all(axis=-1).any()


def test_without_enlargement_the_square_is_the_same():
    photo, landmarks = scene(120, 120), np.array(TILTED) / 9 + (40, 40)
    options = {"resolution": 256, "direct": True}
    plain, enlarged = rendered(photo, landmarks, superres=False, **options), rendered(photo, landmarks, **options)
    assert plain.applied == ("crop", "transform")
    assert enlarged.applied == ("crop", "lanczos-8", "transform")
    difference = np.abs(plain.pixels.astype(float) - enlarged.pixels)
    assert 0 < np.median(difference) < 12
    quad = oriented_square(landmarks, "face").quad
    assert quad.min() > 20  # else the box below would not start where it does
    left, top = np.floor(quad.min(axis=0)).astype(int) - 4  # border: a tenth of the side of 37 pixels
    expected = oracle.transform(photo[top:, left:], quad - np.float32([left, top]) + np.float32(0.5), 1024)
    np.testing.assert_array_equal(plain.pixels, oracle.resize(expected, 256, 256))


def test_networks_take_the_places_of_their_steps():
    photo, landmarks = scene(120, 120), np.array(TILTED) / 9 + (40, 40)
    seen = []

    def clean(pixels):
        seen.append(("clean", pixels.shape, pixels.flags.c_contiguous))
        return pixels // 2

    def enlarge(pixels, factor):
        seen.append(("enlarge", pixels.shape, factor))
        assert pixels.max() <= 127
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)

    result = rendered(photo, landmarks, resolution=64, direct=True, clean=clean, enlarge=enlarge)
    assert result.applied == ("crop", "clean", "enlarge-2", "transform")
    (_, shape, contiguous), (_, same, factor) = seen
    assert contiguous
    assert shape == same
    assert factor == 2
    assert result.pixels.max() < 140  # the last filter overshoots at edges


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean": lambda pixels: pixels[1:]}, "a network made uint8 pixels of shape"),
        ({"enlarge": lambda pixels, factor: pixels}, "use one that enlarges 2 times"),
        ({"clean": lambda pixels: pixels.astype(float)}, "float64 pixels"),
        ({"resolution": 100}, "resolution 100"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        rendered(scene(120, 120), np.array(TILTED) / 9 + (40, 40), **{"resolution": 64, "direct": True, **options})


def test_a_photograph_that_is_a_view_is_not_changed():
    whole = scene(700, 687)
    before = whole.copy()
    view = whole[:, 100:509]
    one = rendered(view, TILTED, resolution=64, direct=True)
    two = rendered(view.copy(), TILTED, resolution=64, direct=True)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(whole, before)


def test_without_numba_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    kernels._compiled.cache_clear()
    try:
        with pytest.raises(InputError, match=r"numba.*growgan\[celebahq\]"):
            rendered(scene(120, 120), np.array(TILTED) / 9 + (40, 40))
    finally:
        kernels._compiled.cache_clear()
