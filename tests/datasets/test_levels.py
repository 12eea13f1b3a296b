from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.pyramid import box_filtered

from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL, level_of, levels_up_to, name_of, pyramid, resolution_of


@pytest.mark.parametrize("side", [4, 8, 16, 64])
def test_levels_equal_the_slow_oracle(rng, side):
    image = rng.integers(0, 256, (3, side, side), dtype=np.uint8)
    levels = pyramid(image)
    assert list(levels) == list(levels_up_to(level_of(side)))
    for level, pixels in levels.items():
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, box_filtered(image, resolution_of(level)))


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 6), st.lists(st.integers(1, 3), max_size=2), st.integers(0, 2**32), st.data())
def test_levels_equal_the_slow_oracle_for_any_batch_and_memory_layout(level, batch, seed, data):
    """Images of few values, so that many means are ties; read backwards, with gaps, transposed."""
    side = 1 << level
    values = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=3))
    shape = (*batch, side, 2 * side) if data.draw(st.booleans()) else (*batch, 2 * side, side)
    images = np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)[..., ::2, :][..., :side, :]
    images = np.resize(images, (*batch, side, 2 * side))[..., :: data.draw(st.sampled_from([2, -2]))].swapaxes(-1, -2)
    before = images.copy()
    for number, pixels in pyramid(images).items():
        planes = images.reshape(-1, side, side)
        expected = box_filtered(planes, resolution_of(number)).reshape(*batch, 1 << number, 1 << number)
        assert np.array_equal(pixels, expected)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("side", [8, 32, 256, 2048])
def test_images_all_of_whose_means_are_ties(side):
    """A checkerboard of k and k + 1 lies half way at every level, and must go to the even of the two."""
    checks = np.indices((side, side)).sum(axis=0) % 2
    for k in (0, 1, 128, 253, 254):
        for level, pixels in pyramid((checks + k).astype(np.uint8)[None]).items():
            assert level == level_of(side) or (pixels == k + k % 2).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=64, max_size=64))
def test_levels_equal_the_slow_oracle_for_any_pixels(values):
    image = np.array(values, np.uint8).reshape(1, 8, 8)
    assert np.array_equal(pyramid(image)[2], box_filtered(image, 4))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([0, 0, 1, 1], 0),  # 0.5 -> 0
        ([1, 1, 2, 2], 2),  # 1.5 -> 2
        ([2, 2, 3, 3], 2),  # 2.5 -> 2
        ([3, 3, 4, 4], 4),  # 3.5 -> 4
        ([254, 254, 255, 255], 254),  # 254.5 -> 254
        ([253, 253, 254, 254], 254),  # 253.5 -> 254
        ([0, 0, 0, 1], 0),  # 0.25
        ([0, 1, 1, 1], 1),  # 0.75
        ([255, 255, 255, 255], 255),
    ],
)
def test_ties_go_to_the_even_neighbour(block, expected):
    image = np.tile(np.array(block, np.uint8).reshape(2, 2), (4, 4))[None]
    assert (pyramid(image)[2] == expected).all()


def test_every_tie_and_both_its_neighbours_after_several_halvings():
    # A 16x16 block (4 halvings to one pixel) with mean k + 1/2 + d/256 for every k, d in {-1, 0, 1}.
    for d, rounds_up in ((-1, lambda k: 0), (0, lambda k: k % 2), (1, lambda k: 1)):
        blocks = []
        for k in range(16):
            block = np.full(256, k, np.uint8)
            block[: 128 + d] += 1
            blocks.append(block.reshape(16, 16))
        image = np.block([[blocks[4 * y + x] for x in range(4)] for y in range(4)])[None]
        expected = np.array([k + rounds_up(k) for k in range(16)]).reshape(4, 4)
        assert np.array_equal(pyramid(image)[2][0], expected)


def test_each_level_is_rounded_once_not_chained(rng):
    image = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    chained = pyramid(pyramid(image)[3])[2]
    differing = (pyramid(image)[2] != chained).mean()
    assert 0.08 < differing < 0.25  # chaining rounded levels moves 13-17% of the pixels of noise from the second on


def test_a_batch_is_its_images_one_by_one(rng):
    batch = rng.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    together = pyramid(batch)
    for index, image in enumerate(batch):
        for level, pixels in pyramid(image).items():
            assert np.array_equal(together[level][index], pixels)


def test_batches_larger_than_what_is_summed_at_a_time(rng):
    batch = rng.integers(0, 256, (9, 3, 512, 512), dtype=np.uint8)  # 27 planes, 8 at a time
    for level, pixels in pyramid(batch).items():
        assert pixels.shape == (9, 3, 1 << level, 1 << level)
        assert pixels.flags.c_contiguous
        for index in (0, 2, 3, 8):
            assert np.array_equal(pixels[index], pyramid(batch[index])[level])


def test_levels_of_nothing():
    assert {level: pixels.shape for level, pixels in pyramid(np.zeros((0, 3, 8, 8), np.uint8)).items()} == {
        2: (0, 3, 4, 4),
        3: (0, 3, 8, 8),
    }


def test_threads_do_not_share_their_sums(rng):
    images = [rng.integers(0, 256, (3, 128, 128), dtype=np.uint8) for _ in range(8)]
    expected = [pyramid(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            for found, levels in zip(pool.map(pyramid, images), expected, strict=True):
                assert all(np.array_equal(found[level], levels[level]) for level in levels)


def test_sums_of_the_largest_image_do_not_overflow():
    image = np.full((1, 2048, 2048), 255, np.uint8)
    image[0, 0, 0] = 254  # so that rounding has something to do
    for pixels in pyramid(image).values():
        assert (pixels[0, 1:] == 255).all()
    assert pyramid(image)[2][0, 0, 0] == 255


def test_the_mean_is_kept_within_half_a_step(rng):
    image = rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)
    for pixels in pyramid(image).values():
        assert abs(pixels.mean() - image.mean()) <= 0.5


def test_axes_are_not_swapped():
    image = np.zeros((1, 8, 8), np.uint8)
    image[0, :2, 4:6] = 200  # top, to the right of the middle
    assert pyramid(image)[2][0].tolist() == [[0, 0, 200, 0], [0] * 4, [0] * 4, [0] * 4]


@pytest.mark.parametrize("side", [0, -4, 1, 2, 3, 5, 100, 4096])
def test_sides_that_no_pyramid_has(side):
    with pytest.raises(InputError, match=rf"--resolution {side} is not a side.*choose one of 4, 8, .*, 2048"):
        level_of(side, "--resolution")


def test_level_and_resolution_are_inverse():
    assert [resolution_of(k) for k in range(MIN_LEVEL, MAX_LEVEL + 1)] == [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert all(level_of(resolution_of(k)) == k for k in range(MIN_LEVEL, MAX_LEVEL + 1))
    assert name_of(5) == "data32x32"


def test_an_image_that_is_not_square():
    with pytest.raises(InputError, match="16x8 pixels is not square"):
        pyramid(np.zeros((3, 8, 16), np.uint8))
