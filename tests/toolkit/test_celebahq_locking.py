"""Deltas that the toolkit makes: of the released layout, opened by an independent reader, and again by the toolkit."""

import base64
import bz2
import hashlib
import zipfile

import numpy as np
import pytest
import synthetic_celeba
from cryptography.fernet import Fernet
from PIL import Image

from datasets.errors import InputError
from toolkit.celebahq import image_list, locking
from toolkit.celebahq.bases import Bases
from toolkit.celebahq.locking import Pair, make_deltas, pairs_by_name, pairs_in_table
from toolkit.celebahq.released import Released
from toolkit.sources import open_source

SIDE = 64


class Bar:
    """A progress bar that shows nothing, and can raise an error at an image."""

    ends_after = None

    def __init__(self, *_args, initial=0, **_options):
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def update(self, count):
        self.count += count
        if self.ends_after is not None and self.count >= self.ends_after:
            raise KeyboardInterrupt

    def set_postfix_str(self, text, refresh=True):
        pass


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    return synthetic_celeba.make(tmp_path_factory.mktemp("locking") / "CelebA", count=4, side=SIDE)


@pytest.fixture
def derived(celeba, tmp_path):
    """Images derived from the photographs: neither their order nor their format is the photographs'."""
    folder = tmp_path / "derived"
    folder.mkdir()
    for name, image in zip(celeba.names, celeba.finals, strict=True):
        Image.fromarray(image[::-1].transpose(1, 2, 0)).save(folder / name.replace(".jpg", ".png"))
    return folder


def locked(celeba, derived, out, pairs=None, **options):
    source = open_source(derived, labels=False)
    bases = Bases(celeba.folder, side=SIDE)
    return make_deltas(bases, source, pairs or pairs_by_name(source), out, jobs=2, progress=Bar, **options)


def pixels_of(path):
    return np.asarray(Image.open(path)).transpose(2, 0, 1)


def test_round_trip(celeba, derived, tmp_path):
    """What goes in comes out, and every image is exact."""
    out = tmp_path / "deltas"
    done = locked(celeba, derived, out)
    assert (done.deltas, done.zips, done.kept) == (4, 1, 0)
    assert done.bytes == (out / "deltas00000.zip").stat().st_size
    assert sorted(file.name for file in out.iterdir()) == ["deltas00000.zip", "image_list.txt"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deltas", "derived"]
    source = Released(celeba.folder, out, side=SIDE)
    for index, name in enumerate(celeba.names):
        rendered = source[index].read()
        assert rendered.details["match"] == "exact"
        np.testing.assert_array_equal(rendered.pixels.transpose(2, 0, 1), celeba.finals[index][::-1])
        assert rendered.details["file"] == name


def test_an_independent_reader_opens_them(celeba, derived, tmp_path):
    """With hashlib, Fernet and bz2 alone, as the authors' script does."""
    out = tmp_path / "deltas"
    locked(celeba, derived, out)
    rows = image_list.read(out / "image_list.txt")
    assert [row.original_file for row in rows] == list(celeba.names)
    with zipfile.ZipFile(out / "deltas00000.zip") as archive:
        assert archive.namelist() == [f"delta{index:05d}.dat" for index in range(4)]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        token = archive.read("delta00001.dat")
    key = hashlib.pbkdf2_hmac("sha256", celeba.photo(1).read_bytes(), b"162770.jpg", 100_000, 32)
    delta = np.frombuffer(bz2.decompress(Fernet(base64.urlsafe_b64encode(key)).decrypt(token)), np.uint8)
    final = celeba.finals[1][::-1]
    base = final - delta.reshape(3, SIDE, SIDE)
    assert hashlib.md5(base.tobytes()).hexdigest() == rows[1].proc_md5
    assert hashlib.md5(final.tobytes()).hexdigest() == rows[1].final_md5


def test_two_runs_differ_in_bytes_alone(celeba, derived, tmp_path):
    for name in ("one", "two"):
        locked(celeba, derived, tmp_path / name)
    one, two = (tmp_path / name / "deltas00000.zip" for name in ("one", "two"))
    assert one.read_bytes() != two.read_bytes()
    assert (tmp_path / "one" / "image_list.txt").read_text() == (tmp_path / "two" / "image_list.txt").read_text()


def test_a_table_says_what_is_made_from_what(celeba, derived, tmp_path):
    """In its own order: the mapping table of a build, in which rows are numbers in the data set."""
    table = tmp_path / "set.mapping.csv"
    table.write_text("row,idx,file\n2,0,162771.jpg\n0,1,000001.jpg\n")
    source = open_source(derived, labels=False)
    pairs = pairs_in_table(table, source)
    assert pairs == [Pair(2, "162771.jpg"), Pair(0, "000001.jpg")]
    out = tmp_path / "deltas"
    locked(celeba, derived, out, pairs)
    again = Released(celeba.folder, out, side=SIDE)
    np.testing.assert_array_equal(again[0].read().pixels, pixels_of(derived / "162771.png").transpose(1, 2, 0))
    names = tmp_path / "names.csv"
    names.write_bytes(b"\xef\xbb\xbfimage,file\r\n162770.png,000001.jpg\r\n")  # as spreadsheets save it
    assert pairs_in_table(names, source) == [Pair(1, "000001.jpg")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,photo\n0,000001.jpg\n", r"line 1: the columns are row, photo; there must be file"),
        ("row,file\n9,000001.jpg\n", r"line 2: .* holds no image '9'"),
        ("row,file\n-1,000001.jpg\n", r"line 2: .* holds no image '-1'"),
        ("row,file\n0,000001.jpg\n1,1.png\n", r"line 3: '1\.png' is no photograph of CelebA"),
        ("row,file\n0,../000001.jpg\n", r"line 2: .* is no photograph of CelebA"),
        ("row,file\n0,000001.jpg\n1,000001.jpg\n0,162770.jpg\n", r"line 4: image '0' stands in line 2 already; list"),
        ("image,file\n000001.png,000001.jpg\n000001.png,000001.jpg\n", r"line 3: image '000001\.png' stands in line 2"),
        ("row,file\n", r"has no lines below its header"),
        ("", r"line 1: the columns are none"),
    ],
)
def test_tables_that_are_refused(derived, tmp_path, text, message):
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        pairs_in_table(table, open_source(derived, labels=False))


