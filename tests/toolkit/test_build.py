import errno
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import xxhash
from oracles.pyramid import box_filtered
from PIL import Image

from datasets.decode import decode
from datasets.errors import InputError
from datasets.formats import hdf5, open_pyramid
from datasets.levels import levels_up_to, pyramid, resolution_of
from toolkit import build as build_module
from toolkit import ledger
from toolkit.transforms import Crop, cut


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def entries_of(summary):
    return list(ledger.read(summary.ledger))


def content(summary):
    return summary.path.read_bytes(), summary.ledger.read_bytes()


def test_every_level_of_every_row_is_the_box_filter_of_the_cut_image(photos, make):
    summary = make(photos)
    reader = open_pyramid(summary.path)
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.*"))]
    assert reader.sources() == names
    assert summary.manifest.num_images == summary.images == 9
    for row, name in enumerate(names):
        image = decode(photos / name, name)
        box = Crop("centre").boxes(image.shape[1], image.shape[0], name)[0]
        full = cut(image, box, 16, "lanczos")
        for level in levels_up_to(4):
            assert np.array_equal(reader.level(level)[row], box_filtered(full, resolution_of(level)))


def test_jobs_do_not_change_a_byte(photos, make):
    for options in ({}, {"shuffle": 3}, {"crop": Crop("tile", 8, 3), "resolution": 8}):
        one, many = make(photos, "1.h5", jobs=1, **options), make(photos, "5.h5", jobs=5, **options)
        assert content(one) == content(many)
        for summary in (one, many):
            summary.path.unlink()
            summary.ledger.unlink()


def test_neither_time_nor_place_changes_a_byte(photos, make, tmp_path):
    first = make(photos)
    (tmp_path / "other place").mkdir()
    moved = shutil.copytree(photos, tmp_path / "other place" / "photos")
    for path in moved.rglob("*"):
        os.utime(path, (0, 0))
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    second = make(moved, "second.h5")
    assert content(first) == content(second)


def test_the_ledger_tells_what_became_of_every_image(photos, make):
    tags = Image.Exif()
    tags[274] = 6
    Image.new("RGBA", (20, 30), (255, 0, 0, 9)).save(photos / "z.png", exif=tags)
    summary = make(photos, shuffle=1)
    entries = entries_of(summary)
    sources = open_pyramid(summary.path).sources()
    assert [entry.path for entry in entries] == sorted(sources)
    for entry in entries:
        data = (photos / entry.path).read_bytes()
        assert (entry.bytes, entry.xxh3) == (len(data), xxhash.xxh3_128(data).hexdigest())
        assert [sources[row] for row in entry.rows] == [entry.path]
        assert entry.skipped is None
    last = entries[-1]
    assert (last.format, last.mode, last.width, last.height) == ("PNG", "RGBA", 30, 20)
    assert last.applied == ("exif", "alpha", "cropped", "reduced")
    assert entries[0].applied == ()  # 16x16 already
    assert summary.applied == {"alpha": 1, "cropped": 7, "exif": 1, "reduced": 7}


def test_shuffling_moves_rows_and_nothing_else(photos, make):
    plain, shuffled = make(photos, "a.h5"), make(photos, "b.h5", shuffle=4)
    one, two = open_pyramid(plain.path), open_pyramid(shuffled.path)
    assert one.sources() != two.sources()
    order = [two.sources().index(name) for name in one.sources()]
    for level in levels_up_to(4):
        assert np.array_equal(one.level(level), two.level(level)[order])
    assert plain.manifest.content_digest != shuffled.manifest.content_digest


