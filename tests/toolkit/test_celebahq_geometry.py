import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from toolkit.celebahq.faces.points import from_68
from toolkit.celebahq.geometry import STYLES, OrientedSquare, oriented_square, prepare

TILTED = [(165, 184), (244, 176), (196, 249), (194, 271), (266, 260)]
UPRIGHT = [(100, 100), (160, 100), (130, 130), (105, 170), (155, 170)]
TILTED_QUAD = [(18.13337, 63.72890), (82.22890, 378.46661), (396.96664, 314.37109), (332.87112, -0.36662)]


def test_the_tilted_example():
    """Golden numbers: a worked example of the released recipe, computed before and apart from this code."""
    square = oriented_square(TILTED, "face")
    assert square.eyes.tolist() == [205, 180.5]
    assert square.mouth.tolist() == [230.5, 266]
    assert [str(value) for value in square.x] == ["157.36887", "-32.047764"]  # to the last bit of single precision
    assert [str(value) for value in square.y] == ["32.047764", "157.36887"]
    np.testing.assert_allclose(square.centre, [207.55, 189.05], rtol=1e-7)
    assert square.side == pytest.approx(321.19788, abs=5e-6)
    np.testing.assert_allclose(square.quad, TILTED_QUAD, rtol=0, atol=6e-6)
    plan = prepare(square, 409, 687, "face")
    assert plan.zoom == pytest.approx(3.188066 / 4, abs=2e-7)
    assert (plan.shrink, plan.size, plan.border, plan.superres) == (1, (409, 687), 32, 4)
    assert plan.box == (0, 0, 409, 379 + 32)  # 18 - 32, -1 - 32 and 397 + 32 lie outside
    np.testing.assert_allclose(plan.quad, 4 * np.array(TILTED_QUAD), rtol=0, atol=3e-5)


def test_the_upright_example():
    square = oriented_square(UPRIGHT, "face")
    assert square.centre.tolist() == [130.5, 107.5]
    assert square.x.tolist() == [126, 0]
    assert square.quad.tolist() == [[4.5, -18.5], [4.5, 233.5], [256.5, 233.5], [256.5, -18.5]]
    plan = prepare(square, 500, 250, "face")
    assert str(np.float32(plan.zoom * 8)) == "4.0634923"  # the worked example prints single precision
    assert (plan.shrink, plan.border, plan.superres) == (1, 25, 8)
    assert plan.box == (0, 0, 257 + 25, 250)
    assert plan.quad.tolist() == [[36, -148], [36, 1868], [2052, 1868], [2052, -148]]


def test_the_image_is_cut_where_there_is_room_and_the_square_moves_along():
    square = oriented_square(np.add(UPRIGHT, (1000, 2000)), "face")
    plan = prepare(square, 4000, 4000, "face")
    assert plan.box == (1004 - 25, 1981 - 25, 1257 + 25, 2234 + 25)
    np.testing.assert_array_equal(plan.quad, (square.quad - (979, 1956)) * 8)


@pytest.mark.parametrize(
    ("scale", "side", "shrink", "border", "superres"),
    [
        (4, 1008, 1, 101, 2),
        (8, 2016, 1, 202, 1),
        (16, 4032, 1, 403, 1),
        (17, 4284, 2, 214, 1),
        (25, 6300, 3, 210, 1),
        (0.1, 25.2, 1, 3, 64),
    ],
)
def test_large_faces_are_shrunk_and_small_ones_enlarged(scale, side, shrink, border, superres):
    landmarks = (np.array(UPRIGHT) + 0.5) * scale - 0.5  # about the corner of the image, so the square scales too
    square = oriented_square(landmarks, "face")
    assert square.side == pytest.approx(side, rel=1e-5)
    plan = prepare(square, 9001, 7003, "face")
    assert (plan.shrink, plan.border, plan.superres) == (shrink, border, superres)
    assert plan.size == (round(9001 / shrink), round(7003 / shrink))
    assert np.hypot(*(plan.quad[3] - plan.quad[0])) * plan.zoom == pytest.approx(1024, rel=1e-4)
    corner = np.maximum(np.floor(square.quad.min(axis=0) / shrink) - border, 0)
    assert plan.box[:2] == tuple(corner)
    np.testing.assert_allclose(plan.quad, (square.quad / shrink - corner) * superres, rtol=1e-5, atol=1e-2)


def test_other_resolutions_scale_the_border_and_the_enlargement():
    square = oriented_square(TILTED, "face")
    plan = prepare(square, 409, 687, "face", resolution=256)
    assert (plan.shrink, plan.border, plan.superres) == (1, 32, 1)
    assert plan.zoom == pytest.approx(256 / square.side)


coordinates = st.floats(0, 2000, width=32)


