"""The commands on finished pyramids as a user meets them: output, exit codes, one-line errors, nothing half-made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from pyramids import assert_rows, listing, noise, write

from datasets.formats import open_pyramid
from toolkit import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Function that runs the command in this process and in the test's folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["toolkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        if isinstance(stop.value.code, str):  # what Python prints at the end of a program
            return 1, out, f"{err}{stop.value.code}\n"
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    """``set.h5``: six labelled images."""
    return write(tmp_path / "set.h5", noise(6), labels=[0, 1, 0, 1, 0, 1], label_names=["cat", "dog"])


def done(result: tuple[int, str, str]) -> str:
    """Stderr of a run that went well."""
    assert result[0] == 0, result[2]
    assert "Traceback" not in result[2]
    return result[2]


def refused(result: tuple[int, str, str], code: int = 1) -> str:
    """The one line in which a run ended."""
    assert result[0] == code
    assert "Traceback" not in result[2]
    lines = [line for line in result[2].splitlines() if line.lower().startswith("error: ")]
    assert len(lines) == 1
    assert result[2].splitlines()[-1] == lines[0]
    return lines[0]


def test_there_and_back_and_equal(run: Run, pyramid: Path, tmp_path: Path) -> None:
    err = done(run("convert", "set.h5", "out.lmdb", "--encoding", "webp", "--shards", 2))
    assert f"content digest  {open_pyramid(pyramid).manifest.content_digest}" in err
    code, out, _ = run("convert", "out.lmdb", "back.h5", "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert (result["num_images"], result["copied"], result["num_classes"]) == (6, 6, 2)
    err = done(run("compare", "set.h5", "back.h5"))
    assert "set.h5 and back.h5 are equal: 6 rows of 3 levels (0.0 MB read)" in err
    assert "by their digests; no pixel was read" in done(run("compare", "set.h5", "out.lmdb", "--digests"))
    assert "MB/s" in done(run("verify", "out.lmdb", "--rebuild-levels"))
    err = done(run("inspect", "back.h5"))
    assert "to lmdb, then to hdf5" in err
    assert listing(tmp_path) == ["back.h5", "out.lmdb", "set.h5"]


def test_the_files_of_other_tools(run: Run, pyramid: Path, tmp_path: Path) -> None:
    err = done(run("convert", "set.h5", "out.zip", "--resolution", 8))
    assert "out.zip (stylegan-zip: 1 file, " in err
    assert "labels          2 classes" in err
    done(run("convert", "set.h5", "tf", "--to", "tfrecord"))
    done(run("convert", "set.h5", "png", "--to", "folder", "--no-labels"))
    code, out, _ = run("convert", "set.h5", "old.h5", "--to", "hdf5-2017", "--json", "-")
    assert (code, json.loads(out)["resolutions"]) == (0, [1, 2, 4, 8, 16])
    assert listing(tmp_path / "png") == [*(f"00000{row}.png" for row in range(6)), "dataset.json"]
    assert listing(tmp_path / "tf") == [*(f"tf-r0{level}.tfrecords" for level in (2, 3, 4)), "tf-rxx.labels"]
    assert listing(tmp_path) == ["old-labels.npy", "old.h5", "out.zip", "png", "set.h5", "tf"]
    assert "is not a pyramid but a source of images (hdf5_2017: " in refused(run("inspect", "old.h5"))


def test_different_sets_end_with_code_1(run: Run, pyramid: Path, tmp_path: Path) -> None:
    images = noise(6)
    images[4] = 0
    write(tmp_path / "other.h5", images, labels=[0, 1, 0, 1, 0, 1], label_names=["cat", "dog"])
    result = run("compare", "set.h5", "other.h5", "--json", "-")
    line = refused(result)
    assert line.startswith(
        "error: set.h5 and other.h5 differ in data4x4, data8x8, data16x16; the first: data4x4: row 4 "
    )
    found = json.loads(result[1])
    assert found["equal"] is False
    assert [difference["count"] for difference in found["differences"]] == [1, 1, 1]


def test_split_merge_append_extract(run: Run, pyramid: Path, tmp_path: Path) -> None:
    code, out, _ = run("split", "set.h5", "a.h5", "b.lmdb", "--counts", "4,2", "--by-label", "--seed", 5, "--json", "-")
    assert code == 0
    assert [part["num_images"] for part in json.loads(out)] == [4, 2]
    assert open_pyramid(tmp_path / "b.lmdb").labels().tolist().count(0) == 1
    err = done(run("split", "set.h5", "a.h5", "b.lmdb", "--counts", "4,2", "--by-label", "--seed", 5))
    assert "4 of them were there" in err
    done(run("merge", "all.lmdb", "a.h5", "b.lmdb", "--encoding", "png"))
    reader = open_pyramid(tmp_path / "all.lmdb")
    rows = [int(name[5:8]) for name in reader.sources()]
    assert sorted(rows) == list(range(6))
    assert_rows(tmp_path / "all.lmdb", noise(6)[rows])
    done(run("append", "all.lmdb", "set.h5"))
    assert_rows(tmp_path / "all.lmdb", np.concatenate([noise(6)[rows], noise(6)]))
    assert "a.h5 (4 rows, content " in done(run("inspect", "all.lmdb"))
    err = done(run("extract", "all.lmdb", "some", "--rows", "0,3-5", "--resolution", 8))
    assert "some: 4 images of 8x8, and index.json" in err
    code, out, _ = run("extract", "all.lmdb", "more", "--num", 3, "--seed", 2, "--json", "-")
    assert (code, len(json.loads(out)["images"])) == (0, 3)
    assert "3 images of all.lmdb" in done(run("show", "all.lmdb", "sheet.png", "--num", 3))


def test_new_images_are_appended_as_the_old_ones_were_made(run: Run, tmp_path: Path) -> None:
    for folder, count in (("old", 3), ("new", 2)):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(noise(count, 24, seed=count)):
            Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / folder / f"{number}.png")
    done(run("make-pyramid", "old", "set.h5", "--resolution", 8, "--filter", "box"))
    (tmp_path / "new" / "bad.png").write_text("hello")
    assert "bad.png is not an image" in refused(run("append", "set.h5", "new"))
    done(run("append", "set.h5", "new", "--skip-bad"))
    reader = open_pyramid(tmp_path / "set.h5")
    means = np.concatenate([noise(count, 24, seed=count).reshape(count, 3, 8, 3, 8, 3) for count in (3, 2)])
    exact = means.mean(axis=(3, 5))
    assert np.abs(reader.level(3)[:] - exact).max() < 1  # Pillow rounds after each of two passes
    assert listing(tmp_path) == ["new", "old", "set.h5", "set.h5.ledger.jsonl"]
    assert "ledger matches" in done(run("verify", "set.h5"))


WRONG = {
    ("convert", "set.h5", "out"): (
        2,
        "its suffix does not say what to make; use one of .h5, .lmdb, .zip, or pass --to",
    ),
    ("convert", "set.h5", "out", "--to", "jpeg"): (2, "Invalid value for '--to'"),
    ("convert", "set.h5", "out", "--to", "lmdb"): (2, "the name of a pyramid of the format lmdb ends in .lmdb"),
    ("convert", "set.h5", "out.zip", "--shards", "2"): (2, "--encoding, --shards and --overwrite are for pyramids"),
    ("convert", "set.h5", "out", "--to", "folder", "--overwrite"): (2, "are for pyramids, not for folder"),
    ("convert", "set.h5", "out.h5", "--encoding", "png"): (1, ".h5 files cannot store pixels as 'png'"),
    ("convert", "set.h5", "out.h5", "--resolution", "32"): (1, "has no level of 32 pixels; it has 4, 8, 16"),
    ("convert", "set.h5", "out.zip", "--resolution", "17"): (2, "--resolution 17 is not a side a pyramid can have"),
    ("convert", "set.h5", "set.h5"): (1, "set.h5 is what would be read; choose another name"),
    ("convert", "set.h5", "set.h5", "--overwrite"): (1, "set.h5 is what would be read"),
    ("convert", "set.h5", "mine.h5"): (1, "mine.h5 exists already; choose another name"),
    ("convert", "set.h5", "folder.h5", "--overwrite"): (1, "folder.h5 is a folder"),
    ("convert", "set.h5", "missing/out.h5"): (1, "missing does not exist; create it first"),
    ("convert", "set.h5", "out.h5", "--shards", "7"): (1, "6 images cannot be cut into 7 shards"),
    ("convert", "set.h5", "out.h5", "--json", "missing/a.json"): (1, "missing does not exist; create it first"),
    ("convert", "none.h5", "out.h5"): (1, "none.h5 does not exist; name a pyramid"),
    ("convert", "text", "out.h5"): (1, "text is not a pyramid"),
    ("merge", "out.h5"): (2, "Missing argument 'PYRAMIDS...'"),
    ("merge", "out.h5", "set.h5", "coarse.h5"): (1, "make both equal with --resolution 8"),
    ("merge", "out.h5", "set.h5", "text"): (1, "text is not a pyramid"),
    ("merge", "set.h5", "set.h5", "--overwrite"): (1, "set.h5 is what would be read"),
    ("merge", "out.h5", "set.h5", "plain.h5"): (1, "plain.h5 has no labels, but set.h5 has; pass --no-labels"),
    ("append", "set.h5", "coarse.h5", "--no-labels"): (1, "make both equal with --resolution 8"),
    ("append", "set.h5", "none"): (1, "none does not exist"),
    ("append", "text", "set.h5"): (1, "text is not a pyramid"),
    ("append", "set.h5", "set.h5", "--as", "nothing"): (2, "Invalid value for '--as'"),
    ("split", "set.h5", "a.h5", "b.h5"): (2, "pass --fractions or --counts, one of the two"),
    ("split", "set.h5", "a.h5", "--counts", "1", "--fractions", "0.1"): (2, "one of the two"),
    ("split", "set.h5", "a.h5", "--fractions", "0.5,0.5"): (2, "2 shares for 1 outputs; give every output one"),
    ("split", "set.h5", "a.h5", "--fractions", "half"): (2, "'half' is not numbers such as 0.9,0.1"),
    ("split", "set.h5", "a.h5", "--fractions", "1/0"): (2, "'1/0' is not numbers"),
    ("split", "set.h5", "a.h5", "--fractions", "-0.5"): (2, "'-0.5' is not numbers such as 0.9,0.1, all above 0"),
    ("split", "set.h5", "a.h5", "--counts", "1.5"): (2, "'1.5' is not whole numbers such as 900,100, all above 0"),
    ("split", "set.h5", "a.h5", "b.h5", "--fractions", "0.9,0.2"): (2, "--fractions add up to 1.1, more than 1"),
    ("split", "set.h5", "a.h5", "b.h5", "--counts", "5,2"): (1, "--counts ask for 7 rows, but there are 6"),
    ("split", "set.h5", "a.h5", "b.h5", "--fractions", "0.99,0.01"): (1, "part 2 of 6 rows would be empty"),
    ("split", "set.h5", "a.h5", "a.h5", "--counts", "3,3"): (1, "a.h5 is named twice"),
    ("split", "set.h5", "a.h5", "mine.h5", "--counts", "3,3"): (1, "mine.h5 exists already"),
    ("split", "plain.h5", "a.h5", "b.h5", "--counts", "1,1", "--by-label"): (1, "has no labels to split by"),
    ("extract", "set.h5", "out"): (2, "pass --rows or --num, one of the two"),
    ("extract", "set.h5", "out", "--rows", "0", "--num", "1"): (2, "one of the two"),
    ("extract", "set.h5", "out", "--rows", "6"): (1, "--rows 6: there is no row 6; the rows are 0 to 5"),
    ("extract", "set.h5", "out", "--rows", "x"): (2, "'x' is no row and no range"),
    ("extract", "set.h5", "out", "--rows", "3-1"): (2, "--rows 3-1: 3-1 runs backwards; write 1-3"),
    ("split", "set.h5", "a.xyz", "--counts", "1"): (2, "the suffix .xyz names no format"),
    ("merge", "out.xyz", "set.h5"): (2, "the suffix .xyz names no format"),
    ("merge", "out.h5", "set.h5", "--resolution", "100"): (2, "--resolution 100 is not a side"),
    ("extract", "set.h5", "out", "--num", "0"): (2, "Invalid value for '--num'"),
    ("extract", "set.h5", "mine.h5", "--num", "1"): (1, "mine.h5 exists already"),
    ("compare", "set.h5"): (2, "Missing argument 'B'"),
    ("compare", "set.h5", "text"): (1, "text is not a pyramid"),
    ("verify", "set.h5", "--jobs", "0"): (2, "Invalid value for '--jobs'"),
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_use(run: Run, pyramid: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write(tmp_path / "coarse.h5", noise(2, 8), labels=[0, 1], label_names=["cat", "dog"])
    write(tmp_path / "plain.h5", noise(2))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "mine.h5").write_text("mine")
    (tmp_path / "folder.h5").mkdir()
    before, content = listing(tmp_path), pyramid.read_bytes()
    code, message = WRONG[arguments]
    assert message in refused(run(*arguments), code)
    assert listing(tmp_path) == before
    assert pyramid.read_bytes() == content
    assert (tmp_path / "mine.h5").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "set.h5", "out.lmdb"),
        ("convert", "set.h5", "out", "--to", "tfrecord"),
        ("merge", "out.h5", "set.h5", "set.h5"),
        ("split", "set.h5", "a.h5", "--counts", "5"),
        ("extract", "set.h5", "out", "--rows", "0-5"),
        ("append", "good.h5", "set.h5"),
    ],
    ids=" ".join,
)
def test_damaged_input(run: Run, pyramid: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write(tmp_path / "good.h5", noise(2), labels=[0, 1], label_names=["cat", "dog"])
    with h5py.File(pyramid, "r+") as file:
        file["data16x16"][:, 1, 2, 3] ^= 1
    before, content = listing(tmp_path), (tmp_path / "good.h5").read_bytes()
    assert "set.h5: data16x16, row " in refused(run(*arguments))
    assert listing(tmp_path) == before
    assert (tmp_path / "good.h5").read_bytes() == content


def started(tmp_path: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """A command that is busy writing the hidden output."""
    process = subprocess.Popen([sys.executable, "-m", "toolkit.cli", *arguments], stderr=subprocess.PIPE, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out*.partial")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    return process


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A pyramid that takes some seconds to encode."""
    return write(tmp_path / "large.h5", noise(200, 256))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_conversion_goes_on(run: Run, large: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, "convert", large, "out.lmdb", "--encoding", "webp")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "stopped before the end; run the same command again to go on\n" in stderr.decode()
        assert "Traceback" not in stderr.decode()
    assert not (tmp_path / "out.lmdb").exists()
    done(run("convert", large, "out.lmdb", "--encoding", "webp"))
    digest = open_pyramid(large).manifest.content_digest
    assert open_pyramid(tmp_path / "out.lmdb").manifest.content_digest == digest
    assert listing(tmp_path) == ["large.h5", "out.lmdb"]


def test_an_interrupted_export_leaves_nothing(large: Path, tmp_path: Path) -> None:
    process = started(tmp_path, "convert", large, "out", "--to", "folder", "--jobs", "1")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing of it was left; run the same command again" in stderr.decode()
    assert listing(tmp_path) == ["large.h5"]
