"""What derived pyramids say of labels and of where they came from."""

import numpy as np
import pytest
from pyramids import noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import ledger
from toolkit.derived.assembly import Part
from toolkit.derived.lineage import common_options, converted, joined, labels_of, ledger_lines


@pytest.fixture
def opened(tmp_path):
    """Function that makes a small pyramid and opens it."""

    def opened(name, labels=None, label_names=None, **more):
        count = 4 if labels is None else len(labels)
        path = write(tmp_path / f"{name}.h5", noise(count, 4), labels=labels, label_names=label_names, **more)
        return open_pyramid(path)

    return opened


def both(*parts, keep=True):
    numbers, names = labels_of([Part.whole(reader) for reader in parts], keep=keep)
    return None if numbers is None else numbers.tolist(), names


def test_no_labels(opened):
    assert both(opened("a"), opened("b")) == (None, None)


def test_equal_classes_stay_as_they_are_used_or_not(opened):
    a = opened("a", [0, 2], ["x", "y", "z"])
    b = opened("b", [2, 2, 1], ["x", "y", "z"])
    assert both(a, b) == ([0, 2, 2, 2, 1], ["x", "y", "z"])


def test_different_classes_are_united_by_name(opened):
    a = opened("a", [0, 1, 1], ["dog", "cat"])
    b = opened("b", [0, 1, 2, 2], ["ant", "dog", "bee"])
    assert both(a, b) == ([0, 1, 1, 2, 0, 3, 3], ["dog", "cat", "ant", "bee"])
    assert both(b, a) == ([0, 1, 2, 2, 1, 3, 3], ["ant", "dog", "bee", "cat"])


def test_the_same_classes_in_another_order_are_matched(opened):
    a, b = opened("a", [0, 1], ["x", "y"]), opened("b", [0, 1], ["y", "x"])
    assert both(a, b) == ([0, 1, 1, 0], ["x", "y"])


def test_classes_without_names(opened):
    a, b = opened("a", [0, 4]), opened("b", [1])
    assert both(a, b) == ([0, 4, 1], None)
    with pytest.raises(InputError, match=r"a\.h5 has classes without names, so they cannot be matched"):
        both(a, opened("c", [1], ["x", "y"]))


def test_a_name_twice_cannot_be_matched(opened):
    a, b = opened("a", [0, 1], ["x", "x"]), opened("b", [0], ["x"])
    assert both(a, a) == ([0, 1, 0, 1], ["x", "x"])
    with pytest.raises(InputError, match=r"a\.h5 has two classes of the same name"):
        both(a, b)
    assert both(a, b, keep=False) == (None, None)


def test_labels_here_and_none_there(opened):
    a, b = opened("a", [0, 1], ["x", "y"]), opened("b")
    with pytest.raises(InputError, match=r"b\.h5 has no labels, but .*a\.h5 has; pass --no-labels"):
        both(b, a)
    assert both(a, b, keep=False) == (None, None)


def test_labels_of_chosen_rows(opened):
    a = opened("a", [0, 1, 2, 3], list("wxyz"))
    assert labels_of([Part(a, np.array([3, 3, 0]))])[0].tolist() == [3, 3, 0]
    nameless = opened("b", [0, 1, 2, 3])
    numbers, names = labels_of([Part(nameless, np.array([1, 0]))])
    assert (numbers.tolist(), names) == ([1, 0], ["0", "1", "2", "3"])  # four classes as before, though two have rows


def test_conversions_are_added_to_what_was_there(opened):
    reader = opened("a", provenance={"source": "photos", "conversions": [{"to": "lmdb"}]})
    found = converted(reader, "hdf5", 4)
    assert found["source"] == "photos"
    assert [step["to"] for step in found["conversions"]] == ["lmdb", "hdf5"]
    assert "of" not in found["conversions"][-1]


def test_joining_is_associative(opened, tmp_path):
    a, b, c = opened("a"), opened("b"), opened("c")
    ab = opened("ab", provenance=joined([a, b]))
    assert joined([ab, c])["parts"] == joined([a, b, c])["parts"]
    assert [part["name"] for part in joined([ab, c])["parts"]] == ["a.h5", "b.h5", "c.h5"]
    assert joined([c, ab])["parts"] == joined([c, a, b])["parts"]


def test_options_that_all_have(opened):
    a = opened("a", options={"crop": "centre", "tile": None, "shuffle": 1})
    b = opened("b", options={"crop": "centre", "tile": None, "shuffle": 2})
    c = opened("c", options={"crop": "centre"})
    assert common_options([a, b]) == {"crop": "centre", "tile": None}
    assert common_options([a, b, c]) == {"crop": "centre"}


def test_the_lines_of_ledgers_follow_their_rows(opened, tmp_path):
    entries = [
        ledger.Entry(path="a", rows=(2, 0)),
        ledger.Entry(path="bad", skipped="bad is damaged"),
        ledger.Entry(path="b", rows=(3,)),
        ledger.Entry(path="c", rows=(1,)),
    ]
    digest = ledger.write(tmp_path / "a.h5.ledger.jsonl", entries)
    reader = opened("a", provenance={"ledger_sha256": digest})
    chosen = ledger_lines([Part(reader, np.array([1, 2])), Part.whole(reader)], None)
    assert [(entry.path, entry.rows) for entry in chosen] == [
        ("a", (1,)),
        ("c", (0,)),
        ("a", (4, 2)),
        ("bad", ()),
        ("b", (5,)),
        ("c", (3,)),
    ]
    assert chosen[3].skipped == "bad is damaged"


@pytest.mark.parametrize("damage", ["missing", "changed", "unknown"])
def test_without_its_ledger_a_part_has_no_lines(opened, tmp_path, damage):
    digest = ledger.write(tmp_path / "a.h5.ledger.jsonl", [ledger.Entry(path="a", rows=(0, 1, 2, 3))])
    if damage == "missing":
        (tmp_path / "a.h5.ledger.jsonl").unlink()
    elif damage == "changed":
        ledger.write(tmp_path / "a.h5.ledger.jsonl", [ledger.Entry(path="b", rows=(0, 1, 2, 3))])
    reader = opened("a", provenance={} if damage == "unknown" else {"ledger_sha256": digest})
    assert ledger_lines([Part.whole(reader)], None) is None


def test_the_labels_in_ledgers_are_those_of_the_new_pyramid(opened, tmp_path):
    parts = []
    for name, names, numbers in (("a", ["x", "y"], (1, 0)), ("b", ["z", "x"], (0, 1))):
        entries = [ledger.Entry(path=str(row), label=label, rows=(row,)) for row, label in enumerate(numbers)]
        entries.append(ledger.Entry(path="bad", label=numbers[1], skipped="bad"))
        digest = ledger.write(tmp_path / f"{name}.h5.ledger.jsonl", entries)
        parts.append(Part.whole(opened(name, numbers, names, provenance={"ledger_sha256": digest})))
    labels, names = labels_of(parts)
    assert (labels.tolist(), names) == ([1, 0, 2, 0], ["x", "y", "z"])
    lines = ledger_lines(parts, names)
    assert [(entry.label, entry.rows) for entry in lines] == [
        (1, (0,)),
        (0, (1,)),
        (0, ()),
        (2, (2,)),
        (0, (3,)),
        (0, ()),
    ]
