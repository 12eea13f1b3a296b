"""What is particular to HDF5; what every format must do is in tests/contracts/test_formats.py."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

from datasets import formats
from datasets.errors import InputError
from datasets.formats import hdf5
from datasets.levels import name_of, pyramid
from datasets.manifest import row_digest
from datasets.write_log import WriteLog


@pytest.fixture
def written(tmp_path, rng):
    path = tmp_path / "set.h5"
    images = rng.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    with hdf5.Writer(path, 5, 8) as writer:
        writer.write(range(5), writer.pack(pyramid(images)))
        writer.finish([f"{row}.png" for row in range(5)], [0, 1, 1, 0, 2], ["a", "b", "c"])
    return path, images


def test_a_foreign_reader_sees_the_documented_layout(written):
    path, images = written
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["data4x4", "data8x8", "digests", "labels", "layout", "manifest", "sources"]
        assert sorted(file["digests"]) == ["data4x4", "data8x8"]
        assert file["data8x8"].chunks is None
        assert file["data8x8"].compression is None
        assert np.array_equal(file["data8x8"][...], images)
        assert np.array_equal(file["data4x4"][...], pyramid(images)[2])
        assert file["digests/data8x8"].shape == (5, 16)
        assert file["labels"].dtype == np.int64
        assert file["labels"][...].tolist() == [0, 1, 1, 0, 2]


def test_the_layout_says_where_everything_lies(written):
    """Enough to map the file without the HDF5 library."""
    path, images = written
    content = path.read_bytes()
    layout = json.loads(content[content.index(b'{"schema": "growgan.pyramid.layout"') :][:4096])
    assert (layout["num_images"], layout["resolution"]) == (5, 8)
    for level, pixels in pyramid(images).items():
        name = name_of(level)
        assert content[layout["pixels"][name] :].startswith(pixels.tobytes())
        digests = b"".join(row_digest(image) for image in pixels)
        assert content[layout["digests"][name] :].startswith(digests)


def test_a_file_of_version_1_is_read(written):
    """As the first release wrote them: the manifest an attribute, no labels, no layout."""
    path, images = written
    with h5py.File(path, "r+") as file:
        fields = json.loads(bytes(file["manifest"][...]))
        for name in ("digest", "labels_digest", "label_names", "num_classes"):
            del fields[name]
        fields["version"] = 1
        for name in ("manifest", "layout", "labels"):
            del file[name]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        file.attrs["manifest"] = np.bytes_(json.dumps({**fields, "digest": digest}, indent=1, sort_keys=True))
    reader = formats.open_pyramid(path)
    assert (reader.manifest.version, reader.manifest.num_classes, reader.labels()) == (1, None, None)
    assert np.array_equal(reader.level(3), images)
    assert reader.sources() == [f"{row}.png" for row in range(5)]


def test_the_reader_printed_in_the_documentation_works(written):
    """With h5py alone, in a process of its own."""
    path, images = written
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    program = [sys.executable, "-I", "-c", f"path = {str(path)!r}\n{code}"]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[:2] == ["data4x4 (5, 3, 4, 4) uint8", "data8x8 (5, 3, 8, 8) uint8"]
    assert lines[2].startswith("0.png, class a, mean colour [")
    assert np.allclose([float(value) for value in lines[2][29:-1].split()], images[0].mean(axis=(1, 2)))


def test_content_keeps_its_digest_from_version_to_version(tmp_path):
    # Our own values of 2026-11-22. If one changes, the format has changed: then raise the version of the manifest.
    images = np.random.Generator(np.random.MT19937(5)).bytes(4 * 3 * 16 * 16)
    with hdf5.Writer(tmp_path / "set.h5", 4, 16) as writer:
        pixels = np.frombuffer(images, np.uint8).reshape(4, 3, 16, 16)
        writer.write(range(4), writer.pack(pyramid(pixels)))
        manifest = writer.finish([f"{row}.png" for row in range(4)], [3, 1, 0, 2])
    assert manifest.content_digest == "a5ae4d5af72f4c01d28235f9d38e0d633effae91bdbe58e2944dcea9fafd2080"
    assert manifest.sources_digest == "e9eae2719d57c4f555f7d2cfb18be0bbcc8b1f12be3891673ecb26a7ea9ef72a"
    # The labels as four little-endian 64-bit integers, written out by hand.
    assert manifest.labels_digest == hashlib.sha256(bytes([3, *7 * [0], 1, *15 * [0], 2, *7 * [0]])).hexdigest()


def test_pixels_lie_at_the_offset_that_hdf5_names(written):
    path, images = written
    with h5py.File(path, "r") as file:
        offset = file["data8x8"].id.get_offset()
    assert path.read_bytes()[offset : offset + images.nbytes] == images.tobytes()


def test_pixels_do_not_pass_through_the_library(tmp_path):
    with hdf5.Writer(tmp_path / "set.h5", 20_000, 64) as writer:  # 330 MB, were they written
        assert sum(len(data) for _, data in writer._log.writes) < 20_000
        assert writer._temporary.stat().st_size < 20_000


def test_the_file_in_memory_reads_what_was_written(rng):
    """Against a plain array of bytes, with writes that overlap, as the HDF5 library makes them."""
    log, plain = WriteLog(), bytearray(300)
    for _ in range(60):
        offset, data = int(rng.integers(250)), rng.bytes(int(rng.integers(1, 50)))
        log.seek(offset)
        assert log.write(memoryview(data)) == len(data)
        assert log.tell() == offset + len(data)
        plain[offset : offset + len(data)] = data
    assert log.seek(0, os.SEEK_END) == log.size
    for _ in range(60):
        start, buffer = int(rng.integers(250)), bytearray(int(rng.integers(1, 50)))
        log.seek(start)
        log.readinto(buffer)
        assert buffer == plain[start : start + len(buffer)]
    assert log.truncate(20) == log.size == 20


def test_unfinished_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["data4x4"] = np.zeros((1, 3, 4, 4), np.uint8)
    with pytest.raises(InputError, match="has no manifest: it is an unfinished build or another tool's file"):
        formats.open_pyramid(path)


def change(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


def replaced(name, **how):
    def change(file):
        data = file[name][...]
        del file[name]
        file.create_dataset(name, data=how.pop("data", data), **how)

    return change


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda file: file.pop("data4x4"), "data4x4 is missing or not uint8 of shape"),
        (replaced("data8x8", data=np.zeros((5, 3, 8, 8), np.int8)), "data8x8 is missing or not uint8"),
        (replaced("data8x8", data=np.zeros((4, 3, 8, 8), np.uint8)), "data8x8 is missing or not uint8 of shape"),
        (replaced("data8x8", chunks=(1, 3, 8, 8)), "data8x8 is not stored contiguously"),
        (replaced("manifest", data=np.zeros(3)), "the manifest is not JSON"),
        (replaced("manifest", data=np.frombuffer(b"\xff{}", np.uint8)), "the manifest is not JSON"),
        (lambda file: file.pop("manifest"), "has no manifest"),
    ],
)
def test_altered_files_are_refused(written, how, message):
    path, _ = written
    change(path, how)
    with pytest.raises(InputError, match=message):
        hdf5.Reader(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda file: file.pop("sources"), "cannot be read"),
        (replaced("sources", data=np.frombuffer(b'["a"]', np.uint8)), "1 names for 5 rows"),
        (replaced("sources", data=np.frombuffer(b"[", np.uint8)), "cannot be read"),
    ],
)
def test_damaged_names(written, how, message):
    path, _ = written
    change(path, how)
    with pytest.raises(InputError, match=message):
        hdf5.Reader(path).sources()


def test_damaged_digests(written):
    path, _ = written
    change(path, replaced("digests/data4x4", data=np.zeros((4, 16), np.uint8)))
    with pytest.raises(InputError, match=r"the digests of data4x4 are not uint8 of shape \(5, 16\)"):
        hdf5.Reader(path).row_digests(2)
    change(path, lambda file: file.pop("digests"))
    with pytest.raises(InputError, match="cannot be read"):
        hdf5.Reader(path).row_digests(3)


def test_a_full_disk_while_pixels_are_written(tmp_path, monkeypatch):
    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (  # noqa: PT012
        pytest.raises(InputError, match=r"cannot write .*set\.h5: No space left on device"),
        hdf5.Writer(tmp_path / "set.h5", 1, 4) as writer,
    ):
        monkeypatch.setattr(os, "pwrite", full)
        writer.write([0], writer.pack(pyramid(np.zeros((1, 3, 4, 4), np.uint8))))
    assert list(tmp_path.iterdir()) == []


def test_short_writes_go_on(tmp_path, monkeypatch, rng):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: whole(descriptor, data[:7], offset))
    images = rng.integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    with hdf5.Writer(tmp_path / "set.h5", 2, 8) as writer:
        writer.write([0, 1], writer.pack(pyramid(images)))
        writer.finish(["0", "1"])
    assert np.array_equal(hdf5.Reader(tmp_path / "set.h5").level(3), images)


def test_consecutive_rows_are_one_system_call(tmp_path, monkeypatch, rng):
    calls, whole = [], os.pwrite
    images = rng.integers(0, 256, (9, 3, 16, 16), dtype=np.uint8)
    with hdf5.Writer(tmp_path / "set.h5", 9, 16) as writer:
        packed = writer.pack(pyramid(images))
        monkeypatch.setattr(os, "pwrite", lambda *call: (calls.append(call), whole(*call))[1])
        writer.write([3, 4, 5, 6, 0, 1, 2, 8, 7], packed)
        assert len(calls) == 3 * 4  # levels times runs


def test_digests_reach_the_disk_after_their_pixels(tmp_path, monkeypatch, rng):
    """The order that makes a power cut harmless, as the system sees it."""
    calls = []
    write, flush = os.pwrite, hdf5.flush_data
    images = rng.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    with hdf5.Writer(tmp_path / "set.h5", 4, 8) as writer:
        digests = writer._tables[0]

        def pwrite(descriptor, data, offset):
            calls.append("digests" if offset >= digests else "pixels" if offset >= writer._offsets[2] else "start")
            return write(descriptor, data, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(hdf5, "flush_data", lambda descriptor: (calls.append("flush"), flush(descriptor)))
        writer.write([0, 1, 2, 3], writer.pack(pyramid(images)))
        assert calls == ["pixels", "pixels"]
        writer.flush()
        assert calls[2:] == ["flush", "digests", "digests", "flush"]
        calls.clear()
        writer.flush()
        assert calls == []  # nothing new
        writer.write([2], writer.pack(pyramid(images[[1]])))  # other pixels: the old digests go first
        assert calls == ["digests", "digests", "flush", "pixels", "pixels"]
        calls.clear()
        writer.finish(["x"] * 4)
    # The signature is written when all else is on disk.
    assert calls[:4] == ["flush", "digests", "digests", "flush"]
    assert calls[-2:] == ["flush", "start"]


def test_a_power_cut_loses_no_row_that_was_promised(tmp_path, rng):
    """Of what was written since the last flush to disk any part may be missing: no digest stands without pixels."""
    images = rng.integers(1, 256, (8, 3, 16, 16), dtype=np.uint8)
    path = tmp_path / "set.h5"
    journal: list[tuple[bytes, int] | None] = []  # what the system was told; None is a flush
    write = os.pwrite
    with pytest.MonkeyPatch.context() as patch, hdf5.Writer(path, 8, 16, keep=True) as writer:
        empty = writer._temporary.read_bytes()

        def pwrite(descriptor, data, offset):
            journal.append((bytes(data), offset))
            return write(descriptor, data, offset)

        patch.setattr(os, "pwrite", pwrite)
        patch.setattr(hdf5, "flush_data", lambda descriptor: journal.append(None))
        for rows in ([0, 1, 2], [5, 6], [7]):
            writer.write(rows, writer.pack(pyramid(images[rows])))
            writer.flush()
    flushes = [k for k, entry in enumerate(journal) if entry is None]
    for cut in range(len(journal) + 1):
        durable = max([k for k in flushes if k < cut], default=0)
        for _ in range(3):
            disk = bytearray(empty.ljust(path.with_name(".set.h5.partial").stat().st_size, b"\0"))
            for k, entry in enumerate(journal[:cut]):
                if entry is not None and (k < durable or rng.random() < 0.5):
                    disk[entry[1] : entry[1] + len(entry[0])] = entry[0]
            path.with_name(".set.h5.partial").write_bytes(disk)
            with hdf5.Writer(path, 8, 16, keep=True, resume=True) as writer:
                for row in range(8):
                    if (digests := writer.stored(row)) is not None:
                        place = writer._offsets[4] + row * 768
                        assert xxhash.xxh3_128_digest(bytes(disk[place : place + 768])) == bytes(digests[-1])
                if cut == len(journal):
                    assert [row for row in range(8) if writer.stored(row) is not None] == [0, 1, 2, 5, 6, 7]


LIMITED = """
import sys, resource
import numpy as np
from datasets import formats
from datasets.errors import InputError
from datasets.levels import name_of, pyramid
from datasets.manifest import row_digest
from datasets.write_log import WriteLog
path, limit, keep = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
images = np.full((1, 3, 16, 16), 7, np.uint8)
with formats.create(path, 400, 16, keep=keep, resume=keep) as writer:
    for row in range(400):
        if writer.stored(row) is None:
            writer.write([row], writer.pack(pyramid(images)))
        if row % 50 == 49:
            writer.flush()
    writer.finish(["x" * 100] * 400)
