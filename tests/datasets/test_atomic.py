import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import atomic
from datasets.atomic import check_writable, claim, publish, replacing, write_text
from datasets.errors import InputError


def test_the_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert [left.name for left in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [left.name for left in tmp_path.iterdir()] == ["a.txt"]


def test_a_block_that_wrote_nothing_publishes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_data_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("flush"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), replace(self, to))[1])
    write_text(tmp_path / "a.txt", "x")
    assert calls == ["flush", "rename", "flush"]  # the file, the name, the folder


def test_a_failed_flush_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_file_under_the_name(tmp_path):
    path = tmp_path / "a.txt"
    code = (
        "import sys, time; from datasets.atomic import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert not path.exists()
    assert all(left.name.startswith(".") and left.name.endswith(".partial") for left in tmp_path.iterdir())


def test_check_writable(tmp_path, monkeypatch):
    assert check_writable(tmp_path / "new.h5") == tmp_path / "new.h5"
    (tmp_path / "old.h5").write_text("x")
    assert check_writable(str(tmp_path / "old.h5"), overwrite=True) == tmp_path / "old.h5"
    with pytest.raises(
        InputError, match=r"old\.h5 exists already; choose another name, remove it, or pass --overwrite"
    ):
        check_writable(tmp_path / "old.h5")
    with pytest.raises(InputError, match=r"exists already.*or pass --force"):
        check_writable(tmp_path / "old.h5", option="--force")
    with pytest.raises(InputError, match="is a folder; name a file"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match=r"the folder .*missing does not exist; create it first"):
        check_writable(tmp_path / "missing" / "a.h5")
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: False)  # tests may run as root, whom no bit stops
    with pytest.raises(InputError, match="no permission to write into"):
        check_writable(tmp_path / "new.h5")


def test_a_claimed_file_belongs_to_one_writer_and_leftovers_are_used_again(tmp_path: Path) -> None:
    target = tmp_path / "big.h5"
    (tmp_path / ".big.h5.partial").write_bytes(b"left by a killed process")
    temporary, descriptor = claim(target)
    assert temporary.stat().st_size == 0
    with pytest.raises(InputError, match="another process is writing"):
        claim(target)
    os.write(descriptor, b"whole")
    publish(temporary, target)
    os.close(descriptor)
    assert target.read_bytes() == b"whole"
    again, descriptor = claim(target)  # a new file: the published one must not be emptied
    os.close(descriptor)
    again.unlink()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]
