import contextlib
import os
import struct

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from toolkit.layouts.lmdb_entries import LmdbEntries, is_lmdb


def write(folder, entries, steps=1, **options):
    """Write entries with the library in so many transactions, and give the file."""
    with lmdb.open(str(folder), map_size=1 << 26, **options) as database:
        keys = list(entries)
        for step in range(steps):
            with database.begin(write=True) as transaction:
                for key in keys[step::steps]:
                    transaction.put(key, entries[key])
    return folder / "data.mdb"


def contents(pages):
    return [(key, pages.file.read(offset, size)) for key, offset, size in map(pages.entry, range(len(pages)))]


def by_the_library(path):
    with lmdb.open(str(path.parent), readonly=True, lock=False) as database, database.begin() as transaction:
        return list(transaction.cursor())


@pytest.mark.parametrize("number", [1, 3, 100, 3000])
def test_equal_to_the_library(tmp_path, number):
    rng = np.random.default_rng(number)
    entries = {
        rng.bytes(20).hex().encode(): rng.bytes(int(rng.choice([0, 1, 100, 2000, 2100, 9000]))) for _ in range(number)
    }
    path = write(tmp_path / "x", entries, steps=min(number, 3))
    assert is_lmdb(path)
    pages = LmdbEntries(path)
    assert len(pages) == number
    assert contents(pages) == by_the_library(path) == sorted(entries.items())


def test_deleted_and_replaced_entries(tmp_path):
    entries = {b"%05d" % number: os.urandom(3000) for number in range(500)}
    path = write(tmp_path / "x", entries)
    with lmdb.open(str(tmp_path / "x"), map_size=1 << 26) as database, database.begin(write=True) as transaction:
        for number in range(0, 500, 3):
            transaction.delete(b"%05d" % number)
        transaction.put(b"00001", b"short")
    assert contents(LmdbEntries(path)) == by_the_library(path)


@given(st.dictionaries(st.binary(min_size=1, max_size=60), st.binary(max_size=5000), max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_keys_and_values(tmp_path_factory, entries):
    path = write(tmp_path_factory.mktemp("lmdb") / "x", entries)
    assert contents(LmdbEntries(path)) == sorted(entries.items())


def test_an_empty_database(tmp_path):
    pages = LmdbEntries(write(tmp_path / "x", {}))
    assert len(pages) == 0
    with pytest.raises(IndexError):
        pages.entry(0)


def test_memory_does_not_grow_with_the_entries(tmp_path):
    pages = LmdbEntries(write(tmp_path / "x", {b"%040d" % number: b"x" * 20 for number in range(20_000)}))
    assert pages._pages.nbytes + pages._ends.nbytes < 20_000


def test_every_truncation_is_an_error(tmp_path):
    path = write(tmp_path / "x", {b"%05d" % number: os.urandom(2500) for number in range(60)})
    whole = path.read_bytes()
    for length in (0, 10, 100, 4096, 5000, 8192, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"is damaged or cut short \(.*\); copy or download it again"):
            contents(LmdbEntries(path))


def test_an_empty_branch_page_is_no_way_to_make_a_reader_walk_for_ever(tmp_path):
    path = write(tmp_path / "x", {b"%040d" % number: b"" for number in range(500)})
    data = bytearray(path.read_bytes())
    root = struct.unpack_from("<Q", data, 4096 + 128)[0]
    struct.pack_into("<H", data, root * 4096 + 12, 16)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=rf"\(page {root} is not where it belongs\)"):
        LmdbEntries(path)


def test_page_numbers_beyond_16_bits(tmp_path):
    path = write(tmp_path / "x", {b"%040d" % number: b"value %d" % number for number in range(500)})
    before = contents(LmdbEntries(path))
    data = bytearray(path.read_bytes())
    root = struct.unpack_from("<Q", data, 4096 + 128)[0]
    node = root * 4096 + struct.unpack_from("<H", data, root * 4096 + 16)[0]
    leaf, far = struct.unpack_from("<H", data, node)[0], 70_000
    struct.pack_into("<HH", data, node, far & 0xFFFF, far >> 16)
    moved = bytes(data[leaf * 4096 : (leaf + 1) * 4096])
    data[leaf * 4096 : (leaf + 1) * 4096] = bytes(4096)
    with path.open("wb") as file:  # with a hole of 280 MB, which takes no space
        file.write(data)
        file.seek(far * 4096)
        file.write(moved)
    assert contents(LmdbEntries(path)) == before


def test_entries_that_are_missing(tmp_path):
    path = write(tmp_path / "x", {b"a": b"b", b"c": b"d"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 4096 + 120, 3)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"\(it states 3 entries but has 2\)"):
        LmdbEntries(path)


def test_kinds_that_are_not_known(tmp_path):
    with lmdb.open(str(tmp_path / "x"), max_dbs=2) as database:
        database.open_db(b"inner")
    with pytest.raises(InputError, match="holds databases inside the database; export the images"):
        LmdbEntries(tmp_path / "x" / "data.mdb").entry(0)
    path = write(tmp_path / "y", {b"a": b"b"})
    data = bytearray(path.read_bytes())
    for meta in (0, 4096):
        struct.pack_into("<I", data, meta + 20, 2)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"data\.mdb has LMDB's data version 2, only 1 is known here"):
        LmdbEntries(path)
    for meta in (0, 4096):
        struct.pack_into("<I", data, meta + 20, 1)
        struct.pack_into("<H", data, meta + 92, 4)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"holds entries of a kind that is not known here \(flags 4\)"):
        LmdbEntries(path)


def test_a_tree_that_bites_its_tail(tmp_path):
    path = write(tmp_path / "x", {b"%040d" % number: b"" for number in range(500)})
    data = bytearray(path.read_bytes())
    root = struct.unpack_from("<Q", data, 4096 + 128)[0]
    assert struct.unpack_from("<H", data, root * 4096 + 10)[0] == 1  # a branch page
    node = root * 4096 + struct.unpack_from("<H", data, root * 4096 + 16)[0]
    struct.pack_into("<HHH", data, node, root, 0, 0)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=rf"\(page {root} is not where it belongs\)"):
        LmdbEntries(path)
    struct.pack_into("<H", data, 4096 + 94, 32)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="is damaged or cut short"):
        LmdbEntries(path)
    struct.pack_into("<H", data, 4096 + 94, 60000)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="its tree is 60000 pages deep"):
        LmdbEntries(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    entries = {b"%04d" % number: bytes([number % 256]) * (number * 37 % 3000) for number in range(90)}
    return write(tmp_path_factory.mktemp("lmdb") / "x", entries).read_bytes()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_damage_gives_no_other_error(tmp_path_factory, whole, data):
    pages = len(whole) // 4096
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):  # where the numbers are: at the beginning of a page
        place = data.draw(st.integers(0, pages - 1)) * 4096 + data.draw(st.integers(0, 200))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("lmdb") / "data.mdb"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(InputError):
        contents(LmdbEntries(path))
