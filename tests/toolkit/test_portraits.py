import dataclasses
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from portrait_photos import CountingFinder, face, photograph, write_photos

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import ledger
from toolkit.build import build
from toolkit.celebahq import recipe
from toolkit.celebahq.faces.files import open_file
from toolkit.celebahq.faces.policy import FacePolicy
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.photographs import decode_photo
from toolkit.celebahq.portraits import Portraits
from toolkit.celebahq.stages import Stages
from toolkit.engine.journal import Journal
from toolkit.engine.output import Output
from toolkit.engine.workers import Threads
from toolkit.options import Options
from toolkit.selection import kind_of
from toolkit.sources import open_source
from toolkit.transforms import Crop

# In photographs of 96x80: one whole face, none, three of which one is small, one that the border cuts.
FACES = {
    "a.png": [face(40, 36, 14)],
    "b.png": [],
    "c/one.png": [face(22, 40, 9), face(50, 36, 12), face(80, 40, 4)],
    "d.png": [face(8, 30, 12)],
}
STAGES = Stages(resolution=16, direct=True, supersampling=2)


@pytest.fixture
def finder():
    return CountingFinder(FACES)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    write_photos(folder, FACES)
    return folder


@pytest.fixture
def portraits(photos, finder, bars):
    def portraits(*, stages=STAGES, found_by=finder, prepared=True, **policy):
        source = Portraits(open_source(photos), found_by, FacePolicy(**policy), stages)
        if prepared:
            source.prepare(Threads(2), None, bars)
        return source

    return portraits


@pytest.fixture
def make(tmp_path, bars):
    def make(source, out="set.h5", *, said=None, **options):
        options = {"resolution": 16, "crop": Crop("none"), "labels": False, **options}
        say = [].append if said is None else said.append
        return build(source, Output(path=tmp_path / out), Options(**options), jobs=2, progress=bars, say=say)

    return make


def test_every_face_is_an_image_in_the_order_of_photographs_and_from_left_to_right(portraits):
    source = portraits(which="all")
    items = [source[index] for index in range(len(source))]
    assert [item.name for item in items] == ["a.png", "b.png", "c/one.png#1", "c/one.png#2", "c/one.png#3", "d.png"]
    assert [item.left_out for item in items] == [None, "no face: no face was found in it", None, None, None, None]
    assert len({item.stamp for item in items}) == 4
    with pytest.raises(IndexError):
        source[6]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, ["a.png", "c/one.png#2", "d.png"]),
        ({"which": "one"}, ["a.png", "d.png"]),
        ({"which": "one", "min_face": 40}, ["a.png", "c/one.png#2", "d.png"]),
        ({"which": "all", "min_face": 30}, ["a.png", "c/one.png#1", "c/one.png#2", "d.png"]),
        ({"border": "skip"}, ["a.png", "c/one.png#2"]),
    ],
)
def test_policies_leave_faces_out_and_say_why(portraits, policy, kept):
    source = portraits(**policy)
    items = [source[index] for index in range(len(source))]
    assert [item.name for item in items if item.left_out is None] == kept
    assert {kind_of(item.left_out) for item in items if item.left_out is not None} <= {"no face", "face left out"}


def test_reading_makes_the_portrait_and_tells_how(portraits, photos):
    source = portraits(which="all")
    done = source[3].read()
    pixels = np.asarray(Image.open(photos / "c/one.png"))
    square = oriented_square(FACES["c/one.png"][1], "x")
    expected = recipe.render(pixels, square, "x", resolution=16, direct=True, supersampling=2)
    assert np.array_equal(done.pixels, expected.pixels)
    assert done.applied == expected.applied
    assert source[3].size() == (16, 16)
    facts = done.details
    assert (facts["photo"]["width"], facts["photo"]["height"], facts["photo"]["format"]) == (96, 80, "PNG")
    assert facts["photo"]["bytes"] == (photos / "c/one.png").stat().st_size
    assert (facts["face"]["number"], facts["face"]["of"], facts["face"]["confidence"]) == (2, 3, 0.9)
    assert facts["face"]["landmarks"] == FACES["c/one.png"][1].tolist()
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    "other",
    [{"geometry": "ffhq"}, {"supersampling": 1}, {"superres": False}, {"padding": False}, {"direct": False}],
)
def test_every_stage_can_be_turned_off_and_the_settings_tell(portraits, other):
    stages = dataclasses.replace(STAGES, resolution=64)  # more than the face has
    changed = dataclasses.replace(stages, **other)
    one, two = portraits(stages=stages), portraits(stages=changed)
    assert one.settings != two.settings
    assert one.identity() != two.identity()
    last = len(one) - 1  # the face that the border cuts
    assert not np.array_equal(one[last].read().pixels, two[last].read().pixels)
    assert ("pad" in two[last].read().applied) == changed.padding


