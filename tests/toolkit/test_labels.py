import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from toolkit.layouts.labels import MAX_CLASSES, find, from_folders, from_json

NAMES = ["00000/a.png", "00000/b.png", "00001/c.png"]


def of_json(content, names=NAMES):
    return from_json(json.dumps(content).encode(), names, "set.zip:dataset.json")


def pairs(*labels):
    return {"labels": [[name, label] for name, label in zip(NAMES, labels, strict=True)]}


def test_folders_of_classes():
    found = from_folders(["b/1.png", "B/1.png", "a/x/2.png", "b/y/z/3.png"])
    assert found.names == ("B", "a", "b")
    assert found.numbers.tolist() == [2, 0, 1, 2]
    assert found.numbers.dtype == np.int64


@pytest.mark.parametrize("names", [["1.png", "a/2.png", "b/3.png"], ["a/1.png", "a/2.png"], ["1.png"], ["a/1.png"]])
def test_folders_that_are_no_classes(names):
    assert from_folders(names) is None


def files(**content):
    """Reader of files by name, as `find` needs it; notes what it is asked for."""
    asked = []

    def read(name):
        asked.append(name)
        return (f"where/{name}", content[name]) if name in content else None

    return read, asked


def test_folders_that_hold_everything_are_passed_over():
    read, asked = files()
    found = find(["photos/set/cats/1.png", "photos/set/cats/2.png", "photos/set/cars/1.png"], read)
    assert found.names == ("cars", "cats")
    assert found.numbers.tolist() == [1, 1, 0]
    assert asked == ["dataset.json", "photos/dataset.json", "photos/set/dataset.json"]
    assert find(["photos/1.png", "photos/cats/1.png", "photos/dogs/2.png"], read) is None
    assert find(["only/one.png"], read) is None


def test_json_wins_over_folders_and_lies_where_the_names_begin():
    content = json.dumps({"labels": [["cats/1.png", 1], ["dogs/1.png", 4]]}).encode()
    for prefix in ("", "photos/"):
        read, _ = files(**{f"{prefix}dataset.json": content})
        found = find([f"{prefix}cats/1.png", f"{prefix}dogs/1.png"], read)
        assert found.numbers.tolist() == [1, 4]
        assert found.names == ("0", "1", "2", "3", "4")
    read, _ = files(**{"dataset.json": b'{"labels": null}'})
    assert find(["cats/1.png", "dogs/1.png"], read) is None


def test_numbers():
    found = of_json(pairs(2, 0, 2))
    assert found.numbers.tolist() == [2, 0, 2]
    assert found.names == ("0", "1", "2")
    assert of_json(pairs(2.0, 0.0, 2.0)).numbers.tolist() == [2, 0, 2]  # as numpy may have written them


def test_one_hot_vectors():
    found = of_json(pairs([0, 0, 1, 0], [1, 0, 0, 0], [0.0, 0.0, 1.0, 0.0]))
    assert found.numbers.tolist() == [2, 0, 2]
    assert found.names == ("0", "1", "2", "3")


def test_none():
    assert of_json({"labels": None}) is None
    assert of_json({}) is None


def test_windows_names_and_images_that_are_not_there():
    content = {"labels": [["00000\\a.png", 1], ["./00000/b.png", 0], ["00001/c.png", 1], ["gone.png", 9]]}
    assert of_json(content).numbers.tolist() == [1, 0, 1]


@pytest.mark.parametrize("vector", [[0.5, 0.5], [1, 1], [0, 0], [2, 0], [], ["1"], [None], [[1]], [1, -1]])
def test_vectors_that_are_not_one_hot(vector):
    with pytest.raises(
        InputError, match=r"dataset\.json: the label of '00000/a\.png' is a vector that is not one-hot; .*"
    ):
        of_json(pairs(vector, vector, vector))


@pytest.mark.parametrize(
    "label", [-1, MAX_CLASSES, 10**30, 0.5, 1e300, True, None, "cat", {}, float("nan"), float("inf")]
)
def test_labels_that_are_no_class_numbers(label):
    with pytest.raises(
        InputError, match=r"the label of '00000/a\.png' is .*, not a class number in 0\.\.65535; mend it, or"
    ):
        of_json(pairs(label, 0, 1))


def test_labels_that_do_not_go_together():
    for labels in ((1, [0, 1], 1), ([0, 1], [0, 1, 0], [1, 0])):
        with pytest.raises(InputError, match="mixes class numbers and vectors, or vectors of several lengths"):
            of_json(pairs(*labels))
    with pytest.raises(
        InputError, match=r"has no label for '00001/c\.png'; every image needs one; mend it, or pass --no-l"
    ):
        of_json({"labels": [["00000/a.png", 1], ["00000/b.png", 1]]})
    with pytest.raises(InputError, match=r"gives '00000/a.png' two labels"):
        of_json({"labels": [["00000/a.png", 1], ["00000/a.png", 2]]})


@pytest.mark.parametrize(
    "content",
    [[], 3, "labels", {"labels": 3}, {"labels": {}}, {"labels": [1]}, {"labels": [["a", 1, 2]]}, {"labels": [[1, 1]]}],
)
def test_other_shapes(content):
    with pytest.raises(
        InputError, match=r'must be \{"labels": \[\[name, label\], ...\]\} or \{"labels": null\}; mend it'
    ):
        of_json(content)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b'{"labels": [' + b"[" * 100_000, b"9" * 10_000, b"nul"])
def test_no_json(data):
    with pytest.raises(
        InputError, match=r"set\.zip:dataset\.json is not JSON \(.*\); mend it, or pass --no-labels"
    ) as found:
        from_json(data, NAMES, "set.zip:dataset.json")
    assert len(str(found.value)) < 250


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)).map(
        lambda value: json.dumps({"labels": value}).encode()
    )
)
@settings(max_examples=50, deadline=None)
def test_anything_gives_labels_or_one_error(data):
    found = None
    with contextlib.suppress(InputError):
        found = from_json(data, NAMES, "x")
    assert found is None or len(found.numbers) == len(NAMES)


@given(st.lists(st.tuples(st.text("ab/", max_size=6), st.integers(0, 99)), min_size=1, unique=True, max_size=9))
@settings(max_examples=50, deadline=None)
def test_a_common_folder_changes_no_class(parts):
    names = sorted(f"{folder}/{number}.png".lstrip("/") for folder, number in parts)
    read, _ = files()
    one, two = find(names, read), find([f"x/y/{name}" for name in names], read)
    assert (one is None) == (two is None)
    if one is not None:
        assert one.names == two.names
        assert one.numbers.tolist() == two.numbers.tolist()
