import os
import resource

import numpy as np
import pytest

from datasets.mapping import FileMap, Use


@pytest.fixture
def file(tmp_path):
    content = np.random.default_rng(0).bytes(1 << 24)
    (tmp_path / "file").write_bytes(content)
    return FileMap(tmp_path / "file"), content


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_the_bytes_are_those_of_the_file_and_read_only(file):
    mapped, content = file
    assert mapped.bytes.tobytes() == content
    with pytest.raises(ValueError, match="read-only"):
        mapped.bytes[0] = 1


def test_pages_made_ready_cost_no_faults(file):
    mapped, _ = file
    if not mapped.is_cached(5000, 1 << 24):
        pytest.skip("this file system does not tell what is in memory")
    mapped.make_ready(5000, 1 << 24)
    before = faults()
    total = int(mapped.bytes[8192:].sum(dtype=np.int64))
    assert total > 0
    assert faults() - before < 100  # of 4096 pages, 256 faults if the kernel maps 16 of them at each


def test_a_range_is_made_ready_once_and_when_it_pays(file, monkeypatch):
    mapped, _ = file
    calls = []
    cached = [False, True]
    monkeypatch.setattr(mapped, "is_cached", lambda start, end: cached.pop(0))
    monkeypatch.setattr(mapped, "make_ready", lambda start, end: calls.append((start, end)))
    use = Use(mapped, 100, 1700)
    use.count(99)
    assert len(cached) == 2  # less than a sixteenth: not even asked
    use.count(1)
    assert (len(cached), calls) == (1, [])  # not in memory: asked again after twice as much
    use.count(99)
    assert len(cached) == 1
    use.count(1)
    assert calls == [(100, 1700)]
    use.count(10**9)
    assert len(calls) == 1


def test_a_forked_process_begins_anew(file, monkeypatch):
    mapped, _ = file
    calls = []
    monkeypatch.setattr(mapped, "is_cached", lambda start, end: True)
    monkeypatch.setattr(mapped, "make_ready", lambda start, end: calls.append(os.getpid()))
    use = Use(mapped, 0, 1600)
    use.count(100)
    monkeypatch.setattr(os, "getpid", lambda: -5)
    use.count(99)
    assert len(calls) == 1
    use.count(1)
    assert len(calls) == 2


def test_a_system_that_cannot_tell(file, monkeypatch):
    mapped, _ = file
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    assert not mapped.is_cached(0, 100)
    monkeypatch.undo()
    mapped._path.unlink()
    assert not mapped.is_cached(0, 100)