def test_the_source_pickles_with_what_was_found(portraits, finder):
    source = portraits()
    finder.looked.clear()
    again = pickle.loads(pickle.dumps(dataclasses.replace(STAGES)))
    assert again == STAGES
    # The stand-in finder holds a lock, as no real one does in a pickle.
    photos, _, policy, stages, found = source.__reduce__()[1]
    other = Portraits(pickle.loads(pickle.dumps(photos)), finder, *pickle.loads(pickle.dumps((policy, stages, found))))
    assert [other[k].name for k in range(len(other))] == [source[k].name for k in range(len(source))]
    assert np.array_equal(other[0].read().pixels, source[0].read().pixels)
    assert finder.looked == []


def test_a_real_landmark_file_and_its_pickle(portraits, photos):
    source = portraits(found_by=open_file(photos.parent / "landmarks.csv"))
    again = pickle.loads(pickle.dumps(source))
    assert [again[k].name for k in range(len(again))] == [source[k].name for k in range(len(source))]
    assert np.array_equal(again[0].read().pixels, source[0].read().pixels)
    assert source.settings["faces"]["file"] == "landmarks.csv"
    assert str(photos.parent) not in json.dumps(source.settings)


def test_what_was_found_is_not_looked_for_again(tmp_path, portraits, finder, bars):
    first = portraits(prepared=False)
    with Journal(tmp_path / "set.h5", {"a": 1}) as journal:
        first.prepare(Threads(2), journal, bars)
        first.prepare(Threads(2), journal, bars)
    assert sorted(finder.looked) == sorted(FACES)
    finder.looked.clear()
    second = portraits(prepared=False)
    with Journal(tmp_path / "set.h5", {"a": 1}) as journal:
        second.prepare(Threads(2), journal, bars)
    assert finder.looked == []
    names = [[source[k].name for k in range(len(source))] for source in (first, second)]
    assert names[0] == names[1]
    assert np.array_equal(first[0].read().pixels, second[0].read().pixels)
    assert first[0].stamp == second[0].stamp


def test_a_photograph_that_changed_and_one_that_was_bad_are_searched_again(tmp_path, portraits, photos, finder, bars):
    finder.bad = ["d.png"]
    with Journal(tmp_path / "set.h5", {}) as journal:
        portraits(prepared=False).prepare(Threads(1), journal, bars)
    finder.looked.clear()
    finder.bad = []
    Image.fromarray(photograph(99)).save(photos / "a.png")
    source = portraits(prepared=False)
    with Journal(tmp_path / "set.h5", {}) as journal:
        source.prepare(Threads(1), journal, bars)
    assert finder.looked == ["a.png", "d.png"]
    assert source[len(source) - 1].left_out is None


def test_faces_of_another_photograph_are_never_used(portraits, photos):
    source = portraits()
    Image.fromarray(photograph(99)).save(photos / "a.png")
    for use in (source[0].read, source[0].check, source[0].size):
        with pytest.raises(InputError, match=r"a\.png has changed since its faces were found; run the same command"):
            use()


