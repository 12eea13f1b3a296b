"""The toolkit command as a user meets it: output, exit codes, one-line errors, nothing half-made."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from datasets.decode import decode
from datasets.formats import open_pyramid
from toolkit import cli, commands

Run = Callable[..., tuple[int, str, str]]
HUBBLE = "hubble_deep_field.jpg"  # inside scikit-image, a dependency


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Function that runs the command in this process: exit code, stdout, stderr."""

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
def photos(tmp_path: Path) -> Path:
    """Five images of 24x20."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def built(run: Run, photos: Path, tmp_path: Path) -> Path:
    assert run("make-pyramid", photos, tmp_path / "set.h5", "--resolution", 16)[0] == 0
    return tmp_path / "set.h5"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(result: tuple[int, str, str], code: int = 1) -> str:
    """The one line in which a run ended."""
    assert result[0] == code
    assert result[1] == ""
    assert "Traceback" not in result[2]
    lines = [line for line in result[2].splitlines() if line.lower().startswith("error: ")]
    assert len(lines) == 1
    assert result[2].splitlines()[-1] == lines[0]
    return lines[0]


def test_from_photographs_to_a_contact_sheet(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "set.h5"
    code, stdout, stderr = run("make-pyramid", photos, out, "--resolution", 16, "--shuffle", 1, "--json", "-")
    assert code == 0
    summary = json.loads(stdout)
    assert (summary["rows"], summary["levels"], summary["applied"]) == (5, [4, 8, 16], {"cropped": 5, "reduced": 5})
    assert "5 used, 0 left out" in stderr
    assert f"content digest  {summary['content_digest']}" in stderr
    assert open_pyramid(out).manifest.content_digest == summary["content_digest"]

    code, stdout, stderr = run("inspect", out, "--json", "-")
    assert code == 0
    assert json.loads(stdout)["content_digest"] == summary["content_digest"]
    assert "5 of 16x16, uint8 RGB" in stderr
    assert "shuffle 1" in stderr

    code, stdout, stderr = run("verify", out, "--json", tmp_path / "verified.json")
    assert (code, stdout) == (0, "")
    assert json.loads((tmp_path / "verified.json").read_text())["ok"] is True
    assert "5 rows of every level" in stderr

    code, stdout, stderr = run("show", out, tmp_path / "sheet.png", "--num", 3)
    assert (code, stdout) == (0, "")
    assert decode(tmp_path / "sheet.png", "sheet").shape[1] > 3 * 128
    assert listing(tmp_path) == ["photos", "set.h5", "set.h5.ledger.jsonl", "sheet.png", "verified.json"]


def test_the_hubble_deep_field_in_tiles(run: Run, tmp_path: Path) -> None:
    """The demo's data set: one photograph of 1000x872, given as a file and as the only image of a folder."""
    skimage = Path(str(find_spec("skimage").origin)).parent  # found without importing it
    (tmp_path / "sky").mkdir()
    shutil.copy(skimage / "data" / HUBBLE, tmp_path / "sky")
    results = []
    for source, out in (("sky", "a.h5"), (f"sky/{HUBBLE}", "b.h5")):
        tile = ("--tile", 32, "--stride", 8, "--json", "-")
        code, stdout, _ = run("make-pyramid", tmp_path / source, tmp_path / out, *tile)
        assert code == 0
        results.append(json.loads(stdout))
    assert results[0]["rows"] == results[1]["rows"] == 12_932
    assert results[0]["content_digest"] == results[1]["content_digest"]
    assert results[0]["provenance"]["source"] == "sky"


def test_equal_builds_are_equal_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    """In processes of their own, at different times, with different numbers of threads."""
    for number in (1, 2):
        out = tmp_path / f"{number}.h5"
        command = [
            sys.executable,
            "-m",
            "toolkit.cli",
            "make-pyramid",
            photos,
            out,
            "--resolution",
            "8",
            "--shuffle",
            "3",
        ]
        subprocess.run([*command, "--jobs", str(number)], check=True, capture_output=True)
        time.sleep(1)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    one, two = (tmp_path / f"{number}.h5.ledger.jsonl" for number in (1, 2))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("command", [*(name.replace("_", "-") for name in commands.names()), None])
