import hashlib
import json
from pathlib import Path

import pytest

from datasets.errors import InputError
from toolkit import ledger
from toolkit.ledger import Entry

USED = Entry(
    path="ü/\udcff.png",
    label=3,
    bytes=10,
    xxh3="ab",
    format="PNG",
    mode="L",
    width=3,
    height=4,
    applied=("exif", "grey"),
    rows=(5, 2),
)
SKIPPED = Entry(path="b.jpg", skipped="b.jpg is not\nan image")


def test_written_and_read_is_identity(tmp_path):
    path = tmp_path / "ledger"
    digest = ledger.write(path, iter([USED, SKIPPED]))
    assert list(ledger.read(path)) == [USED, SKIPPED]
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_one_json_object_a_line(tmp_path):
    ledger.write(tmp_path / "ledger", [USED, SKIPPED])
    first, second = (json.loads(line) for line in (tmp_path / "ledger").read_bytes().splitlines())
    assert first["rows"] == [5, 2]
    assert first["applied"] == ["exif", "grey"]
    assert second == {
        "path": "b.jpg", "label": None, "bytes": None, "xxh3": None, "format": None, "mode": None, "width": None,
        "height": None, "applied": [], "rows": [], "skipped": "b.jpg is not\nan image",
    }  # fmt: skip


def test_it_lies_beside_the_data_set():
    assert ledger.path_of(Path("a/b.h5")) == Path("a/b.h5.ledger.jsonl")


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"{}", b'{"path": "a"}', b'{"path": "a", "applied": [], "rows": [], "x": 1}']
)
def test_what_is_no_ledger(tmp_path, line):
    path = tmp_path / "ledger"
    ledger.write(path, [USED])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match="ledger, line 2: not a line of a ledger"):
        list(ledger.read(path))