def test_a_bad_photograph_is_a_bad_image(make, portraits, photos, finder):
    (photos / "a.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"photos/a\.png .*; or pass --skip-bad to leave such images out"):
        make(portraits(prepared=False))
    summary = make(portraits(prepared=False), skip_bad=True)
    entries = list(ledger.read(summary.ledger))
    assert summary.skipped == {"bad": 1, "face left out": 2, "no face": 1}
    assert entries[0].skipped.startswith("a.png ")
    assert str(photos) not in summary.ledger.read_text()
    assert open_pyramid(summary.path).sources() == ["c/one.png#2", "d.png"]


def test_a_photograph_that_is_damaged_behind_its_header(make, portraits, photos, finder):
    """A landmark file does not look at the pixels; --skip-bad does, without making the portrait."""
    content = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(content[: len(content) // 2])
    source = portraits(prepared=False, found_by=open_file(photos.parent / "landmarks.csv"))
    with pytest.raises(InputError, match=r"a\.png .*pass --skip-bad"):
        make(source)
    for path in photos.parent.glob(".set*"):
        path.unlink()
    rendered = []
    with pytest.MonkeyPatch.context() as patch:
        real = recipe.render
        patch.setattr(recipe, "render", lambda *args, **more: (rendered.append(args[2]), real(*args, **more))[1])
        summary = make(source, skip_bad=True)
    assert summary.images == 2
    assert len(rendered) == 2  # once each: the check needs no portrait


def test_landmarks_of_celeba_are_for_photographs_as_they_are_stored(portraits, photos, bars):
    """Others are for upright ones."""
    tags = Image.Exif()
    tags[274] = 6
    stored = photograph(3, (96, 80))
    for path in photos.rglob("*.png"):
        path.unlink()
    Image.fromarray(stored).save(photos / "000001.jpg", quality=95, subsampling=0, exif=tags)
    points = face(70, 30, 9)
    cells = " ".join(f"{value:.0f}" for value in points.ravel())
    names = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    (photos.parent / "celeba.txt").write_text(f"1\n{names}\n000001.jpg {cells}\n")
    done = portraits(found_by=open_file(photos.parent / "celeba.txt"))[0].read()
    pixels = decode_photo((photos / "000001.jpg").read_bytes(), "x")
    assert pixels.shape == (80, 96, 3)
    square = oriented_square(np.rint(points), "x")
    expected = recipe.render(pixels, square, "x", resolution=16, direct=True, supersampling=2)
    assert np.array_equal(done.pixels, expected.pixels)
    assert (done.details["photo"]["width"], done.details["photo"]["height"]) == (96, 80)
    upright = portraits(found_by=CountingFinder({"000001.jpg": [points]}))[0].read()
    assert (upright.details["photo"]["width"], upright.details["photo"]["height"]) == (80, 96)
    assert upright.applied[0] == "exif"


def test_landmarks_that_name_no_photograph_are_refused_before_any_work(make, portraits, photos, tmp_path):
    (tmp_path / "landmarks.csv").write_text((tmp_path / "landmarks.csv").read_text().replace(".png", "-x.png"))
    with pytest.raises(InputError, match=r"has no landmarks in .*landmarks\.csv"):
        make(portraits(prepared=False, found_by=open_file(tmp_path / "landmarks.csv")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks.csv", "photos"]


def test_the_manifest_and_the_ledger_say_how_portraits_were_made(make, portraits):
    summary = make(portraits(prepared=False))
    options = summary.manifest.options
    assert options["stages"] == STAGES.settings
    assert options["faces"] == {"finder": "counting", "which": "largest", "min_face": 0, "border": "keep"}
    assert summary.manifest.provenance["source"] == "photos"
    entries = list(ledger.read(summary.ledger))
    assert [entry.path for entry in entries if entry.rows] == ["a.png", "c/one.png#2", "d.png"]
    assert entries[0].format == "rendered"
    assert "pad" in entries[-1].applied
    assert "pad" not in entries[0].applied
    assert summary.skipped == {"face left out": 2, "no face": 1}
    assert summary.skipped_sheet is not None


def test_jobs_and_place_change_no_byte(make, portraits, photos):
    one = make(portraits(prepared=False), "1.h5")
    moved = photos.rename(photos.parent / "elsewhere").rename(photos)
    two = make(Portraits(open_source(moved), CountingFinder(FACES), FacePolicy(), STAGES), "2.h5")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.ledger.read_bytes() == two.ledger.read_bytes()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"superres": False, "superres_model": "x.pth"}, r"--superres-model x\.pth has nothing to do without"),
        ({"artifact_model": "missing.pth"}, r"missing\.pth"),
    ],
)
def test_models_are_checked_before_any_work(stages, message, tmp_path):
    from pathlib import Path

    with pytest.raises(InputError, match=message):
        Stages(**{name: Path(value) if isinstance(value, str) else value for name, value in stages.items()})
