"""Several pyramids as one."""

import numpy as np
import pytest
from pyramids import assert_rows, listing, noise, write

from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.derived.merging import merge
from toolkit.engine.output import Output
from toolkit.verification import verify


def run(out, *paths, bars, resolution=None, labels=True, **storage):
    output = Output(path=out, **storage)
    return merge(paths, output, resolution=resolution, labels=labels, jobs=2, progress=bars)


def test_rows_names_and_classes_one_after_the_other(tmp_path, bars):
    a, b, c = noise(3, seed=1), noise(4, seed=2), noise(1, seed=3)
    paths = [
        write(tmp_path / "a.h5", a, names=["p", "q", "r"], labels=[1, 0, 1], label_names=["x", "y"]),
        write(tmp_path / "b.lmdb", b, labels=[0, 0, 1, 1], label_names=["y", "z"], encoding="webp", shards=2),
        write(tmp_path / "c.h5", c, labels=[0], label_names=["x"]),
    ]
    done = run(tmp_path / "out.lmdb", *paths, bars=bars, shards=3)
    assert_rows(tmp_path / "out.lmdb", np.concatenate([a, b, c]))
    reader = open_pyramid(tmp_path / "out.lmdb")
    assert reader.sources()[:4] == ["p", "q", "r", "image000.png"]
    assert reader.labels().tolist() == [1, 0, 1, 1, 1, 2, 2, 0]
    assert reader.manifest.label_names == ["x", "y", "z"]
    parts = done.manifest.provenance["parts"]
    assert [(part["name"], part["num_images"]) for part in parts] == [("a.h5", 3), ("b.lmdb", 4), ("c.h5", 1)]
    assert [part["content_digest"] for part in parts] == [open_pyramid(path).manifest.content_digest for path in paths]
    assert str(tmp_path) not in str(done.to_json()["provenance"])


def test_the_same_set_twice(tmp_path, bars):
    path = write(tmp_path / "a.h5", noise(3))
    run(tmp_path / "out.h5", path, path, bars=bars)
    assert_rows(tmp_path / "out.h5", np.concatenate([noise(3), noise(3)]))


def test_merging_is_associative(tmp_path, bars):
    paths = [write(tmp_path / f"{seed}.h5", noise(3, seed=seed), options={"crop": "none"}) for seed in range(3)]
    run(tmp_path / "all.h5", *paths, bars=bars)
    run(tmp_path / "part.h5", *paths[:2], bars=bars)
    run(tmp_path / "again.h5", tmp_path / "part.h5", paths[2], bars=bars)
    assert (tmp_path / "all.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    assert open_pyramid(tmp_path / "all.h5").manifest.options == {"crop": "none"}


def test_resolutions_must_be_equal_or_said(tmp_path, bars):
    fine = write(tmp_path / "fine.h5", noise(3, 32))
    coarse = write(tmp_path / "coarse.h5", noise(2, 8))
    before = listing(tmp_path)
    message = r"coarse\.h5 has images of 8x8, .*fine\.h5 of 32x32; make both equal with --resolution 8"
    for pair in ((fine, coarse), (coarse, fine)):
        with pytest.raises(InputError, match=message):
            run(tmp_path / "out.h5", *pair, bars=bars)
    with pytest.raises(InputError, match=r"coarse\.h5 has no level of 16 pixels"):
        run(tmp_path / "out.h5", fine, coarse, bars=bars, resolution=16)
    assert listing(tmp_path) == before
    run(tmp_path / "out.h5", fine, coarse, bars=bars, resolution=8)
    means = np.rint(noise(3, 32).reshape(3, 3, 8, 4, 8, 4).mean(axis=(3, 5)))
    np.testing.assert_array_equal(open_pyramid(tmp_path / "out.h5").level(3)[:], np.concatenate([means, noise(2, 8)]))


def test_labels_that_do_not_fit_can_be_left_out(tmp_path, bars):
    a = write(tmp_path / "a.h5", noise(2), labels=[0, 1], label_names=["x", "y"])
    b = write(tmp_path / "b.h5", noise(2))
    before = listing(tmp_path)
    with pytest.raises(InputError, match=r"b\.h5 has no labels, but .*a\.h5 has; pass --no-labels"):
        run(tmp_path / "out.h5", a, b, bars=bars)
    assert listing(tmp_path) == before
    run(tmp_path / "out.h5", a, b, bars=bars, labels=False)
    assert open_pyramid(tmp_path / "out.h5").labels() is None


def test_the_ledger_of_the_whole(photos, make, tmp_path, bars):
    (photos / "bad.png").write_text("hello")
    make(photos, "a.h5", skip_bad=True, shuffle=1)
    make(photos, "b.h5", skip_bad=True, shuffle=2)
    run(tmp_path / "out.h5", tmp_path / "a.h5", tmp_path / "b.h5", bars=bars)
    from toolkit import ledger

    entries = list(ledger.read(tmp_path / "out.h5.ledger.jsonl"))
    names = open_pyramid(tmp_path / "out.h5").sources()
    assert len(entries) == 20
    assert sorted(row for entry in entries for row in entry.rows) == list(range(18))
    assert all(names[row] == entry.path for entry in entries for row in entry.rows)
    assert sum(entry.skipped is not None for entry in entries) == 2
    assert verify(tmp_path / "out.h5", jobs=1, progress=bars).ledger == "matches"


@pytest.mark.parametrize("out", ["a.h5", "link.h5"])
def test_never_onto_an_input(tmp_path, bars, out):
    a, b = write(tmp_path / "a.h5", noise(2)), write(tmp_path / "b.h5", noise(2))
    (tmp_path / "link.h5").symlink_to("b.h5")
    content = a.read_bytes()
    with pytest.raises(InputError, match="is what would be read"):
        run(tmp_path / out, a, b, bars=bars, overwrite=True)
    assert a.read_bytes() == content
