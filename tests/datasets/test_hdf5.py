"""What is particular to HDF5; what every format must do is in tests/contracts/test_formats.py."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets import formats
from datasets.errors import InputError
from datasets.formats import hdf5
from datasets.levels import pyramid


@pytest.fixture
def written(tmp_path, rng):
    path = tmp_path / "set.h5"
    images = rng.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    with hdf5.Writer(path, 5, 8) as writer:
        for row, image in enumerate(images):
            writer.write(row, pyramid(image), f"{row}.png")
        writer.finish({}, {})
    return path, images


def test_a_foreign_reader_sees_the_documented_layout(written):
    path, images = written
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["data4x4", "data8x8", "digests", "sources"]
        assert sorted(file["digests"]) == ["data4x4", "data8x8"]
        assert file["data8x8"].chunks is None
        assert file["data8x8"].compression is None
        assert np.array_equal(file["data8x8"][...], images)
        assert np.array_equal(file["data4x4"][...], pyramid(images)[2])
        assert file["digests/data8x8"].shape == (5, 16)
        assert list(file.attrs) == ["manifest"]


def test_the_reader_printed_in_the_documentation_works(written):
    """With h5py alone, in a process of its own."""
    path, images = written
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    program = [sys.executable, "-I", "-c", f"path = {str(path)!r}\n{code}"]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[:2] == ["data4x4 (5, 3, 4, 4) uint8", "data8x8 (5, 3, 8, 8) uint8"]
    assert lines[2].startswith("0.png [")
    assert np.allclose([float(value) for value in lines[2][7:-1].split()], images[0].mean(axis=(1, 2)))


def test_content_keeps_its_digest_from_version_to_version(tmp_path):
    # Our own values of 2026-11-22. If one changes, the format has changed: then raise the version of the manifest.
    images = np.random.Generator(np.random.MT19937(5)).bytes(4 * 3 * 16 * 16)
    with hdf5.Writer(tmp_path / "set.h5", 4, 16) as writer:
        for row, image in enumerate(np.frombuffer(images, np.uint8).reshape(4, 3, 16, 16)):
            writer.write(row, pyramid(image), f"{row}.png")
        manifest = writer.finish({"crop": "centre"}, {})
    assert manifest.content_digest == "a5ae4d5af72f4c01d28235f9d38e0d633effae91bdbe58e2944dcea9fafd2080"
    assert manifest.sources_digest == "e9eae2719d57c4f555f7d2cfb18be0bbcc8b1f12be3891673ecb26a7ea9ef72a"


def test_pixels_lie_at_the_offset_that_hdf5_names(written):
    path, images = written
    with h5py.File(path, "r") as file:
        offset = file["data8x8"].id.get_offset()
    assert path.read_bytes()[offset : offset + images.nbytes] == images.tobytes()


def test_pixels_do_not_pass_through_the_library(tmp_path):
    with hdf5.Writer(tmp_path / "set.h5", 20_000, 64) as writer:  # 330 MB, were they written
        assert sum(len(data) for _, data in writer._log.writes) < 20_000


def test_the_file_in_memory_reads_what_was_written(rng):
    """Against a plain array of bytes, with writes that overlap, as the HDF5 library makes them."""
    log, plain = hdf5._WriteLog(), bytearray(300)
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
        (lambda file: file.attrs.create("manifest", 3.0), "the manifest is not JSON"),
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

    monkeypatch.setattr(os, "pwrite", full)
    with (
        pytest.raises(InputError, match=r"cannot write .*set\.h5: No space left on device"),
        hdf5.Writer(tmp_path / "set.h5", 1, 4) as writer,
    ):
        writer.write(0, pyramid(np.zeros((3, 4, 4), np.uint8)), "0")
    assert list(tmp_path.iterdir()) == []


def test_short_writes_go_on(tmp_path, monkeypatch, rng):
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: whole(descriptor, data[:7], offset))
    image = rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    with hdf5.Writer(tmp_path / "set.h5", 1, 8) as writer:
        writer.write(0, pyramid(image), "0")
        writer.finish({}, {})
    assert np.array_equal(hdf5.Reader(tmp_path / "set.h5").level(3)[0], image)


LIMITED = """
import sys, resource
import numpy as np
from datasets.formats import writer_for
from datasets.levels import pyramid
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
with writer_for(sys.argv[1])(sys.argv[1], 400, 16) as writer:
    for row in range(400):
        writer.write(row, pyramid(np.zeros((3, 16, 16), np.uint8)), "x" * 100)
    writer.finish({}, {})
"""


@pytest.mark.parametrize("limit", [1000, 400_000, 415_000, 440_000])  # before, while and after pixels are written
def test_the_system_refuses_more_bytes(tmp_path, limit):
    """A limit on the size of files stands in for a full disk: real system calls fail, at every stage of the writing."""
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "set.h5"), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "InputError: cannot write" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_interrupt_while_space_is_reserved_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, level):
        raise KeyboardInterrupt

    monkeypatch.setattr(hdf5.Writer, "_reserve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hdf5.Writer(tmp_path / "set.h5", 1, 4)
    assert list(tmp_path.iterdir()) == []
