import cv2
import numpy as np
import pytest
from skimage import data

from datasets.errors import InputError
from toolkit.celebahq.faces import detectors, open_finder


@pytest.fixture
def yunet():
    try:
        return open_finder("yunet")
    except InputError as error:
        pytest.skip(f"the extra growgan[faces] is not installed: {error}")


def test_a_face_of_twenty_pixels_in_a_large_photograph(yunet):
    small = cv2.resize(data.astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    pixels = np.full((700, 1280, 3), 90, np.uint8)
    pixels[500:628, 1100:1228] = small
    (face,) = yunet.find("", lambda: pixels)
    np.testing.assert_allclose(face.points.mean(axis=0), (1100 + 223 / 4, 500 + 123 / 4), atol=1.5)


def test_the_second_look_makes_squares_steadier(yunet, monkeypatch):
    """The same photograph in eight sizes: with a second look the eyes and mouth move by less than half as much."""
    module, astronaut = detectors.load("yunet"), data.astronaut()

    def spread():
        found = []
        for side in range(300, 620, 40):
            pixels = cv2.resize(astronaut, (side, side), interpolation=cv2.INTER_AREA)
            (face,) = yunet.find("", lambda pixels=pixels: pixels)
            found.append((face.points + 0.5) * 512 / side)
        return np.std(found, axis=0).mean()

    with_it = spread()
    monkeypatch.setattr(module, "_CLOSE_UPS", ())
    assert with_it < spread() / 2


def test_opencv_keeps_quiet(yunet, capfd):
    detectors.load("yunet").load(yunet.model)
    assert capfd.readouterr() == ("", "")
