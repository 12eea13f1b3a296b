"""Which entry of a landmark file belongs to which photograph."""

import json

import pytest
from finder_examples import FIVE

from datasets.errors import InputError
from toolkit.celebahq.faces import NoLandmarks, open_finder


@pytest.fixture
def finder(tmp_path):
    def make(*entries):
        path = tmp_path / "faces.json"
        path.write_text(json.dumps({entry: (FIVE + number).tolist() for number, entry in enumerate(entries)}))
        return open_finder(path)

    return make


@pytest.mark.parametrize(
    ("entries", "name", "expected"),
    [
        (["b.jpg", "a.jpg"], "a.jpg", "a.jpg"),
        (["b.jpg", "a.jpg"], "x/y/a.jpg", "a.jpg"),
        (["/home/b/x/a.jpg", "/home/b/y/a.jpg"], "y/a.jpg", "/home/b/y/a.jpg"),
        (["C:\\b\\x\\a.jpg"], "x/a.jpg", "C:/b/x/a.jpg"),
        (["./x/a.jpg"], "x/a.jpg", "x/a.jpg"),
        (["a.jpg"], "a.png", "a.jpg"),
        (["a"], "x/a.png", "a"),
        (["a.1"], "a.1.jpg", "a.1"),
        (["a.jpg", "x/a.jpg"], "x/a.jpg", "x/a.jpg"),
        (["x/a.jpg", "a.jpg"], "y/x/a.jpg", "x/a.jpg"),
        (["a.jpg", "a.png"], "x/a.png", "a.png"),
        (["a.jpg", "x/a.jpg"], "x/a.png", "x/a.jpg"),
        (["u/a.jpg", "v/a.png"], "a.png", "v/a.png"),
    ],
)
def test_found(finder, entries, name, expected):
    assert finder(*entries).entry(name) == expected


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        (["b/1.jpg"], "a/1.jpg"),
        (["11.jpg"], "1.jpg"),
        (["1.jpg"], "11.jpg"),
        (["xa/1.jpg"], "a/1.jpg"),
        (["a.jpg/1.jpg"], "a.jpg"),
        (["a.1.jpg"], "a.jpg"),
    ],
)
def test_not_found(finder, entries, name):
    with pytest.raises(NoLandmarks, match=f"{name} has no landmarks in .*faces.json, whose names are such as "):
        finder(*entries).entry(name)


@pytest.mark.parametrize(
    ("entries", "name"),
    [(["u/a.jpg", "v/a.jpg"], "a.jpg"), (["a.jpg", "a.jpeg"], "a.png"), (["u/a.jpg", "v/a.jpg"], "a.png")],
)
def test_not_clear(finder, entries, name):
    with pytest.raises(InputError, match=f"{name} may be .* or .* in .*; give it more of its path"):
        finder(*entries).entry(name)


def test_two_photographs_with_the_same_landmarks_are_noticed_before_any_work(finder):
    with pytest.raises(InputError, match=r"x/a\.jpg and y/a\.jpg would both get the landmarks of 'a\.jpg'"):
        finder("a.jpg").check(["x/a.jpg", "unknown.jpg", "y/a.jpg"])
    finder("a.jpg", "y/a.jpg").check(["x/a.jpg", "y/a.jpg"])


def test_a_file_of_other_photographs_is_noticed_before_any_work(finder):
    known = finder("a.jpg", "b.jpg")
    known.check(["c.jpg", "b.jpg"])
    known.check([])
    with pytest.raises(NoLandmarks, match=r"c\.jpg has no landmarks"):
        known.check(["c.jpg", "d.jpg"])


def test_names_in_the_order_of_the_file(finder):
    assert finder("b.jpg", "a.jpg").names() == ["b.jpg", "a.jpg"]
