import errno
import json
import os
import subprocess
import sys

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from toolkit.engine.journal import Journal, path_of

KEY = {"versions": {"numpy": "2"}, "shards": 1}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "set.h5"


def fill(out, *records, key=KEY):
    with Journal(out, key) as journal:
        journal.append(records)
        journal.sync()
    return path_of(out)


def done(index, part=0, **facts):
    return {"done": index, "part": part, **facts}


def test_what_was_appended_is_found_again(out):
    fill(
        out,
        {"look": 0, "name": "ü"},
        {"look": 2, "name": "c"},
        done(2, rows="x"),
        done(2, 7, rows="y"),
        done(0, rows="z"),
    )
    with Journal(out, KEY) as journal:
        assert (journal.continued, journal.replaced, journal.has_rows, journal.finished) == (True, False, True, None)
        assert journal.find("look", 0)["name"] == "ü"
        assert journal.find("look", 1) is None
        assert journal.find("look", 3) is None
        assert [journal.find("done", 2)["rows"], journal.find("done", 2, 7)["rows"]] == ["x", "y"]
        assert journal.find("done", 2, 8) is None
        journal.append([done(2, rows="again"), done(5, facts={"long": "x" * 5000})])
        assert journal.find("done", 2)["rows"] == "again"  # the latest counts
        assert len(journal.find("done", 5)["facts"]["long"]) == 5000
    assert Journal(out, KEY).find("done", 2)["rows"] == "again"


def test_the_format_is_what_the_documentation_says(out):
    path = fill(out, {"look": 1}, done(1))
    assert path.name == ".set.h5.journal.partial"
    before = 0
    for line, expected in zip(path.read_bytes().splitlines(), [{"key": KEY}, {"look": 1}, done(1)], strict=True):
        checksum, text = line[:16], line[17:]
        before = xxhash.xxh3_64(text, seed=before).intdigest()
        assert (int(checksum, 16), json.loads(text)) == (before, expected)


def test_a_new_journal_has_nothing(out):
    with Journal(out, KEY) as journal:
        assert (journal.continued, journal.replaced, journal.has_rows) == (False, False, False)
        assert journal.find("look", 0) is None


@pytest.mark.parametrize("other", [{}, {**KEY, "shards": 2}, {**KEY, "more": None}])
def test_another_key_begins_anew(out, other):
    fill(out, done(0, facts="of another build" * 100))
    with Journal(out, other) as journal:
        assert (journal.continued, journal.replaced, journal.has_rows) == (False, True, False)
        assert journal.find("done", 0) is None
        journal.append([{"look": 0, "name": "new"}])
        assert journal.find("look", 0)["name"] == "new"
    with Journal(out, other) as journal:
        assert (journal.continued, journal.has_rows) == (True, False)


def test_keys_are_compared_as_json(out):
    fill(out, key={"a": (1, 2)})
    assert Journal(out, {"a": [1, 2]}).continued


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_torn_end_is_cut_off(tmp_path_factory, cut):
    out = tmp_path_factory.mktemp("journal") / "set.h5"
    path = fill(out, *(done(index, rows=str(index)) for index in range(8)))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    torn = whole[: max(len(lines[0]), len(whole) - cut)]
    path.write_bytes(torn)
    left = sum(len(b"".join(lines[: count + 1])) <= len(torn) for count in range(1, 9))
    with Journal(out, KEY) as journal:
        assert [journal.find("done", index) is not None for index in range(8)] == [index < left for index in range(8)]
        journal.append([done(7, rows="new")])
        assert journal.find("done", 7)["rows"] == "new"
    assert path.read_bytes().startswith(b"".join(lines[: left + 1]))
    assert Journal(out, KEY).find("done", 7)["rows"] == "new"


@pytest.mark.parametrize("damage", ["flip", "drop", "swap", "repeat", "nul"])
def test_trust_ends_where_a_line_is_wrong(out, damage):
    path = fill(out, *(done(index) for index in range(6)))
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[4] = lines[4].replace(b'"done":3', b'"done":5')
    elif damage == "drop":
        del lines[4]
    elif damage == "swap":
        lines[4], lines[5] = lines[5], lines[4]
    elif damage == "repeat":
        lines.insert(4, lines[3])
    else:
        lines[4] = bytes(len(lines[4]))
    path.write_bytes(b"".join(lines))
    with Journal(out, KEY) as journal:
        assert [journal.find("done", index) is not None for index in range(6)] == [True] * 3 + [False] * 3
    assert path.read_bytes() == b"".join(lines[:4])


def test_a_damaged_key_begins_anew(out):
    path = fill(out, done(0))
    path.write_bytes(b"x" + path.read_bytes())
    with Journal(out, KEY) as journal:
        assert (journal.continued, journal.has_rows) == (False, False)


def test_two_at_once_are_refused(out):
    with Journal(out, KEY):
        with pytest.raises(
            InputError, match=r"another process is making .*set\.h5; wait for it or choose another name"
        ):
            Journal(out, KEY)
        script = (
            f"from pathlib import Path; from toolkit.engine.journal import Journal; Journal(Path({str(out)!r}), {{}})"
        )
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "another process is making" in other.stderr
    Journal(out, KEY).close()


@pytest.mark.parametrize("written", [0, 1, 30])
def test_a_failed_append_leaves_no_trace(out, monkeypatch, written):
    pwrite = os.pwrite

    def full(descriptor, data, place):
        pwrite(descriptor, bytes(data)[:written], place)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(out, KEY) as journal:
        journal.append([done(0)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(
                InputError, match=r"^cannot write .*journal\.partial: No space left on device .*; free space or"
            ):
                journal.append([done(1)])
        assert journal.find("done", 1) is None
        journal.append([done(2)])
    with Journal(out, KEY) as journal:
        assert [journal.find("done", index) is not None for index in range(3)] == [True, False, True]


def test_finish_and_discard(out):
    fill(out)
    with Journal(out, KEY) as journal:
        journal.finish({"ledger": "ab"})
    with Journal(out, KEY) as journal:
        assert journal.finished == {"ledger": "ab"}
        journal.discard()
        journal.discard()
    assert list(out.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"^cannot write .*set\.h5: No such file or directory$"):
        Journal(tmp_path / "missing" / "set.h5", KEY)
