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
from toolkit.engine import process, tasks
from toolkit.selection import Criteria
from toolkit.transforms import Crop, cut

KEPT = [".set.h5.journal.partial", ".set.h5.partial"]
GOES_ON = "; what is done is kept, and the same command goes on with it"


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
    monkeypatch.setattr(tasks, "_ROW_BYTES", 5 * 3 * 64)
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
    monkeypatch.setattr(tasks, "_ROW_BYTES", 7 * 3 * 64)
    monkeypatch.setattr(tasks, "_IMAGES", 1)
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
    assert (summary.images, summary.skipped) == (9, {"bad": 4})
    assert summary.applied == clean.applied  # what was done to those left out is not counted
    assert summary.manifest.content_digest == clean.manifest.content_digest
    assert open_pyramid(summary.path).sources() == open_pyramid(clean.path).sources()
    assert summary.manifest.provenance["skipped"] == 4
    assert summary.manifest.provenance["source_images"] == 13
    assert summary.skipped_sheet == summary.path.with_name("skipped.h5.skipped.png")
    assert decode(summary.skipped_sheet, "sheet").shape[1] > 200
    assert clean.skipped_sheet is None
    entries = entries_of(summary)
    assert [entry.path for entry in entries if entry.skipped] == ["a1.jpg", "sub/b.gif", "tiny.png", "zz.png"]
    assert [entry for entry in entries if not entry.skipped] == entries_of(clean)


