"""What is added beyond the border: against NumPy's pad and median and SciPy's correlation of the whole image."""

import numpy as np
import pytest
import scipy.ndimage
from celebahq_scenes import scene
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import celebahq as oracle

from toolkit.celebahq.padding import _Direction, gaussian_weights, pad, pads_needed


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(0.2, 5),
    st.lists(st.integers(0, 50), min_size=4, max_size=4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_pad_is_the_oracles(width, height, deviation, more, noisy, seed):
    """Pads from the radius of the blur on, many of them longer than the image, so that mirrors face mirrors."""
    least = max(int(4 * deviation + 0.5), 1)
    pads = tuple(least + extra for extra in more)
    photo = scene(width, height)
    if noisy:
        photo = np.random.default_rng(seed).integers(0, 256, photo.shape, np.uint8)
    np.testing.assert_array_equal(pad(photo, pads, deviation), oracle.pad(photo, pads, deviation))


def test_pad_of_a_large_image_in_which_nothing_is_blurred_in_the_middle():
    photo = scene(420, 350)
    pads = (60, 45, 33, 52)
    result = pad(photo, pads, 7.3)
    np.testing.assert_array_equal(result, oracle.pad(photo, pads, 7.3))
    inside = result[45:-52, 60:-33]
    assert inside.shape == photo.shape
    np.testing.assert_array_equal(inside[20:-20, 25:-15], photo[20:-20, 25:-15])
    assert (inside[:10] != photo[:10]).any()


def test_the_outermost_pixels_have_the_median_colour():
    photo = scene(90, 80)
    photo[:, :60] = [10, 100, 200]
    result = pad(photo, (30, 30, 30, 30), 4.0)
    assert (result[0] == [10, 100, 200]).all()
    assert (result[:, -1] == [10, 100, 200]).all()


@pytest.mark.parametrize("deviation", [0.3, 1.0, 20.48, 40.7])
def test_weights_are_those_of_scipy_but_for_the_last_bits(deviation):
    weights = gaussian_weights(deviation)
    line = np.zeros(1001)
    line[500] = 1
    modern = scipy.ndimage.gaussian_filter1d(line, deviation)[500:]
    assert weights[-1] > 0
    assert modern[len(weights) :].max() == 0
    np.testing.assert_allclose(weights, modern[: len(weights)], rtol=1e-13)


def test_pads_needed():
    quad = np.float32([[-3.5, 10], [-3.2, 60], [70, 61.2], [70, 10]])
    assert pads_needed(quad, 100, 50, 8) == (12, 0, 0, 20)


@given(
    st.integers(129, 400),
    st.integers(12, 40),
    st.floats(0.2, 1.2),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_what_is_left_out_of_the_blur_is_not_needed(length, width, deviation, more, tall):
    """Blocks of columns in which nothing is blurred, at all places relative to where the blur begins."""
    pads = tuple(max(int(4 * deviation + 0.5), 1) + extra for extra in more)
    photo = scene(length, width)
    photo = np.ascontiguousarray(photo.transpose(1, 0, 2)) if tall else photo
    np.testing.assert_array_equal(pad(photo, pads, deviation), oracle.pad(photo, pads, deviation))


def test_the_pixels_that_the_blur_runs_through():
    length, before, after, radius = 200, 20, 25, 9
    direction = _Direction.of(length, before, after, radius)
    padded = np.pad(np.arange(length), (before, after), "reflect")
    around = np.pad(padded, radius, "symmetric")
    touched = {pixel for at in np.flatnonzero(direction.blur) for pixel in around[at : at + 2 * radius + 1].tolist()}
    assert np.flatnonzero(direction.touched).tolist() == sorted(touched)
    assert 0 < len(touched) < length
    np.testing.assert_array_equal(direction.mirror, padded)
    np.testing.assert_array_equal(direction.line, around)
    np.testing.assert_array_equal(np.flatnonzero(direction.blur == 0), np.arange(27, 245 - 34))  # 4/3 of a pad inside