"""


@pytest.mark.parametrize("name", ["set.h5", "set.lmdb"])
@pytest.mark.parametrize("limit", [1000, 400_000, 420_000, 440_000])  # before, while and after pixels are written
def test_the_system_refuses_more_bytes(tmp_path, limit, name):
    """A limit on the size of files stands in for a full disk: real system calls fail, at every stage of the writing."""
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / name), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "InputError: cannot write" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("name", ["set.h5", "set.lmdb"])
def test_after_a_full_disk_the_work_goes_on(tmp_path, name):
    path = tmp_path / name
    for limit in (250_000, 420_000, -1):
        command = [sys.executable, "-c", LIMITED, str(path), str(limit), "keep"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == (0 if limit < 0 else 1)
        assert limit < 0 or "InputError: cannot write" in run.stderr.splitlines()[-1]
        assert limit < 0 or [left.name for left in tmp_path.iterdir()] == [f".{name}.partial"]
    assert np.array_equal(formats.open_pyramid(path).level(4), np.full((400, 3, 16, 16), 7, np.uint8))


def test_an_interrupt_while_space_is_reserved_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, name, shape):
        raise KeyboardInterrupt

    monkeypatch.setattr(hdf5.Writer, "_reserve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hdf5.Writer(tmp_path / "set.h5", 1, 4)
    assert list(tmp_path.iterdir()) == []
