"""``toolkit build-celebahq``, with deltas and without: what a user gives, gets and reads."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import synthetic_celeba
from PIL import Image
from portrait_photos import face, photograph, write_photos

from datasets.formats import open_pyramid
from toolkit import cli, ledger
from toolkit.celebahq import quality, recipe
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.mapping import COLUMNS
from toolkit.celebahq.photographs import decode_photo

SIDE = 64
# Photographs of CelebA by their names: the last of train, the first of val, and two of test.
NAMES = ["162770.png", "162771.png", "182638.png", "200000.png"]
SPLITS = ["train", "val", "test", "test"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Function that runs the command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["toolkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        code = stop.value.code
        return (1, out, f"{err}{code}\n") if isinstance(code, str) else (int(code or 0), out, err)

    return call


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A small CelebA whose deltas were made for what our own recipe gives, except for images 1 and 4."""

    def render(jpeg, landmarks):
        photo = decode_photo(jpeg, "photo")
        done = recipe.render(photo, oriented_square(landmarks, "photo"), "photo", resolution=SIDE, direct=True)
        pixels = done.pixels.transpose(2, 0, 1).copy()
        near = render.count in (1, 4)
        render.count += 1
        if near:
            pixels[:, ::3, ::5] += (pixels[:, ::3, ::5] < 255).astype(np.uint8)
        return pixels

    render.count = 0
    return synthetic_celeba.make(tmp_path_factory.mktemp("celeba") / "CelebA", side=SIDE, render=render)


@pytest.fixture
def celeba(released, tmp_path):
    """A copy of it, to be changed."""
    folder = shutil.copytree(released.folder, tmp_path / "CelebA")
    return type(released)(folder, folder / "deltas", *[getattr(released, name) for name in _KEPT])


_KEPT = ("names", "procs", "finals", "side")


@pytest.fixture
def photos(tmp_path):
    """Four photographs called like CelebA's, more and less sharp."""
    faces = {name: [face(45, 40, 10)] for name in NAMES}
    write_photos(tmp_path / "photos", faces, dict(zip(NAMES, [2.0, 0.0, 4.0, 0.7], strict=True)))
    return tmp_path / "photos"


@pytest.fixture
def build(run, photos, tmp_path):
    """Function that builds portraits of 32x32 from them."""

    def build(*options, source=photos, out="set.h5"):
        quick = ["--resolution", 32, "--direct", "--supersampling", 1]
        landmarks = [] if "--landmarks" in options else ["--landmarks", tmp_path / "landmarks.csv"]
        return run("build-celebahq", source, tmp_path / out, *quick, *landmarks, *options)

    return build


