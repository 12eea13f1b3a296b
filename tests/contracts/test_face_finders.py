"""What every landmark file format and every face detector must do; a new file in either folder is tested by itself.

A new format needs an example in tests/finder_examples.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import threading

import cv2
import finder_examples
import numpy as np
import pytest
from skimage import data

from datasets.errors import InputError
from toolkit.celebahq.faces import FaceFinder, NoLandmarks, describe, detectors, files, landmark_file, open_finder

FORMATS, DETECTORS = files.names(), detectors.names()
# Where a person puts the astronaut's five points: eyes, nose, corners of the mouth. Read off an enlarged picture.
ASTRONAUT = np.array([(203, 102), (246, 104), (223, 127), (201, 140), (243, 143)])


def no_pixels():
    raise AssertionError("a landmark file has no need of the pixels")


def points_of(faces):
    return [face.points.tolist() for face in faces]


@pytest.fixture(params=FORMATS)
def kind(request):
    return request.param


@pytest.fixture
def example(kind, tmp_path):
    return finder_examples.make(kind, tmp_path / "made")


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    try:
        return open_finder(request.param)
    except InputError as error:
        pytest.skip(f"the extra growgan[faces] is not installed: {error}")


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


def test_every_format_has_an_example():
    assert finder_examples.names() == FORMATS


@pytest.mark.parametrize("name", [*FORMATS, *DETECTORS])
def test_describes_itself(name):
    line = (files if name in FORMATS else detectors).describe(name)
    assert 20 < len(line) < 115
    assert line.endswith(".")
    assert f"{name}: {line}" in describe().splitlines()


def test_recognised_by_its_own_format_alone(kind, example):
    assert files.recognise(example.path) == [kind]
    moved = example.path.rename(example.path.with_name("without suffix"))
    assert files.recognise(moved) == [kind]


def test_faces_from_left_to_right_and_no_pixels_read(kind, example):
    finder: FaceFinder = open_finder(str(example.path))
    assert (finder.name, finder.detects) == (kind, False)
    finder.check(list(example.faces))
    for name, expected in example.faces.items():
        faces = finder.find(name, no_pixels)
        assert len(faces) == len(expected)
        for face, points in zip(faces, expected, strict=True):
            np.testing.assert_allclose(face.points, points, rtol=0, atol=1e-9)
            assert face.points.dtype == np.float64


def test_an_unknown_photograph_is_said_so(example):
    finder = open_finder(example.path)
    for name in ("unknown.jpg", "x/000009.jpg"):
        with pytest.raises(NoLandmarks, match=rf"^{name} has no landmarks in .*, whose names are such as ") as error:
            finder.find(name, no_pixels)
        assert len(str(error.value).splitlines()) == 1


def test_a_pickle_holds_the_path_alone_and_notices_a_change(example):
    finder = open_finder(example.path)
    pickled = pickle.dumps(finder)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert pickle.loads(pickled) is again  # read once in a process
    for name in example.faces:
        assert points_of(again.find(name, no_pixels)) == points_of(finder.find(name, no_pixels))
    changed = example.path if example.path.is_file() else next(example.path.glob("*.pts"))
    os.utime(changed, (1, 1))
    landmark_file._opened.cache_clear()
    with pytest.raises(InputError, match="has changed since the build began; run the same command again"):
        pickle.loads(pickled)
    assert open_finder(example.path).stamp != finder.stamp


def test_details_tell_nothing_of_the_machine(kind, example):
    details = open_finder(example.path).details
    assert details["finder"] == kind
    assert details["file"] == example.path.name
    assert str(example.path.parent) not in str(details)


def complaint(example):
    """What opening and asking says, if it does."""
    try:
        finder = open_finder(example.path)
        found = [face for name in example.faces for face in finder.find(name, no_pixels)]
    except InputError as error:
        return str(error)
    assert all(np.isfinite(face.points).all() for face in found)
    return None


def test_damage_gives_one_clear_line(example):
    rng = np.random.default_rng(3)
    file = example.path if example.path.is_file() else next(example.path.glob("*.ljson"))
    whole = file.read_bytes()
    damaged = [whole[:cut] for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 3)]
    damaged += [whole + b"x", b"[" * 100_000, b"{" + whole]
    for place in rng.integers(0, len(whole), 60).tolist():
        damaged.append(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        message = complaint(example)
        if message is not None:
            refused += 1
            assert len(message.splitlines()) == 1
    assert refused > 15


def test_what_cannot_be_read(example):
    with pytest.raises(
        InputError, match="'missing' is neither a landmark file nor a detector; detectors are: dlib68, "
    ):
        open_finder("missing")
    with pytest.raises(InputError, match="missing does not exist; name a landmark file"):
        open_finder(example.path / "missing" if example.path.is_dir() else example.path.with_name("missing"))


def test_detectors_find_the_face(detector, astronaut):
    (face,) = detector.find("any", lambda: astronaut)
    distance = np.hypot(*(ASTRONAUT[1] - ASTRONAUT[0]))
    assert np.hypot(*(face.points - ASTRONAUT).T).max() < 0.12 * distance
    assert face.confidence > 0.5
    assert detector.detects
    assert detector.find("any", lambda: np.zeros((300, 200, 3), np.uint8)) == []


def test_detectors_keep_left_and_right_of_the_image(detector, astronaut):
    """A mirrored photograph gives mirrored points in the order of the image, not of the person."""
    (face,), (mirrored,) = (detector.find("any", lambda p=p: p) for p in (astronaut, astronaut[:, ::-1]))
    back = ([511, 0] + mirrored.points * [-1, 1])[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(back, face.points, atol=3)


def test_detectors_find_faces_of_any_size_from_left_to_right(detector, astronaut):
    face = astronaut[:300, 80:380]
    wide = np.zeros((650, 1300, 3), np.uint8)
    wide[:600, 650:1250] = np.repeat(np.repeat(face, 2, axis=0), 2, axis=1)
    wide[320:620, 100:400] = face
    small, large = detector.find("any", lambda: wide)
    alone = detector.find("any", lambda: face)[0].points
    np.testing.assert_allclose(small.points, np.add(alone, (100, 320)), atol=4)
    np.testing.assert_allclose(large.points, np.add((ASTRONAUT - (80, 0)) * 2, (650, 0)), atol=12)


def test_detectors_find_a_face_that_fills_a_large_photograph(detector, astronaut):
    filling = cv2.resize(astronaut[20:220, 130:330], (1500, 1500), interpolation=cv2.INTER_CUBIC)
    (face,) = detector.find("any", lambda: filling)
    np.testing.assert_allclose(face.points, (ASTRONAUT - (130, 20)) * 7.5, atol=0.15 * 7.5 * 43)


def test_detectors_give_the_same_in_every_thread_and_process(detector, astronaut):
    expected = points_of(detector.find("any", lambda: astronaut))
    again = pickle.loads(pickle.dumps(detector))
    assert len(pickle.dumps(detector)) < 500
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(points_of(again.find("any", lambda: astronaut))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected, expected]
    detector.check(["a", "a"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (700, 3), (17, 23)])
def test_detectors_take_any_photograph(detector, shape):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert detector.find("any", lambda: pixels) == []


def test_detectors_say_what_they_are(detector):
    details = detector.details
    assert details["finder"] == detector.name
    assert details["sha256"] == detectors.load(detector.name).MODEL_SHA256
    assert "/" not in str(details)
    assert all(value in detector.stamp for value in details.values())


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_that_is_not_installed_is_one_clear_line(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(InputError, match=rf"^the detector {name} needs .* pip install 'growgan\[faces\]'") as error:
        detectors.Detector(name)
    assert len(str(error.value).splitlines()) == 1


def test_a_network_of_ones_own_is_taken_or_refused_in_one_line(detector, astronaut, tmp_path):
    own = tmp_path / "own"
    own.symlink_to(detector.model)
    finder = open_finder(f"{detector.name}:{own}")
    assert points_of(finder.find("", lambda: astronaut)) == points_of(detector.find("", lambda: astronaut))
    assert finder.details["model"] == "own"
    broken = tmp_path / "broken"
    head = detector.model.read_bytes()[:5000]
    for content in (b"", b"<html>quota</html>", head):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken is no .* can load; name another file") as error:
            open_finder(f"{detector.name}:{broken}")
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(InputError, match=f"no is no file; name the network of the detector {detector.name}"):
        open_finder(f"{detector.name}:{tmp_path / 'no'}")


def test_a_packaged_network_that_is_another_is_refused(detector, monkeypatch):
    monkeypatch.setattr(detectors.load(detector.name), "MODEL_SHA256", "0" * 64)
    with pytest.raises(InputError, match=f"is not the network that {detector.name} was made for"):
        detectors.Detector(detector.name)
