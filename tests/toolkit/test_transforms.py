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


def test_centre_wide_keeps_the_whole_width():
    assert Crop("centre-wide").boxes(10, 10, "a") == [(0, 0, 10)]
    assert Crop("centre-wide").boxes(10, 17, "a") == Crop("centre").boxes(10, 17, "a") == [(0, 3, 10)]
    assert Crop("centre-wide").boxes(16, 10, "a") == [(0, -3, 16)]


def test_a_box_lies_where_it_is_asked_for():
    assert Crop("box", left=25, top=57, side=128).boxes(178, 218, "a") == [(25, 57, 128)]  # CelebA, aligned
    assert Crop("box", left=3, top=0, side=4).boxes(7, 4, "a") == [(3, 0, 4)]


@pytest.mark.parametrize("box", [(4, 0, 4), (0, 1, 4), (-1, 0, 4), (0, -1, 4), (0, 0, 0), (0, 0, 5)])
def test_a_box_that_does_not_lie_inside(box):
    left, top, side = box
    message = rf"a\.png has 7x4 pixels, but the box goes from {left},{top} to {left + side},{top + side}; choose a box"
    with pytest.raises(InputError, match=message):
        Crop("box", left=left, top=top, side=side).boxes(7, 4, "a.png")


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


def test_a_letterbox_without_resizing(rng):
    image = rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)
    row = cut(image, Crop("centre-wide").boxes(8, 5, "a")[0], 8, "lanczos", background=(1, 2, 3))
    expected = np.empty((8, 8, 3), np.uint8)
    expected[...] = (1, 2, 3)
    expected[1:6] = image  # one row above, two below
    assert np.array_equal(row, expected.transpose(2, 0, 1))
    assert cut(image, (0, -2, 8), 8, "area")[:, 0].min() == 255  # white, unless another colour is asked for


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    ("size", "resolution", "rows"), [((64, 36), 32, 18), ((64, 33), 32, 17), ((100, 2), 8, 1), ((8, 4), 16, 8)]
)
def test_the_image_in_a_letterbox_is_resized_by_itself(rng, resample, size, resolution, rows):
    width, height = size
    image = rng.integers(100, 156, (height, width, 3), dtype=np.uint8)
    box = Crop("centre-wide").boxes(width, height, "a")[0]
    black, white = (cut(image, box, resolution, resample, background=(value,) * 3) for value in (0, 255))
    above = (resolution - rows) // 2
    assert np.array_equal(black[:, above : above + rows], white[:, above : above + rows])  # no bar bleeds into it
    for row, value in ((black, 0), (white, 255)):
        assert (row[:, :above] == value).all()
        assert (row[:, above + rows :] == value).all()
        assert not (row[:, above : above + rows] == value).any()


def test_a_row_of_a_batch_is_written_in_place(rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    batch = np.zeros((3, 3, 8, 8), np.uint8)
    for index, (box, resample) in enumerate([((9, 2, 8), "area"), ((0, 0, 20), "area"), ((0, -5, 30), "lanczos")]):
        assert cut(image, box, 8, resample, out=batch[index]) is not None
        assert np.array_equal(batch[index], cut(image, box, 8, resample))


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
@given(st.integers(1, 12), st.sampled_from([4, 8]), st.integers(0, 2**32), st.sampled_from([1, 16, 255]))
def test_area_equals_the_slow_oracle_at_any_ratio(side, resolution, seed, step):
    """With a step of 255 the pixels are black or white, so that many means are ties."""
    image = (
        np.random.default_rng(seed).integers(0, 256 // step + (step == 255), (side, side, 3)).astype(np.uint8) * step
    )
    row = cut(image, (0, 0, side), resolution, "area")
    assert np.array_equal(row, area_mean(image, resolution).transpose(2, 0, 1))


def test_area_does_not_depend_on_its_strips(rng):
    """A row made with many others equals the same row made alone: 96 new rows are several strips."""
    image = rng.integers(0, 256, (140, 140, 3), dtype=np.uint8)
    row = cut(image, (0, 0, 140), 96, "area")
    share = np.zeros((96, 140))  # the definition in float64: far closer than the nearest tie can be
    for new in range(96):
        for old in range(140):
            share[new, old] = max(0, min((new + 1) * 140, (old + 1) * 96) - max(new * 140, old * 96)) / 140
    means = np.einsum("yj,xi,jic->cyx", share, share, image, optimize=True)
    assert np.array_equal(row, np.rint(np.round(means, 9)))


def test_area_at_a_power_of_two_is_the_box_filter_of_the_levels(rng):
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(cut(image, (0, 0, 32), 8, "area"), box_filtered(image.transpose(2, 0, 1), 8))


def test_area_tells_a_tie_from_its_neighbours_in_a_large_picture():
    """Blocks of 750x750 pixels of which half, one fewer or one more are brighter by 1: 2e9 in units of the sums."""
    image = np.full((3000, 3000, 3), 254, np.uint8)
    for channel, more in enumerate((-1, 0, 1)):
        block = np.full(750 * 750, 254, np.uint8)
        block[: 750 * 375 + more] = 255
        image[..., channel] = np.tile(block.reshape(750, 750), (4, 4))
    assert (cut(image, (0, 0, 3000), 4, "area") == np.array([254, 254, 255])[:, None, None]).all()
    assert (cut(image - 1, (0, 0, 3000), 4, "area") == np.array([253, 254, 254])[:, None, None]).all()


def test_the_filters_differ(rng):
    image = rng.integers(0, 256, (37, 37, 3), dtype=np.uint8)
    rows = {cut(image, (0, 0, 37), 16, resample).tobytes() for resample in FILTERS}
    assert len(rows) == len(FILTERS)
