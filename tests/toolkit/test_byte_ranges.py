"""Ranges of compressed streams are those of the unpacked bytes, in any order, from many threads, in bounded memory."""

import gzip
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from toolkit.layouts import byte_ranges
from toolkit.layouts.byte_ranges import DEFLATE, GZIP, ZLIB, AsFile, Inflated, Part, Stored


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(byte_ranges, "_BLOCK", 1000)
    monkeypatch.setattr(byte_ranges, "_MOST_BLOCKS", 3)
    monkeypatch.setattr(byte_ranges, "_STEP", 70)


def content(size, seed=0):
    """Bytes that are packed to about half, so that blocks and steps do not end together."""
    return np.random.default_rng(seed).integers(0, 16, size, np.uint8).tobytes()


def pack(data, kind):
    packer = zlib.compressobj(wbits=kind)
    return packer.compress(data) + packer.flush()


KINDS = {"stored": None, "gzip": GZIP, "zlib": ZLIB, "deflate": DEFLATE}


def open_as(kind, path, data, offset=7):
    packed = data if KINDS[kind] is None else pack(data, KINDS[kind])
    path.write_bytes(b"#" * offset + packed)
    return Stored(path, offset) if KINDS[kind] is None else Inflated(path, KINDS[kind], offset)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 3000, 12345])
def test_every_range(kind, size, tmp_path):
    data = content(size)
    found = open_as(kind, tmp_path / "x", data)
    rng = np.random.default_rng(1)
    for _ in range(60):
        start = int(rng.integers(0, size))
        length = int(rng.integers(0, size - start + 1))
        assert found.read(start, length) == data[start : start + length]
        assert Part(found, start).read(0, length) == data[start : start + length]
    assert found.read(0, size) == data
    for start, length in ((0, size + 1), (size, 1), (size + 5000, 1)):
        with pytest.raises(
            InputError, match="x is cut short: it ends before its last image; copy or download it again"
        ):
            found.read(start, length)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 3000)), max_size=20))
def test_random_access(tmp_path_factory, wanted):
    data = content(9000)
    found = open_as("gzip", tmp_path_factory.mktemp("ranges") / "x", data)
    for start, length in wanted:
        assert found.read_up_to(start, length) == data[start : start + length]
        assert len(found._blocks) <= 3


def test_threads(tmp_path):
    data = content(50_000)
    found, wrong = open_as("zlib", tmp_path / "x", data), []

    def work(seed):
        starts = np.random.default_rng(seed).integers(0, 49_000, 100).tolist()
        wrong.extend(start for start in starts if found.read(start, 1000) != data[start : start + 1000])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_bomb_is_unpacked_only_as_far_as_it_is_read(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    found = Inflated(tmp_path / "x.gz", GZIP)
    assert found.read(0, 10) == bytes(10)
    assert len(found._states) == 2


def test_damage_gives_one_line(tmp_path):
    data = content(20_000)
    packed = pack(data, GZIP)
    for place in range(0, len(packed), 97):
        (tmp_path / "x").write_bytes(packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :])
        found = Inflated(tmp_path / "x", GZIP)
        with pytest.raises(InputError) as caught:
            found.read(0, len(data) + 1)  # one more, so that the checksum at the end is reached
        assert "\n" not in str(caught.value)
    (tmp_path / "x").write_bytes(packed[:-12])
    with pytest.raises(InputError, match="cut short"):
        Inflated(tmp_path / "x", GZIP).read(0, len(data))
    (tmp_path / "x").unlink()
    with pytest.raises(InputError, match="x: No such file or directory; make it readable"):
        found.read(0, 1)
    with pytest.raises(InputError, match="x: No such file or directory; make it readable"):
        Stored(tmp_path / "x").read(0, 1)


def test_as_a_file(tmp_path):
    data = content(5000)
    file = AsFile(open_as("gzip", tmp_path / "x", data))
    assert file.read(10) == data[:10]
    assert file.seek(900) == 900
    assert file.read(200) == data[900:1100]
    assert file.seek(-100, 1) == 1000
    assert file.tell() == 1000
    file.seek(4990)
    assert file.read(20) == data[4990:]
    assert file.read(20) == b""
    with pytest.raises(OSError, match="a header of the archive is too long"):
        file.read(1 << 40)
