"""More rows for a pyramid that is there: other pyramids, and images made like the old ones."""

import os

import numpy as np
import pytest
from PIL import Image
from pyramids import assert_rows, listing, noise, pixels, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.derived import appending, assembly, merging
from toolkit.derived.appending import append, options_of
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.transforms import CENTRE, Crop
from toolkit.verification import verify


def run(path, more, bars, *, labels=True, kind=None, skip_bad=False):
    said = []
    options = {"labels": labels, "kind": kind, "skip_bad": skip_bad}
    return append(path, more, **options, jobs=2, progress=bars, say=said.append)


@pytest.mark.parametrize(
    ("name", "storage"),
    [("a.h5", {}), ("a.lmdb", {"encoding": "webp"}), ("a.h5", {"shards": 2}), ("a.lmdb", {"shards": 2})],
)
def test_another_pyramid(tmp_path, bars, name, storage):
    one, two = noise(3, seed=1), noise(4, seed=2)
    path = write(tmp_path / name, one, labels=[0, 1, 0], label_names=["x", "y"], **storage)
    more = write(tmp_path / "more.lmdb", two, labels=[0, 0, 1, 1], label_names=["z", "x"], encoding="png")
    old = open_pyramid(path)
    done = run(path, more, bars)
    assert_rows(path, np.concatenate([one, two]))
    reader = open_pyramid(path)
    assert reader.encoding == storage.get("encoding", "raw")
    assert len(reader.files()) == len(old.files())
    assert reader.labels().tolist() == [0, 1, 0, 2, 2, 0, 0]
    assert reader.manifest.label_names == ["x", "y", "z"]
    parts = reader.manifest.provenance["parts"]
    assert [part["name"] for part in parts] == [name, "more.lmdb"]
    assert parts[0]["content_digest"] == old.manifest.content_digest
    assert done.manifest == reader.manifest
    assert listing(tmp_path) == sorted([name, "more.lmdb"])


def photographs(folder, count, seed):
    folder.mkdir(parents=True)
    for number, image in enumerate(noise(count, 20, seed)):
        Image.fromarray(image.transpose(1, 2, 0)).resize((24, 20)).save(folder / f"{seed}-{number}.png")
    return folder


@pytest.mark.parametrize("options", [{}, {"resample": "box", "crop": Crop("tile", tile=10, stride=7), "resolution": 8}])
def test_new_images_become_rows_as_the_old_ones_did(tmp_path, make, bars, options):
    """The result is that of a build of all images at once."""
    photographs(tmp_path / "old", 5, 1)
    photographs(tmp_path / "new", 4, 2)
    photographs(tmp_path / "all" / "a", 5, 1)
    photographs(tmp_path / "all" / "b", 4, 2)
    before = listing(tmp_path)
    path = make(tmp_path / "old", "set.h5", **options).path
    run(path, tmp_path / "new", bars)
    expected = make(tmp_path / "all", "all.h5", labels=False, **options)
    reader = open_pyramid(path)
    assert reader.manifest.content_digest == expected.manifest.content_digest
    assert reader.manifest.provenance["parts"][1]["name"] == "new"
    assert [name.split("-")[0] for name in (reader.sources()[0], reader.sources()[-1])] == ["1", "2"]
    found = verify(path, rebuild_levels=True, jobs=1, progress=bars)
    assert (found.faults, found.ledger) == ([], "matches")
    assert set(listing(tmp_path)) - set(before) == {
        "set.h5",
        "set.h5.ledger.jsonl",
        "all.h5",
        "all.h5.ledger.jsonl",
    }
    photographs(tmp_path / "third", 2, 3)
    run(path, tmp_path / "third", bars)  # and so on
    assert [part["name"] for part in open_pyramid(path).manifest.provenance["parts"]] == ["set.h5", "new", "third"]
    assert np.array_equal(pixels(path)[3][: len(pixels(tmp_path / "all.h5")[3])], pixels(tmp_path / "all.h5")[3])


def test_new_images_for_a_set_that_was_made_coarser(tmp_path, make, bars):
    """They are brought to the resolution of the build first, and reduced from there, as the old ones were."""
    from toolkit.derived.conversion import convert_pyramid
    from toolkit.engine.output import Output

    photographs(tmp_path / "old", 3, 1)
    photographs(tmp_path / "new", 3, 2)
    photographs(tmp_path / "all" / "a", 3, 1)
    photographs(tmp_path / "all" / "b", 3, 2)
    for name in ("old", "all"):
        built = make(tmp_path / name, f"{name}.h5", labels=False).path
        output = Output(path=tmp_path / f"{name}-8.h5")
        convert_pyramid(built, output, resolution=8, labels=True, jobs=1, progress=bars)
    run(tmp_path / "old-8.h5", tmp_path / "new", bars)
    digest = open_pyramid(tmp_path / "all-8.h5").manifest.content_digest
    assert open_pyramid(tmp_path / "old-8.h5").manifest.content_digest == digest


@pytest.mark.parametrize(
    "options",
    [
        Options(resolution=16, crop=CENTRE),
        Options(resolution=16, crop=Crop("box", left=1, top=2, side=9), shuffle=5, background=(1, 2, 3)),
        Options(resolution=16, crop=Crop("tile", tile=8, stride=3), resample="area", allow_upscale=True),
        Options(resolution=16, crop=Crop("centre-wide"), criteria=Criteria(min_size=9, min_sharpness=0.5)),
    ],
)
def test_options_come_back_from_the_manifest(tmp_path, options):
    path = write(tmp_path / "a.h5", noise(2), options=options.for_manifest())
    assert options_of(open_pyramid(path).manifest, path) == options


