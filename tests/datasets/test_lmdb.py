"""What is particular to LMDB; what every format must do is in tests/contracts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import formats
from datasets.errors import InputError
from datasets.formats import lmdb as lmdb_format
from datasets.levels import pyramid, resolution_of
from datasets.lmdb_pages import LmdbPages
from datasets.manifest import row_digest


def opened(path, **how):
    return lmdb.open(os.fspath(path), subdir=False, lock=False, **how)


def write(path, images, encoding="raw", labels=None, label_names=None):
    with formats.create(path, len(images), images.shape[-1], encoding=encoding) as writer:
        writer.write(range(len(images)), writer.pack(pyramid(images)))
        writer.finish([f"{row}.png" for row in range(len(images))], labels, label_names)
    return path


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


def test_a_foreign_reader_sees_the_documented_layout(tmp_path, images):
    path = write(tmp_path / "set.lmdb", images, labels=[0, 3, 1, 2, 1])
    with opened(path, readonly=True) as file, file.begin() as entries:
        keys = [key.decode() for key in entries.cursor().iternext(values=False)]
        expected = [
            f"{name}/{row:08d}" for name in ("data16x16", "data32x32", "data4x4", "data8x8") for row in range(5)
        ]
        expected += [f"digests/{row:08d}" for row in range(5)] + ["labels", "layout", "manifest", "sources"]
        assert keys == expected
        for level, pixels in pyramid(images).items():
            side = resolution_of(level)
            for row in range(5):
                assert entries.get(f"data{side}x{side}/{row:08d}".encode()) == pixels[row].tobytes()
                digests = entries.get(f"digests/{row:08d}".encode())
                assert digests[16 * (level - 2) :][:16] == row_digest(pixels[row])
        assert entries.get(b"labels") == b"".join(k.to_bytes(8, "little") for k in (0, 3, 1, 2, 1))
        assert json.loads(entries.get(b"layout"))["encoding"] == "raw"
    assert [file.name for file in tmp_path.iterdir()] == ["set.lmdb"]


@pytest.mark.parametrize(("encoding", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("webp", b"RIFF")])
def test_encoded_values_are_files_of_that_kind(tmp_path, images, encoding, magic):
    path = write(tmp_path / "set.lmdb", images, encoding)
    with opened(path, readonly=True) as file, file.begin() as entries:
        assert entries.get(b"data32x32/00000003").startswith(magic)
        assert json.loads(entries.get(b"layout"))["encoding"] == encoding


@pytest.mark.parametrize("encoding", ["raw", "png", "webp"])
@pytest.mark.parametrize("label_names", [None, ["a", "b", "c", "d"]])
def test_the_reader_printed_in_the_documentation_works(tmp_path, images, encoding, label_names):
    """With lmdb and Pillow alone, in a process of its own."""
    path = write(tmp_path / "set.lmdb", images, encoding, labels=[2, 3, 1, 2, 1], label_names=label_names)
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
    assert len(code.splitlines()) <= 14
    program = [sys.executable, "-I", "-W", "error", "-c", f"path = {str(path)!r}\n{code}"]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith(f"5 images of 32x32, {encoding}, ")
    label = "c" if label_names else 2
    assert lines[1] == f"0.png, class {label}, mean colour {images[0].mean(axis=(1, 2))}"
    assert [file.name for file in tmp_path.iterdir()] == ["set.lmdb"]


def test_the_library_agrees_with_our_reader_of_pages(tmp_path, rng):
    """Trees of every depth, written in many transactions and orders, with keys of other kinds between."""
    for count in (0, 1, 3, 40, 8000):
        path = tmp_path / f"{count}.lmdb"
        sizes = rng.choice([0, 1, 48, 768, 2000, 2031, 9000], count).tolist()
        entries = {f"b/{k:08d}".encode(): rng.bytes(size) for k, size in enumerate(sizes)}
        others = (b"a", b"b", b"b.", b"b/0000000", b"b/000000010", b"b0", b"\xff" * 511)
        entries |= {key: rng.bytes(5000) for key in others}
        keys = list(entries)
        rng.shuffle(keys)
        with opened(path, map_size=1 << 30) as file:
            for part in (keys[start::6] for start in range(6)):
                with file.begin(write=True) as transaction:
                    for key in part:
                        transaction.put(key, b"to be replaced by another length" * 100)
                        transaction.put(key, entries[key])
        pages = LmdbPages(path)
        pages.check()
        for key, value in entries.items():
            assert bytes(pages.get(key)) == value
        for key in (b"", b"b/00008000", b"c", b"b/x", b"\xff" * 510):
            assert pages.get(key) is None
        numbers, offsets, sizes = pages.numbered(b"b/", 8)
        assert numbers.tolist() == list(range(count))
        found = [pages.bytes[a : a + n].tobytes() for a, n in zip(offsets, sizes, strict=True)]
        assert found == [entries[f"b/{k:08d}".encode()] for k in range(count)]
        assert pages.numbered(b"nothing/", 8)[0].tolist() == []


def test_an_empty_database(tmp_path):
    with opened(tmp_path / "empty.lmdb"):
        pass
    assert LmdbPages(tmp_path / "empty.lmdb").get(b"x") is None
    assert not formats.is_pyramid(tmp_path / "empty.lmdb")


def test_a_foreign_database_is_refused(tmp_path):
    with opened(tmp_path / "other.lmdb") as file, file.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    assert not formats.is_pyramid(tmp_path / "other.lmdb")
    with pytest.raises(InputError, match=r"is not a pyramid \(hdf5, lmdb, shards\)"):
        formats.open_pyramid(tmp_path / "other.lmdb")
    with pytest.raises(InputError, match="has no manifest: it is an unfinished build or another tool's file"):
        lmdb_format.Reader(tmp_path / "other.lmdb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data32x32/00000002": None}, "rows of data32x32 are missing"),
        ({b"data32x32/00000005": b"x" * 3072}, "rows of data32x32 are missing"),
        ({b"data32x32/00000002": b"short"}, "rows of data32x32 have a wrong size"),
        ({b"data32x32/0000000x": b"x"}, "page .* of the LMDB file is damaged"),
        ({b"digests/00000002": None}, "rows of digests are missing"),
        ({b"digests/00000002": b"short"}, "digests have a wrong size"),
        ({b"sources": b"[1"}, "the entry sources cannot be read"),
        ({b"sources": b'["a"]'}, "1 names for 5 rows"),
        ({b"sources": None}, "the entry sources cannot be read"),
        ({b"layout": None}, "the entry layout cannot be read"),
        ({b"layout": b'{"encoding": "jpeg"}'}, "unknown encoding 'jpeg'"),
        ({b"labels": None}, "the labels do not match their digest"),
        ({b"labels": b"123"}, "the labels do not match their digest"),
        ({b"manifest": b"{"}, "the manifest is not JSON"),
    ],
)
def test_altered_files_are_refused(tmp_path, images, change, message):
    path = write(tmp_path / "set.lmdb", images, labels=[0, 3, 1, 2, 1])
    with opened(path, map_size=1 << 24) as file, file.begin(write=True) as transaction:
        for key, value in change.items():
            transaction.put(key, value) if value is not None else transaction.delete(key)
    with pytest.raises(InputError, match=message):  # noqa: PT012
        reader = formats.open_pyramid(path)
        reader.level(5)
        reader.row_digests(5)
        reader.labels()
        reader.sources()


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_a_damaged_image_is_named(tmp_path, images, encoding):
    path = write(tmp_path / "set.lmdb", images, encoding)
    with opened(path, map_size=1 << 24) as file, file.begin(write=True) as transaction:
        value = transaction.get(b"data16x16/00000003")
        transaction.put(b"data16x16/00000003", value[:-30])
        transaction.put(b"data16x16/00000001", transaction.get(b"data8x8/00000001"))  # of another size
    pixels = formats.open_pyramid(path).level(4)
    for row in (3, 1):
        with pytest.raises(InputError, match=rf"data16x16, row {row} is damaged and cannot be decoded"):
            pixels.gather([0, row])
    assert np.array_equal(pixels[[0, 2, 4]], pyramid(images)[4][[0, 2, 4]])


def test_other_programs_can_still_change_the_file(tmp_path, images):
    """It is an ordinary LMDB file: compacting it changes the places of the values and nothing else."""
    path = write(tmp_path / "set.lmdb", images)
    with opened(path) as file, (tmp_path / "copy.lmdb").open("wb") as copy:
        file.copyfd(copy.fileno(), compact=True)
    one, two = formats.open_pyramid(path), formats.open_pyramid(tmp_path / "copy.lmdb")
    assert one.manifest == two.manifest
    assert np.array_equal(two.level(5), images)


def test_large_pyramids_make_the_map_grow(tmp_path, monkeypatch, rng):
    """With steps made small, as if the images were large: several transactions and several sizes of the map."""
    monkeypatch.setattr(lmdb_format, "_MAP_STEP", 1 << 20)
    monkeypatch.setattr(lmdb_format, "_TRANSACTION_BYTES", 300_000)
    images = rng.integers(0, 256, (60, 3, 128, 128), dtype=np.uint8)
    with formats.create(tmp_path / "set.lmdb", 60, 128) as writer:
        for row in range(60):
            writer.write([row], writer.pack(pyramid(images[[row]])))
        assert writer.stored(0) is None  # not flushed
        writer.finish(["a name of some length"] * 60)
    assert np.array_equal(formats.open_pyramid(tmp_path / "set.lmdb").level(7), images)


def test_after_an_error_the_writer_is_closed(tmp_path, monkeypatch, images):
    with formats.create(tmp_path / "set.lmdb", 5, 32) as writer:
        writer.write([0, 1], writer.pack(pyramid(images[:2])))

        def failing(room=0):
            raise lmdb.DiskError("mdb_txn_commit: No space left on device")

        monkeypatch.setattr(writer, "_commit", failing)
        with pytest.raises(InputError, match=r"cannot write .*set\.lmdb: No space left on device .*; free space or"):
            writer.flush()
        monkeypatch.undo()
        for call in (writer.flush, lambda: writer.write([2], writer.pack(pyramid(images[2:3])))):
            with pytest.raises(ValueError, match="is closed"):
                call()
        assert writer.stored(0) is None
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=4096))
def test_bytes_that_are_no_database(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.lmdb"
    path.write_bytes(bytes(16) + (0xBEEFC0DE).to_bytes(4, "little") + b"\x01\0\0\0" + data)
    with pytest.raises(InputError, match=r"cut short|damaged|no manifest"):
        lmdb_format.Reader(path)


DAMAGED_PARTIAL = """
import sys
import numpy as np
from pathlib import Path
from datasets import formats
from datasets.errors import InputError
from datasets.levels import pyramid
path, partial = Path(sys.argv[1]), Path(sys.argv[2])
content = partial.read_bytes()
generator = np.random.default_rng(3)
images = np.random.default_rng(0).integers(0, 256, (30, 3, 16, 16), dtype=np.uint8)
for _ in range(60):
    damaged = bytearray(content)
    start = int(generator.choice([0, 4096, len(content) - 4096, generator.integers(len(content))]))
    for place in range(start, start + 40):
        if generator.random() < 0.3:
            damaged[place % len(content)] = int(generator.integers(256))
    partial.write_bytes(damaged[: int(generator.choice([len(content), generator.integers(len(content))]))])
    try:
        with formats.create(path, 30, 16, keep=True, resume=True) as writer:
            rows = [row for row in range(30) if writer.stored(row) is None]
            writer.write(rows, writer.pack(pyramid(images[rows])))
            writer.flush()
    except InputError as error:
        assert "cannot write" in str(error), error
print("alive")
"""


def test_a_damaged_hidden_file_does_not_crash_the_next_build(tmp_path):
    path, partial = tmp_path / "set.lmdb", tmp_path / ".set.lmdb.partial"
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 16, 16), dtype=np.uint8)
    with formats.create(path, 30, 16, keep=True) as writer:
        for rows in ([1, 4, 5], [9, 2], range(10, 20)):
            writer.write(rows, writer.pack(pyramid(images[list(rows)])))
            writer.flush()
    run = subprocess.run(
        [sys.executable, "-c", DAMAGED_PARTIAL, str(path), str(partial)], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("alive\n", "")
