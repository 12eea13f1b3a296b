"""Pillow's resize and transform of 2017, against a slow statement of them and against what the old C code gave.

The digests are MD5s of results of Pillow 3.1.1 itself: its libImaging/Resample.c and Geometry.c, from the released
sources, compiled by GCC 12 (-O2, x86-64) and called on `celebahq_scenes.scene`. The same comparison was made on
610 random images and sizes and 400 random quads, and no byte differed.
"""

import hashlib

import numpy as np
import pytest
from celebahq_scenes import HEIGHT, WIDTH, scene
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import celebahq as oracle
from PIL import Image

from toolkit.celebahq.resampling import bilinear_map, lanczos_taps, resize, warp

QUAD = np.float32([[18.13337, 63.72890], [82.22890, 378.46661], [396.96664, 314.37109], [332.87112, -0.36662]])


def md5(pixels):
    return hashlib.md5(np.ascontiguousarray(pixels).data).hexdigest()


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        ((818, 774), "9f5ce6dd3d97dfd15f3dae7b2fe8691e"),
        ((1636, 1548), "9597b215557eba2a9fc05eb49e95c93f"),
        ((137, 129), "2d4fd6c07fa425bda2740ef846174922"),
        ((1000, 50), "26d72b314be4d61fef85bf2c5c6517d3"),
    ],
)
def test_resize_gives_what_pillow_3_1_1_gave(size, digest):
    photo = scene(WIDTH, HEIGHT)
    assert md5(resize(photo, *size)) == digest
    modern = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
    assert md5(modern) != digest, "a Pillow with the old arithmetic again would make this code needless"


def test_warp_gives_what_pillow_3_1_1_gave():
    assert md5(warp(scene(WIDTH, HEIGHT), QUAD, 1024, 4)) == "bd45d128aca3462d0f9ffe8ad7ea13e0"


sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_resize_is_the_oracles(width, height, new_width, new_height, seed):
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(resize(photo, new_width, new_height), oracle.resize(photo, new_width, new_height))


@given(sides, sides, st.sampled_from([(4, 4), (8, 1), (5, 3), (33, 4)]), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_warp_is_the_oracles(width, height, sizes, whole, seed):
    """Also with corners on whole pixels, where the last bit decides, and outside of the image."""
    generator = np.random.default_rng(seed)
    photo = generator.integers(0, 256, (height, width, 3), np.uint8)
    quad = generator.uniform(-15, 55, (4, 2)).astype(np.float32)
    quad = np.round(quad) if whole else quad
    side, supersampling = sizes
    expected = oracle.resize(oracle.transform(photo, quad, side * supersampling), side, side)
    np.testing.assert_array_equal(warp(photo, quad, side, supersampling), expected)


def test_lines_longer_than_a_block_of_sums():
    photo = scene(700, 9)
    np.testing.assert_array_equal(resize(photo, 400, 5), oracle.resize(photo, 400, 5))


def test_warp_of_more_rows_than_a_strip_and_no_multiple_of_it():
    photo = scene(50, 40)
    quad = np.float32([[1, 2], [3, 38], [47, 39], [45, 1]])
    expected = oracle.resize(oracle.transform(photo, quad, 150), 50, 50)
    np.testing.assert_array_equal(warp(photo, quad, 50, 3), expected)


def test_warp_outside_is_black_and_the_border_is_repeated_half_a_pixel():
    photo = np.full((4, 4, 3), 200, np.uint8)
    quad = np.float32([[-2, 0], [-2, 4], [6, 4], [6, 0]])
    result = warp(photo, quad, 8, 1)[..., 0]
    assert (result[:, :2] == 0).all()
    assert (result[:, 2:6] == 200).all()
    assert (result[:, 6:] == 0).all()


def test_interpolation_is_cut_and_not_rounded():
    photo = np.zeros((1, 2, 3), np.uint8)
    photo[0, 1] = 3
    quad = np.float32([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5], [1.5, 0.5]])  # from one centre to the other
    assert warp(photo, quad, 4, 1)[0, :, 0].tolist() == [0, 0, 1, 2]  # of 0, 0.75, 1.5, 2.25


def test_the_map_takes_differences_in_single_precision():
    quad = np.float32([[0.1, 0], [0.2, 5], [16777.1, 5], [16777.3, 0]])
    single = float(np.float32(16777.3) - np.float32(0.1)) / 4096
    assert bilinear_map(quad, 4096)[0, 1] == single
    assert single != (float(np.float32(16777.3)) - float(np.float32(0.1))) / 4096


@given(st.integers(1, 80), st.integers(1, 80))
@example(20, 7)  # other weights, if the distances were taken in double precision
@settings(max_examples=40, deadline=None)
def test_weights_are_the_oracles_to_the_last_bit(old, new):
    first, weights, number = lanczos_taps(old, new)
    expected = list(oracle.lanczos_weights(old, new))
    assert first.tolist() == [start for start, _ in expected]
    for row, count, (_, values) in zip(weights, number, expected, strict=True):
        assert row[:count].tolist() == [float(value) for value in values]


def test_taps_of_the_last_step():
    first, weights, number = lanczos_taps(4096, 1024)
    assert (first[0], number[0]) == (0, 14)
    assert (first[500], number[500]) == (1990, 24)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=3e-7)
    np.testing.assert_array_equal(weights[500], weights[501])  # the ratio is a whole number
    assert weights.dtype == np.float32


def test_resize_to_the_same_size_is_no_resize():
    photo = scene(20, 10)
    assert resize(photo, 20, 10) is photo


def test_a_view_that_is_not_contiguous():
    photo = scene(60, 50)
    part = photo[7:41, 5:50]
    np.testing.assert_array_equal(resize(part, 22, 90), resize(part.copy(), 22, 90))
