"""Rows copied from pyramids into a new one: checked, complete, and resumed without a journal."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from pyramids import assert_rows, listing, noise, write

from datasets import atomic
from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.writing import FileWriter
from toolkit.derived import assembly
from toolkit.derived.assembly import Description, Part, assemble, check_output
from toolkit.engine.output import Output

PLAIN = Description(labels=None, label_names=None, options={"crop": "none"}, provenance={"made": "by hand"})
KINDS = [
    ("out.h5", {}),
    ("out.lmdb", {}),
    ("out.lmdb", {"encoding": "png"}),
    ("out.lmdb", {"encoding": "webp"}),
    ("out.h5", {"shards": 3}),
    ("out.lmdb", {"shards": 2, "encoding": "png"}),
]


@pytest.fixture
def two(tmp_path):
    """Two pyramids and their images."""
    one, two = noise(7, seed=1), noise(5, seed=2)
    write(tmp_path / "one.h5", one, names=[f"one/{row}" for row in range(7)])
    write(tmp_path / "two.lmdb", two, names=[f"two/{row}" for row in range(5)], encoding="png", shards=2)
    return one, two


def parts_of(tmp_path, rows_of_one=(6, 0, 3), rows_of_two=(1, 1, 4)):
    return [
        Part(open_pyramid(tmp_path / "one.h5"), np.array(rows_of_one)),
        Part(open_pyramid(tmp_path / "two.lmdb"), np.array(rows_of_two)),
    ]


@pytest.mark.parametrize(("name", "storage"), KINDS)
@pytest.mark.parametrize("jobs", [1, 3])
def test_chosen_rows_of_several_in_their_order(two, tmp_path, bars, name, storage, jobs):
    output = Output(path=tmp_path / name, **storage)
    done = assemble(parts_of(tmp_path), output, PLAIN, top=4, jobs=jobs, progress=bars)
    assert_rows(tmp_path / name, np.concatenate([two[0][[6, 0, 3]], two[1][[1, 1, 4]]]))
    reader = open_pyramid(tmp_path / name)
    assert reader.sources() == ["one/6", "one/0", "one/3", "two/1", "two/1", "two/4"]
    assert (reader.encoding, len(reader.files())) == (storage.get("encoding", "raw"), 1 + storage.get("shards", 0))
    assert (reader.manifest.options, reader.manifest.provenance) == ({"crop": "none"}, {"made": "by hand"})
    assert done.manifest == reader.manifest
    assert (done.copied, done.resumed) == (6, 0)
    assert done.bytes == sum(file.stat().st_size for file in reader.files())
    assert (bars.bars[-1].total, bars.bars[-1].count) == (6, 6)
    assert listing(tmp_path) == sorted(["one.h5", "two.lmdb", name])


def test_only_the_coarse_levels(two, tmp_path, bars):
    assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), PLAIN, top=3, jobs=2, progress=bars)
    reader = open_pyramid(tmp_path / "out.h5")
    assert reader.manifest.resolution == 8
    whole = np.concatenate([two[0][[6, 0, 3]], two[1][[1, 1, 4]]])
    np.testing.assert_array_equal(reader.level(3)[:], np.rint(whole.reshape(6, 3, 8, 2, 8, 2).mean(axis=(3, 5))))


def test_more_rows_than_a_batch_has(tmp_path, bars):
    images = noise(1003, 4)
    write(tmp_path / "set.h5", images)
    order = np.random.default_rng(0).permutation(1003)
    part = Part(open_pyramid(tmp_path / "set.h5"), order)
    assemble([part], Output(path=tmp_path / "out.lmdb"), PLAIN, top=2, jobs=3, progress=bars)
    assert_rows(tmp_path / "out.lmdb", images[order])


def test_labels_and_names_of_classes(two, tmp_path, bars):
    numbers = np.array([2, 0, 0, 1, 1, 2])
    description = Description(labels=numbers, label_names=["a", "b", "c", "unused"], options={}, provenance={})
    assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), description, top=4, jobs=1, progress=bars)
    reader = open_pyramid(tmp_path / "out.h5")
    assert reader.labels().tolist() == numbers.tolist()
    assert (reader.manifest.num_classes, reader.manifest.label_names) == (4, ["a", "b", "c", "unused"])


class StopError(Exception):
    pass


def interrupted(monkeypatch, after, error=StopError):
    """Let the writing of rows fail after some of them."""
    count = 0
    original = FileWriter.write

    def failing(self, rows, packed):
        nonlocal count
        if count >= after:
            raise error
        original(self, rows, packed)
        count += len(rows)

    monkeypatch.setattr(FileWriter, "write", failing)


@pytest.mark.parametrize(("name", "storage"), KINDS)
@pytest.mark.parametrize("after", [1, 4, 9])
def test_an_interrupted_copy_goes_on(tmp_path, bars, monkeypatch, name, storage, after):
    images = noise(10, 16)
    write(tmp_path / "set.h5", images)
    part = Part.whole(open_pyramid(tmp_path / "set.h5"))
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        interrupted(patch, after)
        with pytest.raises(StopError):
            assemble([part], Output(path=tmp_path / name, **storage), PLAIN, top=4, jobs=1, progress=bars)
    assert not (tmp_path / name).exists()
    assert listing(tmp_path) == sorted([f".{name}.partial", "set.h5"])
    with pytest.raises(InputError):
        open_pyramid(tmp_path / f".{name}.partial")
    done = assemble([part], Output(path=tmp_path / name, **storage), PLAIN, top=4, jobs=1, progress=bars)
    assert (done.copied, done.resumed) == (10 - after, after)
    assert (bars.bars[-1].initial, bars.bars[-1].count) == (after, 10)
    assert_rows(tmp_path / name, images)
    assert done.manifest.content_digest == part.reader.manifest.content_digest
    (tmp_path / "again").mkdir()
    assemble([part], Output(path=tmp_path / "again" / name, **storage), PLAIN, top=4, jobs=1, progress=bars)
    if name.endswith(".h5"):  # of equal bytes; LMDB arranges its pages by history
        for file in open_pyramid(tmp_path / name).files():
            other = tmp_path / "again" / file.relative_to(tmp_path)
            assert file.read_bytes() == other.read_bytes()


def test_rows_of_something_else_in_the_partial_file_are_written_again(tmp_path, bars, monkeypatch):
    """The same command, but its source has changed: every row that is not what is wanted now is replaced."""
    old, new = noise(10, 16, seed=1), noise(10, 16, seed=1)
    new[3] = noise(1, 16, seed=9)
    write(tmp_path / "old.h5", old)
    write(tmp_path / "new.h5", new)
    output = Output(path=tmp_path / "out.h5")
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        interrupted(patch, 6)
        with pytest.raises(StopError):
            assemble([Part.whole(open_pyramid(tmp_path / "old.h5"))], output, PLAIN, top=4, jobs=1, progress=bars)
    done = assemble([Part.whole(open_pyramid(tmp_path / "new.h5"))], output, PLAIN, top=4, jobs=1, progress=bars)
    assert (done.copied, done.resumed) == (5, 5)
    assert_rows(tmp_path / "out.h5", new)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_partial_file_whose_pixels_were_damaged_is_not_published_unnoticed(tmp_path, bars, monkeypatch, number):
    """What the interrupted writer promised is trusted; if the disk lies, verify finds it."""
    from toolkit.verification import verify

    write(tmp_path / "set.h5", noise(10, 16))
    part = Part.whole(open_pyramid(tmp_path / "set.h5"))
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        interrupted(patch, 5)
        with pytest.raises(StopError):
            assemble([part], Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    partial = tmp_path / ".out.h5.partial"
    content = bytearray(partial.read_bytes())
    place = bytes(content).index(part.reader.level(4)[number].tobytes())
    content[place + 100] ^= 1
    partial.write_bytes(content)
    assemble([part], Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    faults = verify(tmp_path / "out.h5", jobs=1, progress=bars).faults
    assert len(faults) == 1
    assert f"data16x16, row {number} " in faults[0]


@pytest.mark.parametrize("row", [0, 4, 6])
@pytest.mark.parametrize("level", [2, 4])
def test_a_damaged_row_is_named_and_nothing_is_left(two, tmp_path, bars, row, level):
    side = 1 << level
    with h5py.File(tmp_path / "one.h5", "r+") as file:
        file[f"data{side}x{side}"][row, 1, 2, 3] ^= 1
    parts = [Part.whole(open_pyramid(tmp_path / name)) for name in ("two.lmdb", "one.h5")]
    message = rf"one\.h5: data{side}x{side}, row {row} \(one/{row}\): the pixels do not match their digest"
    with pytest.raises(InputError, match=message):
        assemble(parts, Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=2, progress=bars)
    assert listing(tmp_path) == ["one.h5", "two.lmdb"]
    rows = np.array([other for other in range(7) if other != row])
    whole = [Part(open_pyramid(tmp_path / "one.h5"), rows)]
    assemble(whole, Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=2, progress=bars)  # the others are whole
    assert_rows(tmp_path / "out.h5", two[0][rows])


def test_a_row_that_cannot_be_decoded_is_an_error_of_the_source(tmp_path, bars):
    write(tmp_path / "set.lmdb", noise(6), encoding="png")
    content = (tmp_path / "set.lmdb").read_bytes()
    (tmp_path / "set.lmdb").write_bytes(content.replace(b"IDAT", b"XXXX"))
    part = Part.whole(open_pyramid(tmp_path / "set.lmdb"))
    with pytest.raises(InputError, match=r"set\.lmdb.*data4x4"):
        assemble([part], Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=2, progress=bars)
    assert listing(tmp_path) == ["set.lmdb"]


def test_damaged_digests_are_found(two, tmp_path, bars):
    with h5py.File(tmp_path / "one.h5", "r+") as file:
        file["digests/data8x8"][2, 3] ^= 1
    with pytest.raises(InputError, match=r"one\.h5: data8x8: the digests of its rows do not match the manifest"):
        assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=2, progress=bars)
    assert listing(tmp_path) == ["one.h5", "two.lmdb"]


def test_a_full_disk_keeps_what_is_done(tmp_path, bars, monkeypatch):
    images = noise(10, 16)
    write(tmp_path / "set.h5", images)
    part = Part.whole(open_pyramid(tmp_path / "set.h5"))
    monkeypatch.setattr(assembly, "_MOST_ROWS", 1)
    with monkeypatch.context() as patch:
        interrupted(patch, 4, InputError("cannot write out.h5: No space left on device"))
        message = "No space left on device; what is done is kept, and the same command goes on with it"
        with pytest.raises(InputError, match=message):
            assemble([part], Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    assert assemble([part], Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars).resumed == 4
    assert_rows(tmp_path / "out.h5", images)


def test_a_copy_that_cannot_fit_is_refused_before_it_begins(two, tmp_path, bars, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 6000}))
    with pytest.raises(InputError, match=r"its 6 rows need 0\.0 MB, but .* has 0\.0 MB free"):
        assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    assert listing(tmp_path) == ["one.h5", "two.lmdb"]


def test_nothing_is_left_when_nothing_was_done(two, tmp_path, bars, monkeypatch):
    interrupted(monkeypatch, 0, InputError("cannot write"))
    with pytest.raises(InputError, match=r"cannot write$"):
        assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    assert listing(tmp_path) == ["one.h5", "two.lmdb"]


def test_the_input_is_never_the_output(two, tmp_path):
    readers = [open_pyramid(tmp_path / "one.h5"), open_pyramid(tmp_path / "two.lmdb")]
    (tmp_path / "link.h5").symlink_to("one.h5")
    (tmp_path / "hard.h5").hardlink_to(tmp_path / "one.h5")
    for name in ("one.h5", "link.h5", "hard.h5", "two.lmdb"):
        with pytest.raises(InputError, match="is what would be read; choose another name"):
            check_output(Output(path=tmp_path / name, overwrite=True), readers)


@pytest.mark.parametrize("storage", [{}, {"shards": 2}])
def test_overwriting_replaces_data_set_and_ledger(two, tmp_path, bars, storage):
    write(tmp_path / "out.h5", noise(3), **storage)
    (tmp_path / "out.h5.ledger.jsonl").write_text("of the old one\n")
    with pytest.raises(InputError, match="exists already"):
        check_output(Output(path=tmp_path / "out.h5"), [])
    output = Output(path=tmp_path / "out.h5", overwrite=True, **storage)
    check_output(output, [])
    assemble(parts_of(tmp_path), output, PLAIN, top=4, jobs=1, progress=bars)
    assert listing(tmp_path) == ["one.h5", "out.h5", "two.lmdb"]
    assert open_pyramid(tmp_path / "out.h5").manifest.num_images == 6


def test_two_at_once_are_refused(two, tmp_path, bars):
    _, descriptor = atomic.claim(tmp_path / "out.h5")
    try:
        with pytest.raises(InputError, match="another process is writing"):
            assemble(parts_of(tmp_path), Output(path=tmp_path / "out.h5"), PLAIN, top=4, jobs=1, progress=bars)
    finally:
        os.close(descriptor)


KILLED = """
import sys
from pathlib import Path
import numpy as np
from datasets.formats import open_pyramid
from datasets.writing import FileWriter
from toolkit.derived import assembly
from toolkit.derived.assembly import Description, Part, assemble
from toolkit.engine.output import Output
import contextlib, time

