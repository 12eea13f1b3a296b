"""CelebA-HQ with deltas through the commands: made, opened, checked, killed."""

import csv
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import synthetic_celeba
from PIL import Image

from datasets.formats import open_pyramid
from datasets.levels import pyramid
from toolkit import ledger

SIDE = 32
_KILLER = """
import os, signal, sys
from toolkit import build
from toolkit.celebahq import locking
from datasets import console
build.SAVE_SECONDS = 0
rows = int(sys.argv.pop(1))

class Meter:
    done = 0
    def __init__(self, bar):
        pass
    def add(self, count, size):
        Meter.done += count
        if Meter.done > rows:
            os.kill(os.getpid(), signal.SIGKILL)

build.Meter = locking.Meter = Meter
from toolkit.cli import main
main()
"""


def toolkit(*arguments, code=0, kill_after=None):
    """Run the command; stderr as text."""
    begin = ["-m", "toolkit.cli"] if kill_after is None else ["-c", _KILLER, str(kill_after)]
    done = subprocess.run(
        [sys.executable, *begin, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    """Bases of another recipe, so that all images are near."""
    return synthetic_celeba.make(tmp_path_factory.mktemp("cli") / "CelebA", side=128)


@pytest.fixture(scope="module")
def remade(celeba, tmp_path_factory):
    """The same photographs with images of 32 pixels and the toolkit's own deltas, so that all images are exact."""
    folder = tmp_path_factory.mktemp("remade")
    derived = folder / "derived"
    derived.mkdir()
    for name, image in zip(celeba.names, celeba.finals, strict=True):
        picture = Image.fromarray(image.transpose(1, 2, 0)).resize((SIDE, SIDE), Image.Resampling.BOX)
        picture.save(derived / name.replace(".jpg", ".png"))
    command = ["make-deltas", celeba.folder, derived, folder / "deltas", "--delta-side", SIDE, "--jobs", 1]
    toolkit(*command, code=-9, kill_after=2)
    assert not (folder / "deltas").exists()
    text = toolkit(*command, "--json", folder / "made.json")
    assert "going on where it was interrupted: 3 of 6 deltas are there" in text
    assert json.loads((folder / "made.json").read_text())["kept"] == 3
    return folder


def test_make_deltas_then_build(celeba, remade, tmp_path):
    """The round trip gives the same pixels, also after a kill in the middle of the build."""
    out = tmp_path / "again.h5"
    command = ["build-celebahq", celeba.folder, out, "--deltas", remade / "deltas", "--delta-side", SIDE, "--strict"]
    toolkit(*command, "--jobs", 1, code=-9, kill_after=3)
    assert not out.exists()
    text = toolkit(*command, "--json", tmp_path / "summary.json")
    assert "going on with an interrupted build" in text
    assert "30,000 (24,183 / 2,993 / 2,824)" in text
    rows = open_pyramid(out).level(5)
    for row, name in enumerate(celeba.names):
        wanted = np.asarray(Image.open(remade / "derived" / name.replace(".jpg", ".png"))).transpose(2, 0, 1)
        np.testing.assert_array_equal(rows[row], wanted)
    with (tmp_path / "again.h5.mapping.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["file"] for line in table] == list(celeba.names)
    assert [line["split"] for line in table] == list(synthetic_celeba.SPLITS)
    assert {line["match"] for line in table} == {"exact"}
    assert json.loads((tmp_path / "summary.json").read_text())["matches"]["exact"] == 6
    clean = tmp_path / "clean.h5"
    toolkit(*command[:2], clean, *command[3:])
    assert clean.read_bytes() == out.read_bytes()


def test_near_images_and_their_evidence(celeba, tmp_path):
    out = tmp_path / "near.h5"
    command = ["build-celebahq", celeba.folder, out, "--deltas", celeba.deltas, "--delta-side", 128]
    text = toolkit(*command, "--split", "val", "--json", tmp_path / "summary.json")
    assert "near" in text
    assert json.loads((tmp_path / "summary.json").read_text())["matches"]["near"] == 2
    rows = open_pyramid(out).level(7)
    for row, index in enumerate((2, 3)):
        error = np.abs(rows[row].astype(np.int64) - celeba.finals[index])
        assert error.max() < 64
        assert error.mean() < 3
    entries = list(ledger.read(ledger.path_of(out)))
    assert [entry.path for entry in entries] == ["162771.jpg", "182637.jpg"]
    for entry in entries:
        assert entry.details["near"]["place_confirmed"]
        assert len(entry.details["near"]["result_md5"]) == 32


def test_smaller_resolutions_and_subsets(celeba, remade, tmp_path):
    out = tmp_path / "small.h5"
    where = ["--deltas", remade / "deltas", "--delta-side", SIDE]
    toolkit("build-celebahq", celeba.folder, out, *where, "--resolution", 8, "--subset", "1,4-5")
    small = open_pyramid(out)
    assert small.manifest.resolution == 8
    assert list(small.sources()) == [celeba.names[index] for index in (1, 4, 5)]
    for row, index in enumerate((1, 4, 5)):
        name = celeba.names[index].replace(".jpg", ".png")
        wanted = np.asarray(Image.open(remade / "derived" / name)).transpose(2, 0, 1)
        np.testing.assert_array_equal(small.level(3)[row], pyramid(wanted)[3])


def test_what_is_broken_is_told_first(celeba, remade, tmp_path):
    """Before anything is made, in a table and one line; with --skip-bad the rest is built."""
    broken = tmp_path / "deltas"
    broken.mkdir()
    (broken / "image_list.txt").write_bytes((remade / "deltas" / "image_list.txt").read_bytes())
    with zipfile.ZipFile(remade / "deltas" / "deltas00000.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "delta00004.dat"}
    members["delta00001.dat"] = members["delta00001.dat"][:-40] + b"A" * 40
    synthetic_celeba.pack(broken / "deltas00000.zip", members)
    out = tmp_path / "out.h5"
    command = ["build-celebahq", celeba.folder, out, "--deltas", broken, "--delta-side", SIDE]
    text = toolkit(*command, code=1)
    assert text.splitlines()[-1].startswith("error: 2 of the 6 images cannot be made; the first: ")
    assert "deltas00000.zip holds no delta00004.dat" in text
    assert not out.exists()
    toolkit(*command, "--skip-bad")
    assert len(open_pyramid(out).level(5)) == 4
    left_out = [entry.path for entry in ledger.read(ledger.path_of(out)) if entry.skipped]
    assert left_out == [celeba.names[1], celeba.names[4]]