@settings(max_examples=50, deadline=None)
@given(st.tuples(coordinates, coordinates), st.floats(20, 500), st.floats(-math.pi, math.pi), st.floats(0.3, 2))
def test_the_square_is_square_and_turns_with_the_face(where, size, angle, length):
    """A face is turned, enlarged and moved: its square goes along. Compared with complex numbers."""
    face = np.array([-0.5 + 0j, 0.5, 0.1 + 0.4j, -0.4 + length * 1j, 0.42 + length * 1j])
    turned = face * size * np.exp(1j * angle) + complex(*where)
    square = oriented_square(np.stack([turned.real, turned.imag], axis=1), "face")
    to_mouth = (face[3] + face[4]) / 2
    direction = 1 - 1j * to_mouth
    half = direction / abs(direction) * max(2, 1.8 * abs(to_mouth))
    corners = 0.1 * to_mouth + half * np.array([-1 - 1j, -1 + 1j, 1 + 1j, 1 - 1j])
    expected = corners * size * np.exp(1j * angle) + complex(*where) + 0.5 + 0.5j
    found = square.quad[:, 0] + 1j * square.quad[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    sides = np.abs(np.roll(found, -1) - found)
    np.testing.assert_allclose(sides, square.side, rtol=1e-4)
    assert abs(found[2] - found[0]) == pytest.approx(abs(found[3] - found[1]), rel=1e-4)


def test_ffhq_adds_no_half_pixel_and_works_in_double_precision():
    """By hand: eyes 60 apart, 70 from them to the mouth, so the half side is 1.8 * 70, the centre 7 below the eyes."""
    square = oriented_square(UPRIGHT, "face", "ffhq")
    assert square.eyes.tolist() == [130, 100]
    assert square.centre.tolist() == [130, 107]
    assert square.quad.tolist() == [[4, -19], [4, 233], [256, 233], [256, -19]]
    assert square.quad.dtype == np.float64
    assert oriented_square(UPRIGHT, "face").quad.dtype == np.float32


def test_the_tilted_example_in_ffhq_style():
    """By hand: half the side is 1.8 times the way to the mouth (25.5, 85.5), along (164.5, -33.5)."""
    square = oriented_square(TILTED, "face", "ffhq")
    half = 1.8 * math.sqrt(25.5**2 + 85.5**2)
    across = np.array([164.5, -33.5]) * (half / math.sqrt(28182.5))
    np.testing.assert_allclose(square.x, across, rtol=1e-15)
    np.testing.assert_allclose(square.centre, [207.05, 188.55], rtol=1e-15)
    assert square.side == pytest.approx(321.19788, abs=5e-6)
    np.testing.assert_allclose(square.quad, np.array(TILTED_QUAD) - 0.5, rtol=0, atol=3e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 4000), st.floats(-50, 4000)), min_size=68, max_size=68))
def test_ffhq_against_complex_numbers(points):
    """68 points to the square, told with complex numbers; a quarter turn is a product with i."""
    z = [complex(x, y) for x, y in points]
    left, right = sum(z[36:42]) / 6, sum(z[42:48]) / 6
    across, down = right - left, (z[48] + z[54]) / 2 - (left + right) / 2
    direction = across - 1j * down
    half = max(2 * abs(across), 1.8 * abs(down))
    if half < 1 or abs(direction) < 0.01 * half:
        return
    x = direction / abs(direction) * half
    centre = (left + right) / 2 + 0.1 * down
    expected = np.array([centre - x - 1j * x, centre - x + 1j * x, centre + x + 1j * x, centre + x - 1j * x])
    quad = oriented_square(from_68(points), "face", "ffhq").quad
    np.testing.assert_allclose(quad[:, 0] + 1j * quad[:, 1], expected, rtol=0, atol=1e-8)


def test_ffhq_does_not_enlarge():
    square = oriented_square(TILTED, "face", "ffhq")
    plan = prepare(square, 409, 687, "face", superres=STYLES["ffhq"].superres)
    assert (plan.superres, plan.box) == (1, (0, 0, 409, 378 + 32))
    assert plan.zoom == pytest.approx(1024 / square.side, rel=1e-12)
    np.testing.assert_array_equal(plan.quad, square.quad)
    assert plan.quad.dtype == np.float64
    assert prepare(oriented_square(np.multiply(UPRIGHT, 20), "face"), 9000, 9000, "", superres=False).shrink == 2
    assert STYLES["celebahq"].superres


BAD = {
    "four points": (TILTED[:4], r"shape \(4, 2\), not \(5, 2\)"),
    "68 points": (np.zeros((68, 2)), r"shape \(68, 2\)"),
    "flat": (np.ravel(TILTED), r"shape \(10,\)"),
    "three coordinates": (np.zeros((5, 3)), r"shape \(5, 3\)"),
    "words": ([("a", "b")] * 5, "are not numbers"),
    "ragged": ([*TILTED[:4], (1, 2, 3)], "are not numbers"),
    "nothing": (None, "shape"),
    "nan": ([*TILTED[:4], (1, math.nan)], "no position in an image"),
    "infinite": ([*TILTED[:4], (math.inf, 1)], "no position in an image"),
    "huge": ([*TILTED[:4], (1e300, 1)], "no position in an image"),
    "coincident": ([(7, 7)] * 5, "a square of 0 pixels"),
    "shares of the image": (np.array(TILTED) / 10000, r"a square of 0\.0321 pixels"),
    "left and right exchanged": ([(160, 100), (100, 100), (0, 0), (160, 160), (100, 160)], "contradict each other"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_landmarks_are_one_clear_line(kind):
    landmarks, message = BAD[kind]
    with pytest.raises(InputError, match=rf"^000007\.jpg: .*{message}") as error:
        oriented_square(landmarks, "000007.jpg")
    assert "\n" not in str(error.value)


def test_a_square_outside_of_the_photograph_is_refused():
    """Such as the landmarks of another photograph, or of the aligned ones."""
    square = oriented_square(np.add(TILTED, (900, 0)), "face")
    with pytest.raises(InputError, match=r"a\.jpg: .* lies outside of the photograph of 409x687 pixels"):
        prepare(square, 409, 687, "a.jpg")
    with pytest.raises(InputError, match="0x687 pixels cannot give"):
        prepare(square, 0, 687, "a.jpg")


def test_nothing_can_be_changed_by_accident():
    square = oriented_square(TILTED, "face")
    with pytest.raises(dataclasses.FrozenInstanceError):
        square.x = square.y
    assert isinstance(square, OrientedSquare)
