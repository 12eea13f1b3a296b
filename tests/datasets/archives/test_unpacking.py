import bz2
import gzip
import io
import lzma
import os
import tempfile
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from datasets.archives import unpacking
from datasets.archives.unpacking import unpack, unpack_to_temporary
from datasets.errors import InputError

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
DATA = os.urandom(150_000) + bytes(2_000_000) + os.urandom(1000)


@pytest.fixture(params=PACKERS)
def pack(request):
    return PACKERS[request.param]


def whole(path):
    file = unpack_to_temporary(path)
    return file.read(0, file.size)


def test_content_is_unpacked(tmp_path, pack):
    path = tmp_path / "x"
    for data in (b"", b"a", DATA):
        path.write_bytes(pack(data))
        assert whole(path) == data
        assert all(len(piece) <= 1 << 20 for piece in unpack(io.BytesIO(pack(data)), path))


def test_several_streams_and_padding(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack(b"one") + pack(b"two") + bytes(8) + pack(b"three") + bytes(512))
    assert whole(tmp_path / "x") == b"onetwothree"
    (tmp_path / "y").write_bytes(pack(b"one") + b"notes")
    with pytest.raises(InputError, match="y goes on after the end of its compressed data; download or pack it again"):
        unpack_to_temporary(tmp_path / "y")


def test_what_is_not_compressed(tmp_path):
    (tmp_path / "x").write_bytes(b"plain")
    assert unpack_to_temporary(tmp_path / "x") is None


def test_truncation_and_damage(tmp_path, pack):
    data = pack(DATA[:100_000])
    for length in (10, 1000, len(data) // 2, len(data) - 1):
        (tmp_path / "x").write_bytes(data[:length])
        with pytest.raises(InputError, match="x is cut short; copy or download it again"):
            unpack_to_temporary(tmp_path / "x")
    (tmp_path / "x").write_bytes(data[:20000] + b"damage" + data[20006:])
    with pytest.raises(
        InputError, match=r"x cannot be unpacked \(.*\); copy or download it again, or unpack it yourself"
    ):
        unpack_to_temporary(tmp_path / "x")


def test_a_bomb_is_refused_in_little_memory(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1000)
    (tmp_path / "x").write_bytes(pack(bytes(20_000_000)))
    tracemalloc.start()
    with pytest.raises(
        InputError, match=r"x unpacks to more than \d+ bytes, 100 times its size and more, as no archive"
    ):
        unpack_to_temporary(tmp_path / "x")
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


def test_an_xz_that_asks_for_much_memory(tmp_path):
    data = bytearray(lzma.compress(b"small", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]))
    assert data[16] == 8  # size of the dictionary, 64 KiB
    data[16] = 34  # 512 MiB
    data[20:24] = zlib.crc32(bytes(data[12:20])).to_bytes(4, "little")
    (tmp_path / "x").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"x cannot be unpacked \(Memory usage limit exceeded\)"):
        unpack_to_temporary(tmp_path / "x")


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "x").write_bytes(gzip.compress(DATA))
    before = sorted(Path(tmp_path).iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(unpacking.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
        with pytest.raises(
            InputError, match=r"x does not fit unpacked into .*; set TMPDIR to a folder on a larger disk, or"
        ):
            unpack_to_temporary(tmp_path / "x")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking, "_write", full)
    with pytest.raises(InputError, match=r"x does not fit unpacked into"):
        unpack_to_temporary(tmp_path / "x")
    assert sorted(Path(tmp_path).iterdir()) == before
