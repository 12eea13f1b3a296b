"""Early writeback: files are brought to disk while the block runs, and never after it."""

import os
import threading
import time
from pathlib import Path

from toolkit.engine import writeback
from toolkit.engine.writeback import early_writeback


def test_every_file_is_written_back_while_the_block_runs(tmp_path, monkeypatch):
    (tmp_path / "shards").mkdir()
    for name in ("shards/a", "shards/b", "single"):
        (tmp_path / name).write_bytes(b"x")
    seen, enough = [], threading.Event()

    def watched(descriptor):
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        if seen.count("b") >= 2:
            enough.set()

    monkeypatch.setattr(os, "fdatasync", watched)
    monkeypatch.setattr(writeback, "_PAUSE", 0.001)
    with early_writeback(tmp_path / "shards"):
        assert enough.wait(10)
    assert set(seen) >= {"a", "b"}
    assert "single" not in seen
    number = len(seen)
    time.sleep(0.02)
    assert len(seen) == number


def test_a_file_that_is_not_there_and_a_disk_that_refuses_harm_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writeback, "_PAUSE", 0.001)

    def refuse(_):
        raise OSError

    monkeypatch.setattr(os, "fdatasync", refuse)
    (tmp_path / "file").write_bytes(b"x")
    for name in ("file", "missing"):
        with early_writeback(tmp_path / name):
            time.sleep(0.02)
    assert not any(thread.name == "early writeback" for thread in threading.enumerate())
