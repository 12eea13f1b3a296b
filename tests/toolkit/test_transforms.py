import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pyramid import area_mean, box_filtered

from datasets.errors import InputError
from toolkit.transforms import FILTERS, Crop, cut


def test_the_centre_square():
    assert Crop("centre").boxes(10, 10, "a") == [(0, 0, 10)]
    assert Crop("centre").boxes(16, 10, "a") == [(3, 0, 10)]
    assert Crop("centre").boxes(10, 17, "a") == [(0, 3, 10)]


def test_none_needs_a_square():
    assert Crop("none").boxes(7, 7, "a") == [(0, 0, 7)]
    with pytest.raises(InputError, match=r"a\.png is not square \(8x7\); use --crop centre or square images"):
        Crop("none").boxes(8, 7, "a.png")


def test_tiles_go_row_by_row_and_only_whole_ones():
    assert Crop("tile", 4, 4).boxes(11, 9, "a") == [(0, 0, 4), (4, 0, 4), (0, 4, 4), (4, 4, 4)]
    assert Crop("tile", 4, 3).boxes(10, 4, "a") == [(0, 0, 4), (3, 0, 4), (6, 0, 4)]
    assert Crop("tile", 4, 100).boxes(10, 9, "a") == [(0, 0, 4)]


def test_the_hubble_deep_field_in_tiles_of_32_by_8():
    boxes = Crop("tile", 32, 8).boxes(1000, 872, "a")
    assert len(boxes) == ((1000 - 32) // 8 + 1) * ((872 - 32) // 8 + 1) == 12_932
    assert boxes[-1] == (968, 840, 32)


@pytest.mark.parametrize("size", [(3, 9), (9, 3)])
def test_an_image_smaller_than_a_tile(size):
    with pytest.raises(InputError, match=rf"a\.png holds no tile: {size[0]}x{size[1]} is less than 4x4"):
        Crop("tile", 4, 4).boxes(*size, "a.png")


@settings(max_examples=50, deadline=None)
@given(
    st.integers(4, 60), st.integers(4, 60), st.integers(1, 4), st.integers(1, 9), st.sampled_from(["centre", "tile"])
)
def test_boxes_lie_inside_and_turning_the_image_changes_neither_their_number_nor_side(
    width, height, tile, stride, name
):
    boxes = Crop(name, tile, stride).boxes(width, height, "a")
    turned = Crop(name, tile, stride).boxes(height, width, "a")
    assert len(boxes) == len(set(boxes)) == len(turned)
    assert {side for _, _, side in boxes} == {side for _, _, side in turned}
    for left, top, side in boxes:
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side


def test_a_cut_without_resizing_is_the_pixels_themselves(rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for resample in FILTERS:
        row = cut(image, (9, 2, 8), 8, resample)
        assert row.shape == (3, 8, 8)
        assert row.flags.c_contiguous
        assert np.array_equal(row, image[2:10, 9:17].transpose(2, 0, 1))


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(("side", "resolution"), [(37, 16), (8, 16), (64, 16), (17, 16)])
def test_a_flat_picture_stays_flat(resample, side, resolution):
    image = np.full((side, side, 3), (3, 128, 250), np.uint8)
    row = cut(image, (0, 0, side), resolution, resample)
    assert np.array_equal(row, np.broadcast_to(np.array([3, 128, 250])[:, None, None], (3, resolution, resolution)))


@pytest.mark.parametrize("resample", FILTERS)
def test_pixels_outside_the_square_have_no_influence(rng, resample):
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    other = 255 - image
    other[5:35, 12:42] = image[5:35, 12:42]
    assert np.array_equal(cut(image, (12, 5, 30), 8, resample), cut(other, (12, 5, 30), 8, resample))


@pytest.mark.parametrize("resample", FILTERS)
def test_reducing_is_antialiased(resample):
    """A grid of single bright lines, one in eight, must become an even grey, not lines or nothing."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, ::8] = 240
    row = cut(image, (0, 0, 128), 8, resample).astype(float)
    assert np.abs(row[:, :, 2:-2] - 30).max() <= 4


@pytest.mark.parametrize("resample", FILTERS)
def test_nothing_is_shifted_or_mirrored(resample):
    """The centre of mass of a blob stays where it was."""
    y, x = np.mgrid[0:90, 0:90] + 0.5
    blob = 250 * np.exp(-((x - 24) ** 2 + (y - 60) ** 2) / 128)
    image = np.repeat(blob[..., None], 3, axis=2).astype(np.uint8)
    row = cut(image, (0, 0, 90), 32, resample)[0].astype(float)
    grid = (np.arange(32) + 0.5) * 90 / 32
    assert abs((row.sum(axis=0) * grid).sum() / row.sum() - 24) < 0.5
    assert abs((row.sum(axis=1) * grid).sum() / row.sum() - 60) < 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.sampled_from([4, 8]), st.integers(0, 2**32))
def test_area_equals_the_slow_oracle_at_any_ratio(side, resolution, seed):
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 1), dtype=np.uint8).repeat(3, axis=2)
    row = cut(image, (0, 0, side), resolution, "area")
    assert np.array_equal(row[0], area_mean(image[..., :1], resolution)[..., 0])


def test_area_at_a_power_of_two_is_the_box_filter_of_the_levels(rng):
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(cut(image, (0, 0, 32), 8, "area"), box_filtered(image.transpose(2, 0, 1), 8))


def test_area_of_a_large_white_picture_does_not_overflow():
    image = np.full((3000, 3000, 3), 255, np.uint8)
    assert cut(image, (0, 0, 3000), 256, "area").min() == 255


def test_the_filters_differ(rng):
    image = rng.integers(0, 256, (37, 37, 3), dtype=np.uint8)
    rows = {cut(image, (0, 0, 37), 16, resample).tobytes() for resample in FILTERS}
    assert len(rows) == len(FILTERS)