def test_tiles_of_one_photograph(tmp_path, make, rng):
    image = rng.integers(0, 256, (29, 45, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "galaxies.png")
    summary = make(tmp_path / "galaxies.png", crop=Crop("tile", 8, 5), resolution=None)
    reader = open_pyramid(summary.path)
    assert summary.manifest.resolution == 8
    assert summary.manifest.num_images == 8 * 5
    row = 0
    for top in range(0, 29 - 7, 5):
        for left in range(0, 45 - 7, 5):
            assert np.array_equal(reader.level(3)[row], image[top : top + 8, left : left + 8].transpose(2, 0, 1))
            assert reader.sources()[row] == f"galaxies.png@{left},{top}"
            row += 1
    assert summary.manifest.provenance["source"] == "galaxies.png"
    assert entries_of(summary)[0].applied == ("tiled",)
    assert entries_of(summary)[0].rows == tuple(range(40))


def test_shuffled_tiles_keep_their_pixels_names_and_ledger_together(photos, make, monkeypatch):
    monkeypatch.setattr(build_module, "_BATCH_BYTES", 5 * 3 * 64)
    options = {"crop": Crop("tile", 8, 4), "resolution": 8}
    plain, shuffled = make(photos, "a.h5", **options), make(photos, "b.h5", shuffle=1, **options)
    one, two = open_pyramid(plain.path), open_pyramid(shuffled.path)
    for before, after in zip(entries_of(plain), entries_of(shuffled), strict=True):
        assert list(after.rows) != sorted(after.rows)
        for row, moved in zip(before.rows, after.rows, strict=True):
            assert one.sources()[row] == two.sources()[moved]
            assert one.sources()[row].startswith(f"{before.path}@")
        for level in (2, 3):
            assert np.array_equal(one.level(level)[list(before.rows)], two.level(level)[list(after.rows)])


def test_tiles_of_a_turned_photograph_are_of_the_upright_one(tmp_path, make, rng):
    image = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[274] = 8
    Image.fromarray(image).save(tmp_path / "a.png", exif=tags)
    reader = open_pyramid(make(tmp_path / "a.png", crop=Crop("tile", 8, 8), resolution=None).path)
    upright = np.rot90(image)  # 8: turn a quarter against the clock
    assert reader.sources()[1] == "a.png@8,0"
    assert np.array_equal(reader.level(3)[1], upright[:8, 8:16].transpose(2, 0, 1))


def test_batches_do_not_change_a_byte(photos, make, monkeypatch):
    options = {"crop": Crop("tile", 8, 2), "resolution": 8, "shuffle": 0}
    whole = make(photos, "a.h5", **options)
    monkeypatch.setattr(build_module, "_BATCH_BYTES", 7 * 3 * 64)
    monkeypatch.setattr(build_module, "_IMAGES_PER_TASK", 1)
    assert content(make(photos, "b.h5", **options)) == content(whole)


def test_skipping_gives_the_data_set_of_the_rest(photos, make):
    """Not one byte tells the difference but the count of those skipped and the ledger's digest."""
    clean = make(photos, "clean.h5", shuffle=2)
    (photos / "a1.jpg").write_text("hello")
    (photos / "sub" / "b.gif").write_bytes(b"")
    truncated = (photos / "a0.png").read_bytes()
    (photos / "zz.png").write_bytes(truncated[: len(truncated) // 2])
    Image.new("LA", (5, 9), (0, 0)).save(photos / "tiny.png")  # grey, transparent and too small
    summary = make(photos, "skipped.h5", shuffle=2, skip_bad=True)
    assert (summary.images, summary.skipped) == (9, 4)
    assert summary.applied == clean.applied  # what was done to those left out is not counted
    assert summary.manifest.content_digest == clean.manifest.content_digest
    assert open_pyramid(summary.path).sources() == open_pyramid(clean.path).sources()
    assert summary.manifest.provenance["skipped"] == 4
    assert summary.manifest.provenance["source_images"] == 13
    entries = entries_of(summary)
    assert [entry.path for entry in entries if entry.skipped] == ["a1.jpg", "sub/b.gif", "tiny.png", "zz.png"]
    assert [entry for entry in entries if not entry.skipped] == entries_of(clean)


def test_a_bad_image_ends_the_build_and_leaves_nothing(photos, make, tmp_path):
    truncated = (photos / "a0.png").read_bytes()
    (photos / "zz.png").write_bytes(truncated[: len(truncated) // 2])  # its header is whole, so the plan lets it pass
    with pytest.raises(
        InputError, match=r"photos/zz\.png cannot be decoded \(image file is truncated.*or pass --skip-bad"
    ):
        make(photos)
    assert listing(tmp_path) == ["photos"]


def test_progress_reaches_the_end(photos, make, bars):
    make(photos)
    assert [(bar.what, bar.total, bar.count) for bar in bars.bars] == [
        ("reading headers", 9, 9),
        ("writing rows", 9, 9),
    ]
    make(photos, "b.h5", skip_bad=True, crop=Crop("tile", 8, 8), resolution=8)
    assert [(bar.what, bar.total == bar.count) for bar in bars.bars[2:]] == [
        ("checking images", True),
        ("writing rows", True),
    ]


def test_an_existing_data_set_is_kept_until_the_new_one_is_whole(photos, make, tmp_path):
    first = make(photos)
    before = content(first)
    with pytest.raises(InputError, match=r"set\.h5 exists already; .* pass --overwrite"):
        make(photos)
    (photos / "zz.png").write_bytes((photos / "a0.png").read_bytes()[:600])
    with pytest.raises(InputError, match="cannot be decoded"):
        make(photos, overwrite=True)
    assert content(first) == before
    (photos / "zz.png").unlink()
    second = make(photos, overwrite=True, shuffle=9)
    assert content(second) != before
    assert listing(tmp_path) == ["photos", "set.h5", "set.h5.ledger.jsonl"]
    first.path.unlink()
    assert content(make(photos, shuffle=9)) == content(second)  # the ledger that was left does not stand in the way


def test_the_ledger_is_there_before_the_data_set(photos, make, tmp_path, monkeypatch):
    seen = []
    finish = hdf5.Writer.finish

    def watching(self, options, provenance):
        seen.append(listing(tmp_path))
        return finish(self, options, provenance)

    monkeypatch.setattr(hdf5.Writer, "finish", watching)
    make(photos)
    assert [name for name in seen[0] if not name.startswith(".")] == ["photos", "set.h5.ledger.jsonl"]


@pytest.mark.parametrize("error", [InputError("disk full"), KeyboardInterrupt()])
def test_a_failure_at_the_very_end_leaves_nothing(photos, make, tmp_path, monkeypatch, error):
    def fail(self, options, provenance):
        raise error

    monkeypatch.setattr(hdf5.Writer, "finish", fail)
    with pytest.raises(type(error)):
        make(photos)
    assert listing(tmp_path) == ["photos"]


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_a_full_disk_at_any_write_is_one_line_and_leaves_nothing(photos, make, tmp_path, monkeypatch, at):
    calls = []
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"^cannot write .*/set\.h5: No space left on device$"):
        make(photos)
    assert listing(tmp_path) == ["photos"]


def test_a_full_disk_while_the_ledger_is_written(photos, make, tmp_path, monkeypatch):
    def full(path, entries):
        next(iter(entries))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ledger, "write", full)
    with pytest.raises(InputError, match=r"^cannot write .*/set\.h5\.ledger\.jsonl: No space left on device$"):
        make(photos)
    assert listing(tmp_path) == ["photos"]


def test_a_build_that_would_fill_the_disk_is_refused(photos, make, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, 5000))
    with pytest.raises(
        InputError, match=r"its 9 rows need 0\.0 MB, but .* has 0\.0 MB free; free space, choose another disk"
    ):
        make(photos)
    assert listing(tmp_path) == ["photos"]


def test_an_interrupt_waits_for_the_threads_and_leaves_nothing(photos, make, tmp_path, monkeypatch):
    """The interrupt comes while all threads are busy writing; the writer must not be closed under their hands."""
    inside, closed_early, interrupted = [], [], threading.Event()
    write = hdf5.Writer.write

    def slow(self, row, levels, source):
        inside.append(row)
        if len(inside) == 3 and not interrupted.is_set():
            interrupted.set()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        try:
            write(self, row, levels, source)
        except InputError as error:
            closed_early.append(error)
        inside.remove(row)

    monkeypatch.setattr(hdf5.Writer, "write", slow)
    with pytest.raises(KeyboardInterrupt):
        make(photos, jobs=4)
    assert (inside, closed_early) == ([], [])
    assert listing(tmp_path) == ["photos"]


def test_an_interrupt_does_not_wait_for_all_tiles_of_a_photograph(tmp_path, make, monkeypatch, rng):
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(build_module, "_BATCH_BYTES", 4 * 3 * 64)
    written = []
    write = hdf5.Writer.write

    def slow(self, row, levels, source):
        written.append(row)
        if len(written) == 10:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.2)
        write(self, row, levels, source)

    monkeypatch.setattr(hdf5.Writer, "write", slow)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a.png", crop=Crop("tile", 8, 2), resolution=8)
    assert len(written) == 12  # to the end of its batch, of 1369


def test_a_photograph_that_changes_while_it_is_built(tmp_path, make, monkeypatch, rng):
    path = tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    check = build_module._check_space

    def change(out, plan):
        check(out, plan)
        Image.fromarray(rng.integers(0, 256, (40, 24, 3), dtype=np.uint8)).save(path)

    monkeypatch.setattr(build_module, "_check_space", change)
    with pytest.raises(InputError, match=r"a\.png has changed since the build began; run the same command again"):
        make(path, crop=Crop("tile", 8, 8), resolution=8)
    assert listing(tmp_path) == ["a.png"]


def test_provenance_names_versions_but_no_folder_and_no_time(photos, make, tmp_path):
    summary = make(photos)
    text = summary.manifest.to_json() + summary.ledger.read_text()
    assert str(tmp_path) not in text
    assert str(time.localtime().tm_year) not in text.replace(summary.manifest.provenance["libraries"]["numpy"], "")
    provenance = summary.manifest.provenance
    assert provenance["tool"].startswith("growgan ")
    assert provenance["libraries"]["pillow"] == Image.__version__
    assert provenance["libraries"]["numpy"] == np.__version__
    assert provenance["source"] == "photos"


def test_enlarging_and_backgrounds(tmp_path, make):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    summary = make(tmp_path / "a.png", allow_upscale=True, background=(9, 8, 7))
    assert open_pyramid(summary.path).level(4)[0, :, 3, 5].tolist() == [9, 8, 7]
    assert summary.applied == {"alpha": 1, "enlarged": 1}


def test_summary(photos, make):
    summary = make(photos, max_images=4)
    data = summary.to_json()
    assert (data["images"], data["skipped"], data["rows"], data["levels"]) == (4, 0, 4, [4, 8, 16])
    assert data["bytes"] == summary.path.stat().st_size
    assert data["content_digest"] == open_pyramid(summary.path).manifest.content_digest
    assert data["rows_per_sec"] > 0
    assert data["options"]["max_images"] == 4


@pytest.mark.parametrize("out", ["set", "set.npz", "missing/set.h5"])
def test_outputs_that_cannot_be(photos, make, tmp_path, out):
    with pytest.raises(InputError, match=r"names no format; use one of .*\.h5|missing does not exist; create it first"):
        make(photos, out)
    assert listing(tmp_path) == ["photos"]


def test_levels_are_written_as_pyramid_gives_them(photos, make):
    reader = open_pyramid(make(photos).path)
    for level, pixels in pyramid(np.array(reader.level(4))).items():
        assert np.array_equal(reader.level(level), pixels)