def table_of(path):
    with path.with_name(f"{path.name}.mapping.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names_of(path):
    return open_pyramid(path).sources()


# Without deltas


def test_portraits_from_photographs(build, photos, tmp_path):
    code, out, err = build("--json", "-")
    assert code == 0, err
    told = json.loads(out)
    assert (told["rows"], told["resolution"], told["matches"]) == (4, 32, {})
    assert told["options"]["best"] == 30_000
    reader = open_pyramid(tmp_path / "set.h5")
    for row, name in enumerate(NAMES):
        pixels = np.asarray(Image.open(photos / name))
        square = oriented_square(face(45, 40, 10), name)
        done = recipe.render(pixels, square, name, resolution=32, direct=True, supersampling=1)
        assert np.array_equal(reader.level(5)[row], done.pixels.transpose(2, 0, 1))
    entry = next(ledger.read(tmp_path / "set.h5.ledger.jsonl"))
    assert entry.details["score"] == quality.score(reader.level(5)[0].transpose(1, 2, 0).copy()).score
    assert "mapping" in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_mapping_tells_the_photograph_of_every_row(build, tmp_path):
    assert build("--shuffle", 3)[0] == 0
    table = table_of(tmp_path / "set.h5")
    assert tuple(table[0]) == COLUMNS
    assert [line["file"] for line in table] == names_of(tmp_path / "set.h5") != NAMES
    assert [line["row"] for line in table] == ["0", "1", "2", "3"]
    for line in table:
        place = NAMES.index(line["file"])
        assert line["orig_idx"] == str(int(NAMES[place][:6]) - 1)
        assert line["split"] == SPLITS[place]
        assert line["idx"] == line["match"] == line["final_md5"] == ""


def test_photographs_that_are_not_celebas_have_no_number(build, run, tmp_path, photos):
    (photos / "162771.png").rename(photos / "me, myself.png")
    text = (tmp_path / "landmarks.csv").read_text().replace("162771.png", '"me, myself.png"')
    (tmp_path / "landmarks.csv").write_text(text)
    assert build()[0] == 0
    last = table_of(tmp_path / "set.h5")[-1]
    assert (last["file"], last["orig_idx"], last["split"]) == ("me, myself.png", "", "")
    code, _, err = build("--split", "val", out="b.h5")
    assert (code, err.count("\n")) == (1, 1)
    assert "holds me, myself.png, which is no photograph of CelebA (000001.jpg and so on); leave --split out" in err


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (["--split", "test"], [2, 3]),
        (["--subset", "2"], [0, 1]),
        (["--subset", "1-2"], [1, 2]),
        (["--subset", "3,0"], [0, 3]),
        (["--split", "test", "--subset", "1"], [2]),
        (["--split", "test", "--subset", "0-2"], [2]),
    ],
)
def test_subsets_and_splits(build, tmp_path, options, places):
    code, _, err = build(*options)
    assert code == 0, err
    assert names_of(tmp_path / "set.h5") == [NAMES[place] for place in places]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--subset", "5"], "--subset 5: there are 4 images; ask for 1 to 4 of them"),
        (["--subset", "1-9"], "--subset 1-9: 1-9 is not within 0-3, the numbers of the images there are"),
        (["--subset", "a"], "--subset a: 'a' is no number and no range; write it like 100 or 0-99,500"),
        (["--split", "train", "--subset", "1,2"], "--subset 1,2: no image is left of those that the other options"),
        (["--landmarks", "yunat"], "'yunat' is neither a landmark file nor a detector; detectors are: "),
    ],
)
def test_a_choice_that_is_none(build, tmp_path, options, message):
    code, out, err = build(*options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landmarks.csv", "photos"]


def test_the_best_first(build, photos, tmp_path):
    assert build(out="every.h5")[0] == 0
    scores = {entry.path: entry.details["score"] for entry in ledger.read(tmp_path / "every.h5.ledger.jsonl")}
    assert len(set(scores.values())) == 4
    assert build("--best", 2, "--order", "score")[0] == 0
    assert names_of(tmp_path / "set.h5") == sorted(NAMES, key=lambda name: -scores[name])[:2]
    assert (tmp_path / "set.h5.scores.png").exists()
    assert build("--best", "all", out="all.h5")[0] == 0
    assert not (tmp_path / "all.h5.scores.png").exists()
    assert "score" not in next(ledger.read(tmp_path / "all.h5.ledger.jsonl")).details


def test_landmarks_are_found_in_the_folder_of_celeba(run, tmp_path):
    root = tmp_path / "CelebA"
    rows = []
    for seed, name in enumerate(["000001.jpg", "000002.jpg"]):
        for folder in ("img_celeba", "img_align_celeba"):
            (root / "Img" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(seed, (90, 70))).save(root / "Img" / folder / name)
        rows.append(f"{name} " + " ".join(f"{value:.0f}" for value in face(40 + seed, 33, 10).ravel()))
    (root / "Anno").mkdir()
    header = synthetic_celeba.COLUMNS
    (root / "Anno" / "list_landmarks_celeba.txt").write_text("\n".join(["2", header, *rows]) + "\n")
    quick = ["--resolution", 16, "--direct", "--best", "all"]
    code, _, err = run("build-celebahq", root, tmp_path / "set.h5", *quick)
    assert code == 0, err
    assert names_of(tmp_path / "set.h5") == ["000001.jpg", "000002.jpg"]
    assert run("build-celebahq", root / "Img" / "img_celeba", tmp_path / "b.h5", *quick)[0] == 0
    one, two = open_pyramid(tmp_path / "set.h5").manifest, open_pyramid(tmp_path / "b.h5").manifest
    assert one.content_digest == two.content_digest
    shutil.rmtree(root / "Anno")
    code, _, err = run("build-celebahq", root, tmp_path / "c.h5", *quick)
    assert code == 1
    assert f"there is no list_landmarks_celeba.txt in {root} or around it; say where the faces are" in err


def test_a_dry_run_estimates_and_leaves_nothing(build, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    code, out, err = build("--dry-run", "--json", "-", "--best", 2)
    assert code == 0, err
    told = json.loads(out)
    assert (told["source_images"], told["rows"], told["resolution"]) == (4, 2, 32)
    assert told["seconds"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_dry_run_of_many_photographs_tries_some_and_scales_up(build, photos, tmp_path):
    """40 photographs, 12 of them tried: the faces of the others are not even looked for."""
    faces = {f"{number:02d}.png": [face(45, 40, 10)] if number % 4 else [] for number in range(40)}
    write_photos(tmp_path / "many", faces)
    code, out, err = build("--dry-run", "--json", "-", source=tmp_path / "many")
    assert code == 0, err
    told = json.loads(out)
    assert (told["source_images"], told["sampled"]) == (40, 12)
    assert 20 <= told["rows"] <= 40
    assert "finding faces: 100%" in err
    assert "12/12" in err


def test_options_that_would_change_nothing_are_refused(run, tmp_path, celeba):
    for options, name in ((["--strict"], "--strict"), (["--delta-side", 64], "--delta-side")):
        code, _, err = run("build-celebahq", celeba.folder, tmp_path / "set.h5", *options)
        assert code == 2
        assert f"{name}: it needs --deltas" in err
    for options in (["--geometry", "ffhq"], ["--best", 5], ["--no-padding"], ["--order", "score"]):
        code, _, err = run("build-celebahq", celeba.folder, tmp_path / "set.h5", "--deltas", celeba.deltas, *options)
        assert code == 2
        assert f"{options[0]}: --deltas has decided it already; leave it out" in err
    code, _, err = run("build-celebahq", celeba.folder, tmp_path / "set.zip", "--deltas", celeba.deltas)
    assert code == 2


# With deltas


@pytest.fixture
def rebuild(run, celeba, tmp_path):
    def rebuild(*options, out="hq.h5"):
        deltas = ["--deltas", celeba.deltas, "--delta-side", SIDE]
        return run("build-celebahq", celeba.folder, tmp_path / out, *deltas, *options)

    return rebuild


def test_celebahq_again(rebuild, celeba, tmp_path):
    code, out, err = rebuild("--json", "-")
    assert code == 0, err
    assert json.loads(out)["matches"] == {"exact": 4, "near": 2, "near?": 0}
    for text in ("6 of 6 wanted", "near of", "exact           4 rows", "near            2 rows"):
        assert text in err
    reader = open_pyramid(tmp_path / "hq.h5")
    table = table_of(tmp_path / "hq.h5")
    for row in range(6):
        off = np.abs(reader.level(6)[row].astype(int) - celeba.finals[row])
        assert off.max() == (1 if row in (1, 4) else 0)
        line = table[row]
        assert (line["row"], line["idx"], line["file"]) == (str(row), str(row), celeba.names[row])
        assert (line["match"], line["split"]) == ("near" if row in (1, 4) else "exact", synthetic_celeba.SPLITS[row])
        assert int(line["orig_idx"]) + 1 == int(line["file"][:6])
    assert reader.manifest.options["released"]["strict"] is False
    entries = list(ledger.read(tmp_path / "hq.h5.ledger.jsonl"))
    assert ["near" in entry.details for entry in entries] == [False, True, False, False, True, False]


def test_parts_of_it(rebuild, celeba, tmp_path):
    assert rebuild("--split", "val")[0] == 0
    assert names_of(tmp_path / "hq.h5") == list(celeba.names[2:4])
    assert rebuild("--subset", "0,5", "--strict", out="b.h5")[0] == 0
    assert [line["idx"] for line in table_of(tmp_path / "b.h5")] == ["0", "5"]
    celeba.photo(1).unlink()  # nobody wants it
    assert rebuild("--subset", "2-3", out="c.h5")[0] == 0


def test_a_smaller_resolution_is_a_level_of_the_large_one(rebuild, tmp_path):
    assert rebuild()[0] == 0
    assert rebuild("--resolution", 16, out="small.lmdb")[0] == 0
    large, small = open_pyramid(tmp_path / "hq.h5"), open_pyramid(tmp_path / "small.lmdb")
    assert small.manifest.resolution == 16
    for row in range(6):
        assert np.array_equal(small.level(4)[row], large.level(4)[row])
    assert [line["match"] for line in table_of(tmp_path / "small.lmdb")] == [
        line["match"] for line in table_of(tmp_path / "hq.h5")
    ]
    code, _, err = rebuild("--resolution", 128, out="large.h5")
    assert (code, err.count("\n")) == (1, 1)


def test_strict_refuses_what_is_near(rebuild, celeba, tmp_path):
    code, _, err = rebuild("--strict")
    assert code == 1
    assert celeba.names[1] in err.splitlines()[-1]
    assert "--strict refuses" in err.splitlines()[-1]
    assert not (tmp_path / "hq.h5").exists()
    code, out, err = rebuild("--strict", "--skip-bad", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["matches"] == {"exact": 4, "near": 0, "near?": 0}
    assert [line["idx"] for line in table_of(tmp_path / "hq.h5")] == ["0", "2", "3", "5"]


def test_what_is_missing_is_told_before_any_work(rebuild, celeba, tmp_path):
    celeba.photo(3).unlink()
    celeba.change_zip(lambda members: members.pop("delta00002.dat"))
    code, _, err = rebuild()
    assert code == 1
    assert "2 of the 6 images cannot be made" in err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["CelebA"]
    code, out, err = rebuild("--skip-bad", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["skipped"] == 2
    assert names_of(tmp_path / "hq.h5") == [celeba.names[number] for number in (0, 1, 4, 5)]


def test_the_output_is_looked_at_first(rebuild, tmp_path, photos, run):
    """What cannot be written is told before anything is checked or searched."""
    (tmp_path / "there.h5").write_bytes(b"x")
    for options, out, code, message in (
        ([], "there.h5", 1, "there.h5 exists already"),
        ([], "no/hq.h5", 1, "create it first"),
        (["--encoding", "png"], "hq.h5", 2, "--encoding png: .h5 files store pixels as raw alone"),
        (["--dry-run", "--encoding", "webp"], "hq.h5", 2, "--encoding webp"),
    ):
        found, _, err = rebuild(*options, out=out)
        assert found == code
        assert message in err
        assert "checked" not in err
        assert run("build-celebahq", photos, tmp_path / out, "--landmarks", "yunet", *options)[0] == code


def test_a_detector_has_nothing_to_do_with_deltas(rebuild):
    code, _, err = rebuild("--landmarks", "yunet")
    assert code == 2
    assert "--landmarks yunet: the deltas are made for the landmarks of CelebA" in err


def test_json_holds_the_checks(rebuild, celeba, tmp_path):
    for options in ((), ("--dry-run",)):
        told = json.loads(rebuild(*options, "--json", "-")[1])["checks"]
        assert (told["images"], told["bad_images"]) == (6, 0)
        assert told["table"][0]["what"] == "image_list.txt"
    celeba.photo(3).unlink()
    code, out, _ = rebuild("--json", "-", out="b.h5")
    assert code == 1
    told = json.loads(out)
    assert told["error"].startswith("1 of the 6 images cannot be made")
    assert [line["what"] for line in told["checks"]["table"] if line["verdict"] == "bad"] == ["photographs"]


def test_nothing_is_left(build, run, photos, tmp_path):
    """The photograph is named."""
    for code, _, err in (
        build("--min-face", 5000),
        build("--min-face", 5000, "--dry-run"),
        run("align", photos, tmp_path / "out", "--landmarks", tmp_path / "landmarks.csv", "--min-face", 5000),
    ):
        assert code == 1
        assert "the first: 162770.png: face left out: its face" in err


def test_a_side_of_deltas_is_called_by_its_option(run, tmp_path):
    code, _, err = run("make-deltas", tmp_path, tmp_path, tmp_path / "out", "--delta-side", 100)
    assert code == 2
    assert "--delta-side" in err
    assert "--resolution" not in err


def test_a_dry_run_with_deltas(rebuild, tmp_path):
    code, out, err = rebuild("--dry-run", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["rows"] == 6
    assert "keys, a sample" in err
    assert [path.name for path in tmp_path.iterdir()] == ["CelebA"]


@pytest.mark.parametrize("name", ["build-celebahq", "align"])
def test_help_has_examples(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"toolkit {name} " in out.partition("Examples:")[2]
