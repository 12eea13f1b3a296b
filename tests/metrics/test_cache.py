"""The cache of features: what was put is got, what was torn is not, what is another thing is not found."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import InputError
from metrics.cache import Facts, FeatureCache, RowsInMemory, default_folder

KEY = {"set": "abc", "extractor": "inception", "weights": "def"}


def features(rows: list[int]) -> np.ndarray:
    return np.array([[row, row + 0.5, -row] for row in rows], np.float32)


def test_gives_back_what_it_knows(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY, 3)
    cache.put(np.array([7, 2]), features([7, 2]))
    cache.close()
    found, known = FeatureCache(tmp_path, KEY, 3).get(np.array([2, 3, 7, 1000]))
    assert known.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(found[known], features([2, 7]))


@pytest.mark.parametrize("other", [{**KEY, "set": "abd"}, {**KEY, "weights": "0"}, {**KEY, "resize": "torch"}])
def test_another_key_is_another_entry(tmp_path: Path, other: dict[str, str]) -> None:
    FeatureCache(tmp_path, KEY, 3).put(np.array([0]), features([0]))
    assert not FeatureCache(tmp_path, other, 3).get(np.array([0]))[1].any()
    assert not FeatureCache(tmp_path, KEY, 4).get(np.array([0]))[1].any()


def test_torn_rows_are_not_known(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY, 3)
    cache.put(np.arange(4), features([0, 1, 2, 3]))
    with (cache.path / "rows").open("r+b") as file:
        file.seek(12 * 1 + 5)
        file.write(b"\x55")
        file.truncate(12 * 3 + 7)
    assert cache.get(np.arange(4))[1].tolist() == [True, False, True, False]
    cache.put(np.array([1, 3]), features([1, 3]))
    assert cache.get(np.arange(4))[1].all()


def test_a_row_of_zeros_is_a_row(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY, 3)
    cache.put(np.array([1]), np.zeros((1, 3), np.float32))
    assert cache.get(np.array([0, 1]))[1].tolist() == [False, True]


def test_full_disk_and_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, KEY, 3)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"No space left.*--no-cache"):
        cache.put(np.array([0]), features([0]))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*--cache"):
        FeatureCache(tmp_path / "file", KEY, 3)


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "growgan" / "features"


def test_rows_in_memory_and_on_disk_agree(tmp_path: Path) -> None:
    for rows in (RowsInMemory(6, 3), FeatureCache(tmp_path, KEY, 3)):
        rows.put(np.array([4, 1]), features([4, 1]))
        room = np.full((3, 3), 99, np.float32)
        assert rows.read_into(np.array([1, 2, 4]), room).tolist() == [True, False, True]
        np.testing.assert_array_equal(room[[0, 2]], features([1, 4]))


def test_facts_are_whole_or_not_there(tmp_path: Path) -> None:
    assert Facts(tmp_path, KEY).get() is None
    Facts(tmp_path, KEY).put({"value": 0.1 + 0.2, "floor": None})
    assert Facts(tmp_path, KEY).get() == {"value": 0.1 + 0.2, "floor": None}
    assert Facts(tmp_path, {**KEY, "set": "abd"}).get() is None
    (path,) = tmp_path.glob("*/facts.json")
    path.write_text("[1, 2]")
    assert Facts(tmp_path, KEY).get() is None
