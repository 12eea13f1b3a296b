import lmdb
import pytest
import source_examples
from source_examples import noise, png

from datasets.errors import InputError
from toolkit import sources


@pytest.fixture
def folder(tmp_path):
    return source_examples.make("lsun", tmp_path).path


def test_the_library_may_have_it_open(folder):
    with lmdb.open(str(folder), map_size=1 << 20) as database, database.begin(write=True):
        assert len(sources.open_source(folder)) == 3


def test_nothing_is_written(folder):
    (folder / "lock.mdb").unlink()
    source = sources.open_source(folder)
    source[0].read()
    assert [file.name for file in folder.iterdir()] == ["data.mdb"]


def test_a_value_that_is_too_large_is_refused(folder, monkeypatch):
    monkeypatch.setattr("toolkit.sources.lsun.MAX_MEMBER_BYTES", 1000)
    source = sources.open_source(folder)
    source[0].read()
    with pytest.raises(InputError, match=r"tower_val_lmdb:a{40} has \d+ bytes, more than the 1000 allowed; remove it"):
        source[1].read()


def test_keys_are_names_in_plain_text(tmp_path):
    with lmdb.open(str(tmp_path / "x"), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        for key in (b"\x00\n", b"\xff", "é".encode()):
            transaction.put(key, png(noise(0)))
    source = sources.open_source(tmp_path / "x")
    assert [source[k].name for k in range(3)] == [r"\x00\n", "é", r"\udcff"]


def test_what_is_no_lsun(tmp_path, folder):
    with lmdb.open(str(tmp_path / "x"), map_size=1 << 20) as database, database.begin(write=True):
        pass
    with pytest.raises(InputError, match="x holds an empty database; name the folder of an LSUN category"):
        sources.open_source(tmp_path / "x")
    with pytest.raises(InputError, match=r"is no folder with an LMDB database in data\.mdb"):
        sources.open_source(tmp_path, "lsun")
    assert "lsun" not in sources.recognise(folder / "data.mdb")  # a single file may be a pyramid