def test_names_that_are_refused(derived):
    (derived / "000001.png").rename(derived / "face.png")
    with pytest.raises(InputError, match=r"holds face\.png, which is not called as a photograph of CelebA"):
        pairs_by_name(open_source(derived, labels=False))


def test_an_interrupted_run_goes_on(celeba, derived, tmp_path, monkeypatch):
    """Tokens are salted, so that those that were kept can be told from new ones."""
    out = tmp_path / "deltas"
    monkeypatch.setattr(Bar, "ends_after", 2)
    monkeypatch.setattr(locking, "Meter", lambda bar: type("Meter", (), {"add": lambda self, n, _: bar.update(n)})())
    with pytest.raises(KeyboardInterrupt):
        locked(celeba, derived, out)
    assert not out.exists()
    kept = {file.name: file.read_bytes() for file in (tmp_path / ".deltas.partial").glob("*.dat")}
    assert len(kept) == 2
    (tmp_path / ".deltas.partial" / ".delta00003.dat.1.partial").write_bytes(b"half")
    changed = pixels_of(derived / "000001.png") // 2
    Image.fromarray(changed.transpose(1, 2, 0)).save(derived / "000001.png")  # one of the two that were done
    monkeypatch.setattr(Bar, "ends_after", None)
    said = []
    done = locked(celeba, derived, out, say=said.append)
    assert done.kept == 1
    assert said == ["going on where it was interrupted: 1 of 4 deltas are there"]
    with zipfile.ZipFile(out / "deltas00000.zip") as archive:
        assert archive.read("delta00001.dat") == kept["delta00001.dat"]
        assert archive.read("delta00000.dat") != kept["delta00000.dat"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deltas", "derived"]
    assert sorted(file.name for file in out.iterdir()) == ["deltas00000.zip", "image_list.txt"]
    source = Released(celeba.folder, out, side=SIDE)
    np.testing.assert_array_equal(source[0].read().pixels.transpose(2, 0, 1), changed)


def test_every_thousand_gets_a_zip(celeba, derived, tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PER_ZIP", 3)
    monkeypatch.setattr(locking, "zip_name", lambda index: f"deltas{index - index % 3:05d}.zip")
    out = tmp_path / "deltas"
    assert locked(celeba, derived, out).zips == 2
    with zipfile.ZipFile(out / "deltas00003.zip") as archive:
        assert archive.namelist() == ["delta00003.dat"]
    assert Released(celeba.folder, out, side=SIDE)[3].read().details["match"] == "exact"


def test_refusals(celeba, derived, tmp_path):
    out = tmp_path / "deltas"
    Image.new("RGB", (32, 32)).save(derived / "182637.png")
    with pytest.raises(InputError, match=r"182637\.png has 32x32 pixels, not 64x64"):
        locked(celeba, derived, out)
    assert not out.exists()
    with pytest.raises(InputError, match=r"182638\.jpg is missing"):
        locked(celeba, derived, out, [Pair(0, "182638.jpg")])
    out.mkdir()
    with pytest.raises(InputError, match="exists already"):
        locked(celeba, derived, out)
    with pytest.raises(InputError, match="create it first"):
        locked(celeba, derived, tmp_path / "no" / "deltas")
