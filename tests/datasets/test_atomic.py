import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import atomic
from datasets.atomic import (
    check_writable,
    claim,
    claim_folder,
    new_folder,
    publish,
    publish_folder,
    replacing,
    system_errors,
    write_text,
)
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


def test_a_kept_file_is_found_as_it_was(tmp_path: Path) -> None:
    (tmp_path / ".big.h5.partial").write_bytes(b"left by a killed process")
    temporary, descriptor = claim(tmp_path / "big.h5", empty=False)
    assert temporary.read_bytes() == b"left by a killed process"
    os.close(descriptor)


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "left by a killed process").write_text("x")
    with new_folder(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("x")
        assert not out.exists()
        with pytest.raises(InputError, match="another process is writing"), new_folder(out):
            pass
    assert [path.name for path in out.rglob("*")] == ["sub", "file"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_new_folder_that_failed_is_gone(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as folder:  # noqa: PT012
        (folder / "file").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(InputError, match=r"cannot write .*out: Directory not empty; choose another name"):  # noqa: SIM117
        with new_folder(tmp_path / "out") as folder:
            (folder / "file").write_text("x")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "precious"]


def test_a_claimed_folder_belongs_to_one_and_keeps_what_it_holds(tmp_path: Path) -> None:
    temporary, descriptor = claim_folder(tmp_path / "out")
    (temporary / "file").write_text("x")
    with pytest.raises(InputError, match="another process is writing"):
        claim_folder(tmp_path / "out")
    os.close(descriptor)
    temporary, descriptor = claim_folder(tmp_path / "out")
    assert (temporary / "file").exists()
    publish_folder(temporary, tmp_path / "out")
    os.close(descriptor)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_publishing_a_folder_replaces_what_was_there(tmp_path: Path, kind: str) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    target.mkdir()
    {"file": lambda: out.write_text("x"), "folder": out.mkdir, "link": lambda: out.symlink_to(target)}[kind]()
    (tmp_path / ".out.replaced").mkdir()  # left by a kill between the renames
    (tmp_path / "new").mkdir()
    publish_folder(tmp_path / "new", out)
    assert out.is_dir()
    assert not out.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "target"]


def test_publishing_a_folder_that_fails_brings_back_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(FileNotFoundError):
        publish_folder(tmp_path / "missing", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "old"


def test_system_errors_become_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"^cannot write x: No space left on device \(\.\); free space or"),
        system_errors(Path("x")),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")
    with pytest.raises(InputError, match=r"^cannot write x: File too large: .*ulimit -f"), system_errors(Path("x")):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    with pytest.raises(InputError, match=r"^cannot write x: odd$"), system_errors(Path("x")):
        raise OSError("odd")


def test_a_short_write_of_lmdb_is_called_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library says "Input/output error" for a full disk and for a limit, and raises no OSError."""

    def said() -> str:
        with pytest.raises(InputError) as raised, system_errors(tmp_path / "x"):
            raise RuntimeError("mdb_txn_commit: Input/output error")
        return str(raised.value).removeprefix(f"cannot write {tmp_path / 'x'}: ")

    assert said() == "Input/output error"
    (tmp_path / ".x.partial").write_bytes(bytes(1 << 20))
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
        assert said().startswith("File too large: a limit of this process (ulimit -f)")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 4096))  # type: ignore[attr-defined]
    assert said() == f"No space left on device ({tmp_path}); free space or choose another disk"
    with pytest.raises(RuntimeError, match="odd"), system_errors(tmp_path / "x"):
        raise RuntimeError("odd")
