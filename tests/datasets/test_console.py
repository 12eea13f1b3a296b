import errno
import json
import os
import signal

import click
import pytest

from datasets import console
from datasets.errors import InputError


def run(action, capsys):
    """Exit code and both streams of a command that does `action`."""
    with pytest.raises(SystemExit) as stop:
        console.run(click.Command("test", callback=action))
    streams = capsys.readouterr()
    if isinstance(stop.value.code, str):  # what Python prints at the end of a program
        return 1, streams.out, streams.err + stop.value.code + "\n"
    return stop.value.code, streams.out, streams.err


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("a.png is\n not an image"), 1, "error: a.png is not an image\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.h5"), 1, "error: x.h5: No space left on device\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    ],
)
def test_foreseeable_faults_end_in_one_line(error, code, text, capsys):
    assert run(raising(error), capsys) == (code, "", text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_and_a_second_one_does_not_disturb(number, capsys):
    removed = []

    def action():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            removed.append(True)

    before = signal.getsignal(number)
    assert run(action, capsys) == (130, "", "\ninterrupted\n")
    assert removed == [True]
    assert signal.getsignal(number) is before


def test_what_cannot_be_read_comes_with_advice(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.h5").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for all but root
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a.h5"))
    assert run(raising(error), capsys) == (1, "", f"error: {tmp_path / 'a.h5'}: Permission denied; make it readable\n")


def test_wrong_usage_and_success(capsys):
    code, out, err = run(raising(click.UsageError("no such thing")), capsys)
    assert (code, out) == (2, "")
    assert "no such thing" in err
    assert run(lambda: None, capsys) == (0, "", "")


def test_a_bug_is_not_hidden(capsys):
    with pytest.raises(ZeroDivisionError):
        console.run(click.Command("test", callback=lambda: 1 / 0))


def test_a_table_puts_numbers_to_the_right_and_words_to_the_left():
    text = console.table([("a", "1,000"), ("bbb", "7.5%"), ("c", "1c3")], header=("what", "number"))
    assert text.splitlines() == ["what  number", "a      1,000", "bbb     7.5%", "c     1c3"]
    assert console.table([]) == ""


def test_json_goes_to_a_file_or_alone_to_stdout(tmp_path, capsys):
    console.write_json("-", {"a": [1, None]})
    console.write_json(str(tmp_path / "a.json"), {"a": 2.5})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2.5}
    with pytest.raises(ValueError, match="Out of range float"):
        console.write_json("-", {"a": float("nan")})
