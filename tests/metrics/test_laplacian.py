"""The Laplacian pyramid against golden values, a slow oracle, and the definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from oracles import swd as oracle

from datasets.errors import InputError
from metrics.laplacian import band_resolutions, laplacian_pyramid


def test_golden_ramp() -> None:
    """Values of the original program's pyramid on 0..255 in rows of 16 (reference/progan.md 4.1)."""
    ramp = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    band, low = (x[0] for x in laplacian_pyramid(ramp, coarsest=8))
    np.testing.assert_allclose(low[0:2, 0:3], [[12.75, 14, 16], [32.75, 34, 36]], atol=1e-5)
    np.testing.assert_allclose([band[0, 0], band[15, 15], band[7, 7]], [-18.0625, 19.125, 0], atol=1e-5)
    assert np.abs(band).sum() == pytest.approx(821.875, abs=1e-3)
    assert low.sum() == pytest.approx(7701, abs=1e-3)


def test_a_constant_image_has_no_detail() -> None:
    band, low = laplacian_pyramid(np.full((3, 32, 32), 100, np.uint8))
    assert (band == 0).all()
    assert (low == 100).all()


def test_agrees_with_the_oracle(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (3, 64, 64)).astype(np.uint8)
    image[1] //= 2
    bands = laplacian_pyramid(image)
    expected = [oracle.bands(plane) for plane in image]
    assert [band.shape for band in bands] == [(3, 64, 64), (3, 32, 32), (3, 16, 16)]
    for level, band in enumerate(bands):
        np.testing.assert_allclose(band, [planes[level] for planes in expected], atol=1e-4)
        assert band.dtype == np.float32


def test_filters_are_the_ones_of_opencv(rng: np.random.Generator) -> None:
    """The oracle's filters and OpenCV's, edges included: what lets the package use the latter."""
    plane = rng.uniform(0, 255, (32, 32)).astype(np.float32)
    np.testing.assert_allclose(cv2.pyrDown(plane), oracle.shrink(plane.astype(float)), atol=3e-5)
    np.testing.assert_allclose(cv2.pyrUp(plane), oracle.enlarge(plane.astype(float)), atol=6e-5)


def test_bands_add_up_to_the_image(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (3, 64, 64)).astype(np.uint8)
    bands = laplacian_pyramid(image)
    total = bands[-1]
    for band in bands[-2::-1]:
        total = band + np.stack([cv2.pyrUp(plane) for plane in total])
    np.testing.assert_allclose(total, image, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "expected"),
    [(16, [16]), (1024, [1024, 512, 256, 128, 64, 32, 16]), (48, [48, 24]), (31, [31])],
)
def test_sides(side: int, expected: list[int]) -> None:
    assert band_resolutions(side) == expected


@pytest.mark.parametrize(
    ("side", "message"), [(8, "8x8 are too small.*16x16 or more"), (50 * 3, "150x150 cannot be halved")]
)
def test_sides_that_have_no_pyramid(side: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        band_resolutions(side)