class Bar:
    def update(self, n, /):
        print(n, flush=True)
        time.sleep(0.01)
    def set_postfix_str(self, s, refresh=True): pass

def progress(total, what, *, initial=0):
    return contextlib.nullcontext(Bar())

assembly._FLUSH_SECONDS = 0.02
assembly._MOST_ROWS = 2
source, out, shards = sys.argv[1:]
part = Part.whole(open_pyramid(source))
description = Description(labels=None, label_names=None, options={}, provenance={})
assemble([part], Output(path=Path(out), shards=int(shards)), description, top=4, jobs=2, progress=progress)
"""


@pytest.mark.parametrize(("name", "shards"), [("out.h5", 1), ("out.lmdb", 1), ("out.h5", 3)])
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tmp_path, bars, name, shards):
    """SIGKILL after a few rows, several times; every time it goes on, and at the end the content is the same."""
    images = noise(60, 16)
    write(tmp_path / "set.h5", images)
    out = tmp_path / name
    command = [sys.executable, "-c", KILLED, tmp_path / "set.h5", out, str(shards)]
    rng = np.random.default_rng(len(name) + shards)
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        timer = threading.Timer(60, process.kill)
        timer.start()
        for _ in range(int(rng.integers(2, 9))):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        timer.cancel()
        if out.exists():
            break
        kills += 1
        with pytest.raises(InputError):
            open_pyramid(tmp_path / f".{name}.partial")
        if kills == 4:
            break
    assert kills >= 2
    part = Part.whole(open_pyramid(tmp_path / "set.h5"))
    done = assemble([part], Output(path=out, shards=shards), PLAIN, top=4, jobs=2, progress=bars)
    assert done.resumed > 0
    assert done.manifest.content_digest == part.reader.manifest.content_digest
    assert_rows(out, images)
    assert listing(tmp_path) == sorted(["set.h5", name])