def test_help_has_examples(run: Run, command: str | None) -> None:
    code, stdout, _ = run(*([command] if command else []), "--help")
    assert code == 0
    assert "Examples:" in stdout
    examples = stdout.split("Examples:\n")[1].split("\n\n")[0].splitlines()  # one a line, not filled to a paragraph
    assert all(line.startswith("    toolkit ") for line in examples)


def test_help_names_every_source_and_filter(run: Run) -> None:
    stdout = run("make-pyramid", "--help")[1]
    assert "A folder of image files" in stdout
    assert "A single image file" in stdout
    assert "lanczos|bicubic|bilinear|box|area" in stdout


def test_starting_is_quick() -> None:
    heavy = "{'torch', 'scipy', 'skimage', 'cv2', 'joblib', 'h5py', 'matplotlib', 'pandas'}"
    code = f"import sys, toolkit.cli, datasets.formats; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(run: Run) -> None:
    assert run("--version")[1].startswith("toolkit, version ")


SOURCES = {
    "missing": (lambda path: None, r"does not exist"),
    "empty folder": (lambda path: path.mkdir(), "source is empty; name a folder of images"),
    "empty file": (lambda path: path.touch(), "source is empty; name a source of images"),
    "folder of texts": (lambda path: (path.mkdir(), (path / "a.txt").write_text("x")), "holds no images"),
    "not an image": (lambda path: (path.mkdir(), (path / "a.png").write_text("hello")), "a.png is not an image"),
    "empty image": (lambda path: (path.mkdir(), (path / "a.png").write_bytes(b"")), "a.png is empty, not an image"),
    "text file": (lambda path: path.write_text("hello"), "is no source of images"),
    "too small": (lambda path: (path.mkdir(), Image.new("RGB", (9, 15)).save(path / "a.png")), "enlarged from 9 to 16"),
    "float": (
        lambda path: (path.mkdir(), Image.new("F", (16, 16)).save(path / "a.tif")),
        "a.tif stores floats, which have no defined white",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("more", [(), ("--skip-bad",)])
def test_bad_sources(run: Run, tmp_path: Path, kind: str, more: tuple[str, ...]) -> None:
    prepare, message = SOURCES[kind]
    prepare(tmp_path / "source")
    before = listing(tmp_path)
    result = run("make-pyramid", tmp_path / "source", tmp_path / "set.h5", "--resolution", 16, *more)
    assert message in refused(result)
    assert listing(tmp_path) == before


def test_a_truncated_image_is_named_and_can_be_skipped(run: Run, photos: Path, tmp_path: Path) -> None:
    content = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(content[: len(content) // 2])
    arguments = ("make-pyramid", photos, tmp_path / "set.h5", "--resolution", 16)
    line = refused(run(*arguments))
    assert "3.png cannot be decoded (image file is truncated" in line
    assert "pass --skip-bad" in line
    assert listing(tmp_path) == [".set.h5.journal.partial", ".set.h5.partial", "photos"]
    code, stdout, stderr = run(*arguments, "--skip-bad", "--json", "-")
    assert code == 0
    assert "4 used, 1 left out" in stderr
    assert json.loads(stdout)["skipped"] == 1
    assert "skipped: 3.png cannot be decoded" in run("inspect", tmp_path / "set.h5")[2]


OPTIONS = {
    ("--crop", "none", "--resolution", "16"): (1, "is not square (24x20); use --crop centre or square images"),
    ("--resolution", "32"): (1, "would have to be enlarged from 20 to 32 pixels"),
    ("--resolution", "17"): (2, "--resolution 17 is not a side a pyramid can have"),
    ("--resolution", "-4"): (2, "--resolution -4 is not a side"),
    (): (1, "the crops are 20 pixels wide, so the side of a row must be said: pass --resolution 16 or less"),
    ("--tile", "64"): (1, "holds no tile: 24x20 is less than 64x64"),
    ("--tile", "12"): (1, "the crops are 12 pixels wide"),
    ("--tile", "8", "--resolution", "16"): (1, "enlarged from 8 to 16"),
    ("--tile", "0"): (2, "Invalid value for '--tile'"),
    ("--tile", "8", "--stride", "0"): (2, "Invalid value for '--stride'"),
    ("--tile", "8", "--crop", "centre"): (2, "--crop, --box and --tile exclude each other"),
    ("--stride", "8"): (2, "--stride needs --tile"),
    ("--resolution", "big"): (2, "Invalid value for '--resolution'"),
    ("--filter", "nearest"): (2, "Invalid value for '--filter'"),
    ("--background", "reddish"): (2, "'reddish' is no colour; use a name such as white, or #rrggbb"),
    ("--shuffle", "-1"): (2, "Invalid value for '--shuffle'"),
    ("--max-images", "0"): (2, "Invalid value for '--max-images'"),
    ("--jobs", "0"): (2, "Invalid value for '--jobs'"),
    ("--resolutoin", "16"): (2, "No such option"),
    ("--resolution", "16", "--scheduler", "foo"): (
        2,
        "--scheduler foo is no address of a Dask scheduler; write dask://",
    ),
    ("--resolution", "16", "--max-pixels", "100"): (1, "has 24x20 pixels, more than the 100 allowed"),
    ("--resolution", "16", "--json", "missing/a.json"): (1, "missing does not exist; create it first"),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_bad_options(run: Run, photos: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    code, message = OPTIONS[options]
    assert message in refused(run("make-pyramid", photos, tmp_path / "set.h5", *options), code)
    assert listing(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("set", "the suffix (none) names no format; use one of .h5"),
        ("set.zip", "the suffix .zip names no format; use one of .h5"),
        ("missing/set.h5", "missing does not exist; create it first"),
        ("photos", "the suffix (none) names no format"),
        ("folder.h5", "is a folder; name a file to write"),
        ("mine.h5", "exists already; choose another name, remove it, or pass --overwrite"),
    ],
)
def test_bad_outputs(run: Run, photos: Path, tmp_path: Path, out: str, message: str) -> None:
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "mine.h5").write_text("mine")
    before = listing(tmp_path)
    code = 2 if "names no format" in message else 1
    assert message in refused(run("make-pyramid", photos, tmp_path / out, "--resolution", 16), code)
    assert listing(tmp_path) == before
    assert (tmp_path / "mine.h5").read_text() == "mine"


def test_an_output_that_may_not_be_written(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # tests may run as root, whom no permission stops
    line = refused(run("make-pyramid", photos, tmp_path / "set.h5", "--resolution", 16))
    assert line == f"error: cannot write {tmp_path / 'set.h5'}: no permission to write into {tmp_path}"


def damaged(path: Path, kind: str) -> None:
    """Damage a data set, or put something else in its place."""
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "cut by a byte":
        path.write_bytes(content[: len(content) - 33 - int.from_bytes(content[-16:-8], "little")])  # of the HDF5 part
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "head overwritten":
        path.write_bytes(content[:8] + bytes(400) + content[408:])
    elif kind == "no manifest":
        with h5py.File(path, "r+") as file:
            del file["manifest"]
    elif kind == "manifest changed":
        path.write_bytes(content.replace(b'"num_images": 5', b'"num_images": 4'))


DAMAGES = {
    "missing": "does not exist; name a pyramid",
    "folder": "is not a pyramid",
    "cut short": "cannot be read as HDF5",
    "cut by a byte": "cannot be read as HDF5",
    "empty": "is not a pyramid",
    "text": "is not a pyramid",
    "head overwritten": "cannot be read as HDF5",
    "no manifest": "has no manifest: it is an unfinished build or another tool's file",
    "manifest changed": "the manifest does not match its own digest",
}


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("command", [("inspect",), ("verify",), ("show", "sheet.png")])
def test_bad_data_sets(run: Run, built: Path, tmp_path: Path, kind: str, command: tuple[str, ...]) -> None:
    damaged(built, kind)
    before = listing(tmp_path)
    expected = DAMAGES[kind]
    if (command[0], kind) == ("inspect", "no manifest"):
        expected = "is not a pyramid but a source of images (hdf5_2017: "
    assert expected in refused(run(command[0], built, *(tmp_path / name for name in command[1:])))
    assert listing(tmp_path) == before


def test_a_flipped_byte_ends_verify_with_code_1_and_says_where(run: Run, built: Path, tmp_path: Path) -> None:
    with h5py.File(built, "r") as file:
        position = file["data8x8"].id.get_offset() + 3 * 192 + 77
    content = bytearray(built.read_bytes())
    content[position] ^= 64
    built.write_bytes(content)
    code, stdout, stderr = run("verify", built, "--json", "-")
    assert code == 1
    assert json.loads(stdout)["faults"] == ["data8x8, row 3 (3.png): the pixels do not match their digest"]
    assert stderr.splitlines()[-1] == (
        f"error: {built} is damaged: 1 fault, the first: data8x8, row 3 (3.png): "
        "the pixels do not match their digest; build it again"
    )


def test_a_dry_run_of_what_does_not_fit_ends_with_code_1(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 2000, 2000))
    arguments = ("make-pyramid", photos, tmp_path / "set.h5", "--resolution", 16, "--dry-run", "--json", "-")
    code, stdout, stderr = run(*arguments)
    assert code == 1
    assert json.loads(stdout)["missing_bytes"] > 0
    assert "MISSING" in stderr
    assert "2.0 kB free; free space, choose another disk or a smaller" in stderr.splitlines()[-1]


def test_many_faults_are_not_all_printed(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert run("make-pyramid", tmp_path / "a.png", tmp_path / "set.h5", "--tile", 8)[0] == 0
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        file["data8x8"][...] = 0
    _, stdout, stderr = run("verify", tmp_path / "set.h5", "--json", "-")
    assert len(json.loads(stdout)["faults"]) == 64
    assert "... and 44 more" in stderr
    assert "64 faults, the first: data8x8, row 0" in stderr


def test_show_refuses_what_it_cannot_write(run: Run, built: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    before = listing(tmp_path)
    for out, message in (
        ("mine.png", "exists already"),
        ("a.jpg", "let its name end in .png"),
        ("no/a.png", "create it"),
    ):
        assert message in refused(run("show", built, tmp_path / out))
    assert "Invalid value for '--num'" in refused(run("show", built, tmp_path / "a.png", "--num", 0), 2)
    assert listing(tmp_path) == before


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A photograph whose tiles take some seconds to write."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "many.png")
    return tmp_path / "many.png"


def started(many: Path, out: Path) -> subprocess.Popen[bytes]:
    """A build that is busy writing rows."""
    command = [sys.executable, "-m", "toolkit.cli", "make-pyramid", many, out, "--tile", "64", "--stride", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not out.with_name(f".{out.name}.partial").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    return process


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_an_interrupted_build_goes_on(run: Run, many: Path, tmp_path: Path, numbers: list[signal.Signals]) -> None:
    process = started(many, tmp_path / "set.h5")
    for number in numbers:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.decode().splitlines()[-1] == "interrupted"
    assert "stopped before the end; run the same command again to go on" in stderr.decode()
    assert "Traceback" not in stderr.decode()
    assert set(listing(tmp_path)) <= {".set.h5.journal.partial", ".set.h5.partial", "many.png"}
    assert run("make-pyramid", many, tmp_path / "set.h5", "--tile", 64, "--stride", 4)[0] == 0
    assert listing(tmp_path) == ["many.png", "set.h5", "set.h5.ledger.jsonl"]


def test_a_killed_build_leaves_nothing_that_looks_whole(run: Run, many: Path, tmp_path: Path) -> None:
    process = started(many, tmp_path / "set.h5")
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "set.h5").exists()
    assert not (tmp_path / "set.h5.ledger.jsonl").exists()
    for leftover in tmp_path.glob(".*"):
        assert leftover.name.endswith(".partial")
        assert run("inspect", leftover)[0] == 1