def test_a_bad_image_ends_the_build_which_goes_on_when_it_is_mended(photos, make, tmp_path, bars):
    whole = (photos / "a0.png").read_bytes()
    (photos / "zz.png").write_bytes(whole[: len(whole) // 2])  # its header is whole, so the plan lets it pass
    with pytest.raises(
        InputError,
        match=rf"photos/zz\.png cannot be decoded \(image file is truncated.*or pass --skip-bad to .*{GOES_ON}$",
    ):
        make(photos)
    assert listing(tmp_path) == [*KEPT, "photos"]
    (photos / "zz.png").write_bytes(whole)
    summary = make(photos)
    assert (summary.rows_kept, bars.bars[-1].initial, bars.bars[-1].count) == (9, 9, 10)
    assert listing(tmp_path) == ["photos", "set.h5", "set.h5.ledger.jsonl"]
    assert content(make(photos, "other.h5")) == content(summary)


def test_a_bad_header_ends_the_plan_and_leaves_nothing(photos, make, tmp_path):
    (photos / "zz.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"zz\.png is not an image.*--skip-bad to leave such images out$"):
        make(photos)
    assert listing(tmp_path) == ["photos"]


def test_what_the_criteria_leave_out_is_counted_by_reason(photos, make):
    (photos / "c1.png").write_bytes((photos / "a0.png").read_bytes())
    (photos / "zz.gif").write_text("hello")
    Image.new("RGB", (300, 15)).save(photos / "low.png")
    Image.new("RGB", (17, 16)).save(photos / "flat.png")
    criteria = Criteria(min_size=16, near_duplicates=8, min_sharpness=0.1)
    summary = make(photos, criteria=criteria, skip_bad=True, max_skipped=1)
    assert summary.skipped == {"bad": 1, "blurred": 1, "near-duplicate": 1, "too small": 1}
    reasons = {entry.path: entry.skipped for entry in entries_of(summary) if entry.skipped}
    assert sorted(reasons) == ["c1.png", "flat.png", "low.png", "zz.gif"]
    assert "a0.png" in reasons["c1.png"]
    low = next(entry for entry in entries_of(summary) if entry.path == "low.png")
    assert (low.width, low.height, low.rows, low.xxh3 is None) == (300, 15, (), False)
    assert summary.to_json()["skipped"] == 4
    assert summary.manifest.options["near_duplicates"] == 8
    for name in reasons:
        (photos / name).unlink()
    clean = make(photos, overwrite=True)  # in place of it: the picture goes as well
    assert clean.manifest.content_digest == summary.manifest.content_digest
    assert not summary.skipped_sheet.exists()


def test_a_picture_that_cannot_be_written_is_no_more_than_a_remark(photos, make, tmp_path, monkeypatch):
    (photos / "zz.gif").write_text("hello")
    (tmp_path / "set.h5.skipped.png").mkdir()
    summary = make(photos, skip_bad=True)
    assert summary.skipped_sheet is None
    assert summary.skipped == {"bad": 1}
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


def test_labels_of_class_folders_are_kept_in_row_order(tmp_path, make, rng):
    for number in range(12):
        folder = tmp_path / "animals" / ("cat", "dog", "emu")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    summary = make(tmp_path / "animals", shuffle=1)
    reader = open_pyramid(summary.path)
    assert summary.manifest.label_names == ["cat", "dog", "emu"]
    assert summary.to_json()["num_classes"] == 3
    labels = [["cat", "dog", "emu"].index(name.split("/")[0]) for name in reader.sources()]
    assert reader.labels().tolist() == labels
    assert labels != sorted(labels)
    assert [entry.label for entry in entries_of(summary)] == sorted(labels)
    bare = make(tmp_path / "animals", "bare.h5", shuffle=1, labels=False)
    assert (bare.manifest.label_names, open_pyramid(bare.path).labels()) == (None, None)
    assert {entry.label for entry in entries_of(bare)} == {None}
    assert bare.manifest.content_digest == summary.manifest.content_digest


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_arrays_need_no_image_files(tmp_path, make, rng, shape):
    images = rng.integers(0, 256, (300, *shape), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    summary = make(tmp_path / "a.npy", resolution=None)
    pixels = np.repeat(images[..., None], 3, axis=3) if len(shape) == 2 else images
    assert np.array_equal(np.asarray(open_pyramid(summary.path).level(4)), pixels.transpose(0, 3, 1, 2))
    entry = entries_of(summary)[7]
    assert (entry.format, entry.mode, entry.bytes) == ("array", "RGB" if len(shape) == 3 else "L", images[7].nbytes)
    assert entry.xxh3 == xxhash.xxh3_128(images[7].tobytes()).hexdigest()
    assert summary.applied == ({} if len(shape) == 3 else {"grey": 300})


@pytest.mark.parametrize(
    ("crop", "size", "applied", "corner"),
    [
        (Crop("box", left=2, top=5, side=8), (12, 20), ("cropped",), (2, 5)),
        (Crop("centre-wide"), (8, 20), ("cropped",), (0, 6)),
        (Crop("centre-wide"), (8, 4), ("padded",), None),
    ],
)
def test_other_crops(tmp_path, make, rng, crop, size, applied, corner):
    image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    summary = make(tmp_path / "a.png", crop=crop, resolution=None, background=(1, 2, 3))
    row = open_pyramid(summary.path).level(3)[0].transpose(1, 2, 0)
    assert entries_of(summary)[0].applied == applied
    if corner is None:
        assert np.array_equal(row[2:6], image)
        assert (row[[0, 1, 6, 7]] == (1, 2, 3)).all()
    else:
        left, top = corner
        assert np.array_equal(row, image[top : top + 8, left : left + 8])


def test_every_format_has_the_same_content(photos, make):
    outputs = [("a.h5", {}), ("b.lmdb", {}), ("c.lmdb", {"encoding": "png"}), ("d.h5", {"shards": 3})]
    made = [make(photos, out, shuffle=3, **options) for out, options in outputs]
    assert len({summary.manifest.content_digest for summary in made}) == 1
    assert len({summary.ledger.read_bytes() for summary in made}) == 1
    assert len({tuple(open_pyramid(summary.path).sources()) for summary in made}) == 1
    assert made[3].bytes == sum(file.stat().st_size for file in made[3].path.iterdir())


def test_an_array_that_changes_while_it_is_built(tmp_path, make, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((40, 16, 16, 3), np.uint8))
    real = process.make

    def change(*args):
        os.utime(tmp_path / "a.npy", (1, 1))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(process, "make", change)
        with pytest.raises(InputError, match=r"a\.npy has changed since the build began; run the same command again"):
            make(tmp_path / "a.npy")
    assert make(tmp_path / "a.npy").rows_kept == 0


def test_progress_reaches_the_end(photos, make, bars):
    make(photos)
    assert [(bar.what, bar.total, bar.count) for bar in bars.bars] == [
        ("reading headers", 9, 9),
        ("writing rows", 9, 9),
    ]
    assert bars.bars[1].postfix.endswith(" MB/s")
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

    def watching(self, *args):
        seen.append(listing(tmp_path))
        return finish(self, *args)

    monkeypatch.setattr(hdf5.Writer, "finish", watching)
    make(photos)
    assert [name for name in seen[0] if not name.startswith(".")] == ["photos", "set.h5.ledger.jsonl"]


@pytest.mark.parametrize("error", [InputError("disk full"), KeyboardInterrupt()])
def test_a_failure_at_the_very_end_leaves_no_data_set_and_no_ledger(photos, make, tmp_path, monkeypatch, error):
    def fail(self, *args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(hdf5.Writer, "finish", fail)
        with pytest.raises(type(error)):
            make(photos)
    assert listing(tmp_path) == [*KEPT, "photos"]
    assert make(photos).rows_kept == 9
    assert listing(tmp_path) == ["photos", "set.h5", "set.h5.ledger.jsonl"]


@pytest.mark.parametrize("at", [0, 1, 5, 9, 13, 17, 21, 25, 29])
@pytest.mark.parametrize("out", ["set.h5", "set.lmdb"])
def test_a_full_disk_at_any_write_is_one_line_and_the_same_build_goes_on(photos, make, tmp_path, monkeypatch, at, out):
    whole = make(photos, "whole" + out[3:])
    calls = []
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > at:
            pwrite(descriptor, bytes(data)[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(build_module, "SAVE_SECONDS", 0)
    monkeypatch.setattr(tasks, "_IMAGES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        try:
            make(photos, out)
        except InputError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            assert not (tmp_path / out).exists()
        else:
            assert len(calls) <= at
    if not (tmp_path / out).exists():
        make(photos, out)
    assert (tmp_path / out).read_bytes() == whole.path.read_bytes() or out.endswith("lmdb")
    assert open_pyramid(tmp_path / out).manifest.content_digest == whole.manifest.content_digest
    assert (tmp_path / f"{out}.ledger.jsonl").read_bytes() == whole.ledger.read_bytes()
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


def test_a_full_disk_while_the_ledger_is_written(photos, make, tmp_path, monkeypatch):
    def full(path, entries):
        next(iter(entries))
        path.write_text("torn")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ledger, "write", full)
    with pytest.raises(
        InputError, match=rf"^cannot write .*/set\.h5\.ledger\.jsonl: No space left on device .*{GOES_ON}$"
    ):
        make(photos)
    assert listing(tmp_path) == [*KEPT, "photos"]


def test_a_build_that_would_fill_the_disk_is_refused(photos, make, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 0, 5000))
    with pytest.raises(
        InputError, match=r"its 9 rows need 0\.0 MB, but .* has 0\.0 MB free; free space, choose another disk"
    ):
        make(photos)
    assert listing(tmp_path) == ["photos"]


@pytest.mark.parametrize(("name", "encoding"), [("set.lmdb", None), ("set.lmdb", "png"), ("set.lmdb", "webp")])
def test_what_a_file_needs_is_known_before_it_is_written(photos, make, tmp_path, monkeypatch, name, encoding):
    """The nine rows of noise fit as they turn out, and are refused with a third of that."""
    size = make(photos, name, encoding=encoding, resolution=32, allow_upscale=True).bytes - 9000  # all but the rows
    (tmp_path / name).unlink()
    for free, fits in ((1.3 * size, True), (0.3 * size, False)):
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(10**9, 0, free))
            if fits:
                make(photos, name, encoding=encoding, resolution=32, allow_upscale=True)
                (tmp_path / name).unlink()
            else:
                with pytest.raises(InputError, match=r"its 9 rows need 0\.\d MB, but"):
                    make(photos, name, encoding=encoding, resolution=32, allow_upscale=True)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_build_never_replaces_its_own_source(photos, make, tmp_path, shards):
    out = make(photos, shards=shards).path
    (tmp_path / "link.h5").symlink_to(out)
    before = sorted(open_pyramid(out).sources())
    pairs = [(out, "set.h5"), (out, "link.h5"), (tmp_path / "link.h5", "set.h5")]
    for shard in open_pyramid(out).files() if shards > 1 else []:
        pairs += [(shard, "set.h5"), (out, f"set.h5/{shard.name}")]
    for source, name in pairs:
        with pytest.raises(InputError, match="is what would be read; choose another name for the output"):
            make(source, name, overwrite=True)
    assert sorted(open_pyramid(out).sources()) == before


def test_an_interrupt_waits_for_the_threads_and_keeps_what_is_done(photos, make, tmp_path, monkeypatch):
    """The interrupt comes while all threads are busy; what they use must not be closed under their hands."""
    inside, begun = [], []
    make_rows = process.make

    def slow(*args):
        inside.append(args)
        begun.append(args)
        if len(begun) == 5:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        result = make_rows(*args)
        inside.remove(args)
        return result

    monkeypatch.setattr(tasks, "_IMAGES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(process, "make", slow)
        with pytest.raises(KeyboardInterrupt):
            make(photos, jobs=3)
    assert inside == []
    assert not (tmp_path / "set.h5").exists()
    summary = make(photos)
    assert summary.rows_kept <= len(begun)
    assert content(summary) == content(make(photos, "whole.h5"))


def test_an_interrupt_does_not_wait_for_all_tiles_of_a_photograph(tmp_path, make, monkeypatch, rng):
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(tasks, "_ROW_BYTES", 4 * 3 * 64)
    begun = []
    make_rows = process.make

    def slow(*args):
        begun.append(args[-1])
        if len(begun) == 10:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)
        return make_rows(*args)

    monkeypatch.setattr(process, "make", slow)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "a.png", crop=Crop("tile", 8, 2), resolution=8)
    assert len(begun) < 40  # of 343 tasks


def test_an_image_of_many_tiles_is_decoded_once(tmp_path, make, monkeypatch, rng):
    Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(tasks, "_ROW_BYTES", 4 * 3 * 64)
    decoded = []
    read = process.read

    def counting(item, options):
        decoded.append(item.name)
        return read(item, options)

    monkeypatch.setattr(process, "read", counting)
    make(tmp_path / "a.png", crop=Crop("tile", 8, 2), resolution=8, jobs=4)
    assert decoded == ["a.png"]
    assert process._read_large.cache_info().currsize == 0  # and its memory is given back


def test_a_photograph_that_changes_while_it_is_built(tmp_path, make, monkeypatch, rng):
    path = tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    plan = build_module.make_plan

    def change(*args):
        made = plan(*args)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
        os.utime(path, (1, 1))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "make_plan", change)
        with pytest.raises(InputError, match=r"a\.png has changed since the build began; run the same command again$"):
            make(path, crop=Crop("tile", 8, 8), resolution=8)
    assert listing(tmp_path) == ["a.png"]


def test_a_photograph_that_changes_while_it_is_read(photos, make, tmp_path, monkeypatch):
    """The rows could be of the old one, the new one, or neither: they are not kept as those of either."""
    real = process.read

    def change(item, options):
        result = real(item, options)
        if item.name == "a3.png":
            os.utime(photos / "a3.png", (1, 1))
        return result

    monkeypatch.setattr(tasks, "_IMAGES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(process, "read", change)
        with pytest.raises(InputError, match=rf"a3\.png has changed since the build began{GOES_ON}$"):
            make(photos)
    assert make(photos).rows_kept == 1


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
