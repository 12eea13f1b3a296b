import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.celebahq.faces import Face, FacePolicy, choose, share_outside

UPRIGHT = np.array([(100, 100), (160, 100), (130, 130), (105, 170), (155, 170)], float)
# The square of UPRIGHT reaches from (4.5, -18.5) to (256.5, 233.5): 252 pixels a side.
SIZE = (900, 700)


def face(scale=1.0, x=100.0, y=100.0, **more):
    """A face whose square has 252 * scale pixels a side, moved."""
    return Face(UPRIGHT * scale + (x, y), **more)


def reasons(faces, size=SIZE, style="celebahq", **policy):
    chosen = choose(faces, size, FacePolicy(**policy), style)
    assert [kept for kept, _ in chosen] == list(faces)
    return [reason for _, reason in chosen]


def test_no_face_no_reasons():
    assert choose([], SIZE, FacePolicy(which="one", min_face=100, border="skip")) == []


def test_of_several_faces_the_largest_all_or_none():
    faces = [face(0.5), face(1.25, 200), face(0.25, 700)]
    assert reasons(faces, which="all") == [None, None, None]
    assert reasons(faces) == [
        "face 1 of 3 has 126 pixels a side, and --faces largest takes face 2 with 315",
        None,
        "face 3 of 3 has 63 pixels a side, and --faces largest takes face 2 with 315",
    ]
    assert reasons(faces, which="one") == ["3 faces are in it, and --faces one wants one"] * 3
    assert reasons(faces[:1], which="one") == [None]


def test_equal_faces_the_left_one():
    assert reasons([face(), face(1, 400)])[0] is None
    assert reasons([face(), face(1, 400)])[1].startswith("face 2 of 2 has 252 pixels a side")


def test_small_faces_are_left_out_before_faces_are_counted():
    faces = [face(0.5), face(1.25, 200), face(0.25, 700)]
    small = ["face 1 of 3: the square around it has 126 pixels a side, less than --min-face 200"]
    assert reasons(faces, which="one", min_face=200)[:2] == [*small, None]
    assert reasons(faces, which="all", min_face=126)[:2] == [None, None]
    assert reasons([face(0.5)], min_face=127) == [
        "its face: the square around it has 126 pixels a side, less than --min-face 127"
    ]


def test_faces_cut_by_the_border():
    cut = face(1, -50, 100)  # from x = -45.5 to 206.5
    assert reasons([cut]) == [None]
    assert reasons([cut], border="skip") == ["its face: 18% of the square around it lies outside of the photograph"]
    assert reasons([face(1, -4.5, 18.5)], border="skip") == [None]
    assert reasons([face(1, -5, 19)], border="skip") == [
        "its face: less than 1% of the square around it lies outside of the photograph"
    ]
    assert reasons([face(1, -4.5, 19)], style="ffhq", border="skip") != [None]  # half a pixel to the left


def test_the_largest_of_those_inside():
    faces = [face(1, -50, 100), face(0.5, 400)]
    assert reasons(faces, border="skip")[1] is None
    assert reasons(faces, border="skip")[0].startswith("face 1 of 2: 18% of the square")
    assert reasons(faces)[1].endswith("--faces largest takes face 1 with 252")
    assert reasons(faces, border="skip", which="one") == ["2 faces are in it, and --faces one wants one"] * 2


def test_landmarks_of_another_photograph():
    assert reasons([face(1, 2000)]) == ["its face: its landmarks lie outside of the photograph of 900x700 pixels"]
    assert reasons([face(1, -120, 0)]) == [None]  # the left eye is outside, the right one is not
    assert reasons([face(size=(900, 701))]) == [
        "its face: its landmarks are for a photograph of 900x701 pixels, but this has 900x700"
    ]
    assert reasons([face(size=SIZE)]) == [None]


def test_mirrored_landmarks():
    swapped = Face(face().points[[1, 0, 2, 4, 3]])
    upwards = Face([0, 700] + face().points * [1, -1])
    for wrong in (swapped, upwards):
        assert reasons([wrong])[0].startswith("its face: its landmarks are mirrored; left means left in the image")
    turned = Face(face().points @ [[0, 1], [-1, 0]] + (500, 100))  # lying on its side is no mirroring
    profile = Face([(130, 130), (128, 130), (100, 150), (110, 200), (128, 200)])  # nor is an eye behind the other
    assert reasons([turned]) == reasons([profile]) == [None]


def test_what_gives_no_square_is_left_out_with_geometrys_words():
    (reason,) = reasons([Face(np.full((5, 2), 7.0))])
    assert reason.startswith("its face: eyes and mouth give a square of 0 pixels")


@settings(max_examples=50, deadline=None)
@given(st.floats(-60, 160), st.floats(-60, 160), st.floats(1, 90), st.floats(0, math.pi))
def test_the_share_outside_against_counting(x, y, half, angle):
    """Against 40,000 places in the square."""
    across = half * np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-across[1], across[0]])
    quad = np.array([x, y]) + np.array([-across - down, -across + down, across + down, across - down])
    u, v = np.meshgrid((np.arange(200) - 99.5) / 100, (np.arange(200) - 99.5) / 100)
    places = np.array([x, y]) + u[..., None] * across + v[..., None] * down
    outside = ((places < 0) | (places > (100, 80))).any(axis=-1).mean()
    assert share_outside(quad, (100, 80)) == pytest.approx(outside, abs=0.012)
    assert share_outside(quad[::-1], (100, 80)) == pytest.approx(share_outside(quad, (100, 80)), abs=1e-9)


def test_the_share_outside_by_hand():
    square = np.array([(0, 0), (0, 10), (10, 10), (10, 0)], float)
    assert share_outside(square, (10, 10)) == 0
    assert share_outside(np.add(square, (3, 0)), (10, 10)) == pytest.approx(0.3)
    assert share_outside(square - (5, 5), (10, 10)) == pytest.approx(0.75)
    assert share_outside(square + 50, (10, 10)) == 1