def test_a_set_that_does_not_say_how_it_was_made(tmp_path, bars):
    path = write(tmp_path / "a.h5", noise(2))
    photographs(tmp_path / "new", 3, 2)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.h5 does not say how its images were made \(no crop in its manifest\)"):
        run(path, tmp_path / "new", bars)
    assert path.read_bytes() == content


def test_bad_images(tmp_path, make, bars):
    photographs(tmp_path / "old", 3, 1)
    photographs(tmp_path / "new", 3, 2)
    (tmp_path / "new" / "bad.png").write_text("hello")
    path = make(tmp_path / "old", "set.h5").path
    content, before = path.read_bytes(), listing(tmp_path)
    with pytest.raises(InputError, match=r"bad\.png is not an image.*--skip-bad"):
        run(path, tmp_path / "new", bars)
    assert path.read_bytes() == content
    assert [name for name in listing(tmp_path) if not name.startswith(".")] == before
    assert run(path, tmp_path / "new", bars, skip_bad=True).manifest.num_images == 6
    assert listing(tmp_path) == before


def test_labels_of_new_images(tmp_path, make, bars):
    for name, classes in (("old", ("cat", "dog")), ("new", ("dog", "ant")), ("plain", ("",))):
        for seed, folder in enumerate(classes):
            photographs(tmp_path / name / folder, 2, seed)
    path = make(tmp_path / "old", "set.h5").path
    content, before = path.read_bytes(), listing(tmp_path)
    with pytest.raises(InputError, match=r"plain has no labels, but .*set\.h5 has; pass --no-labels"):
        run(path, tmp_path / "plain", bars)
    assert (path.read_bytes(), listing(tmp_path)) == (content, before)
    run(path, tmp_path / "new", bars)
    reader = open_pyramid(path)
    assert reader.manifest.label_names == ["cat", "dog", "ant"]
    assert reader.labels().tolist() == [0, 0, 1, 1, 2, 2, 1, 1]
    unlabelled = make(tmp_path / "plain", "plain.h5").path
    with pytest.raises(InputError, match=r"plain\.h5 has no labels, but .*new has; pass --no-labels"):
        run(unlabelled, tmp_path / "new", bars)
    run(unlabelled, tmp_path / "new", bars, labels=False)
    assert open_pyramid(unlabelled).labels() is None
    run(path, tmp_path / "plain", bars, labels=False)
    assert open_pyramid(path).labels() is None


@pytest.mark.parametrize(
    ("more", "message"),
    [("missing", "does not exist"), ("coarse.h5", "has images of 8x8"), ("text", "is no source of images")],
)
def test_what_cannot_be_appended(tmp_path, make, bars, more, message):
    photographs(tmp_path / "old", 3, 1)
    path = make(tmp_path / "old", "set.h5").path
    write(tmp_path / "coarse.h5", noise(2, 8))
    (tmp_path / "text").write_text("hello")
    content, before = path.read_bytes(), listing(tmp_path)
    with pytest.raises(InputError, match=message):
        run(path, tmp_path / more, bars)
    assert path.read_bytes() == content
    assert listing(tmp_path) == before


def test_an_exception_leaves_the_set_as_it_was_and_the_same_command_goes_on(tmp_path, bars, monkeypatch):
    one, two = noise(5, seed=1), noise(6, seed=2)
    path, more = write(tmp_path / "a.h5", one), write(tmp_path / "b.h5", two)
    content = path.read_bytes()
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("toolkit.derived.assembly._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(path, more, bars)
    assert path.read_bytes() == content
    assert run(path, more, bars).resumed == 11
    assert_rows(path, np.concatenate([one, two]))


def test_killed_after_the_replacement_images_are_not_appended_twice(tmp_path, make, bars, monkeypatch):
    photographs(tmp_path / "old", 3, 1)
    photographs(tmp_path / "new", 4, 2)
    path = make(tmp_path / "old", "set.h5").path
    before = listing(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(appending, "_remove", lambda _: None)  # as if it was killed here
        assert run(path, tmp_path / "new", bars).manifest.num_images == 7
    assert listing(tmp_path) != before
    done = run(path, tmp_path / "new", bars)
    assert (done.manifest.num_images, done.copied) == (7, 0)
    assert listing(tmp_path) == before
    assert run(path, tmp_path / "new", bars).manifest.num_images == 11  # asked for once more, once more


def test_a_link_stays_a_link(tmp_path, bars):
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "real.h5", noise(2))
    (tmp_path / "set.h5").symlink_to("disk/real.h5")
    run(tmp_path / "set.h5", write(tmp_path / "more.h5", noise(3)), bars)
    assert (tmp_path / "set.h5").is_symlink()
    assert open_pyramid(tmp_path / "disk" / "real.h5").manifest.num_images == 5


def test_a_name_that_says_another_format(tmp_path, bars):
    write(tmp_path / "a.lmdb", noise(2)).rename(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.h5: rename it so that it ends in \.lmdb"):
        run(tmp_path / "a.h5", write(tmp_path / "b.h5", noise(2)), bars)


def test_a_folder_without_permission(tmp_path, bars, monkeypatch):
    path, more = write(tmp_path / "a.h5", noise(2)), write(tmp_path / "b.h5", noise(2))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, whom no permission stops
    with pytest.raises(InputError, match=r"cannot write .*a\.h5.*: no permission"):
        run(path, more, bars)


def test_readers_of_the_old_set_are_not_disturbed(tmp_path, bars):
    one = noise(3, seed=1)
    path, more = write(tmp_path / "a.h5", one), write(tmp_path / "b.h5", noise(2))
    old = open_pyramid(path).level(4)
    run(path, more, bars)
    np.testing.assert_array_equal(old[:], one)
    assert merging.open_pyramid(path).manifest.num_images == 5
