import io
import json
import os
import struct
import threading
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.archives import ZipArchive, is_zip, open_archive
from datasets.errors import InputError


def write(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def contents(archive):
    return {name: archive.read(index) for index, name in enumerate(archive.names)}


def patch(path, name, *, local=(), central=()):
    """Overwrite fields of a member, (offset in the header, format, value), in its local and its central header."""
    data = bytearray(path.read_bytes())
    for signature, name_at, fields in ((b"PK\x03\x04", 30, local), (b"PK\x01\x02", 46, central)):
        at = data.index(name.encode()) if signature == b"PK\x03\x04" else data.rindex(name.encode())
        start = at - name_at
        assert data[start : start + 4] == signature
        for offset, form, value in fields:
            struct.pack_into(form, data, start + offset, value)
    path.write_bytes(bytes(data))


MEMBERS = {"b.png": b"two" * 100, "a/z.jpg": bytes(range(256)), "B.PNG": b"one", "empty.gif": b""}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_sorted_and_read(tmp_path, compression):
    archive = ZipArchive(write(tmp_path / "x.zip", MEMBERS, compression))
    assert archive.names == ["B.PNG", "a/z.jpg", "b.png", "empty.gif"]
    assert contents(archive) == MEMBERS
    assert archive.where(1) == f"{tmp_path / 'x.zip'}:a/z.jpg"


def test_a_streamed_archive_and_zip64(tmp_path):
    class Pipe(io.RawIOBase):  # makes zipfile write the sizes behind the data
        def __init__(self):
            self.parts = []

        def writable(self):
            return True

        def write(self, data):
            self.parts.append(bytes(data))
            return len(data)

    pipe = Pipe()
    write(pipe, MEMBERS)
    (tmp_path / "streamed.zip").write_bytes(b"".join(pipe.parts))
    assert contents(ZipArchive(tmp_path / "streamed.zip")) == MEMBERS
    with (
        zipfile.ZipFile(tmp_path / "large.zip", "w") as archive,
        archive.open("b.png", "w", force_zip64=True) as member,
    ):
        member.write(b"large")
    assert contents(ZipArchive(tmp_path / "large.zip")) == {"b.png": b"large"}


def test_what_is_passed_over(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder.png")
        names = "a.png", ".hidden.png", ".git/b.png", "__MACOSX/a.png", "__MACOSX/._a.png", "notes.txt", "x/.y/z.png"
        for name in names:
            archive.writestr(name, name)
    assert contents(ZipArchive(path)) == {"a.png": b"a.png"}


def test_names_are_cleaned_and_never_lead_outside(tmp_path):
    archive = ZipArchive(
        write(tmp_path / "x.zip", {"/etc/a.png": b"1", "./b.png": b"2", "c\\d.png": b"3", "e\n.png": b"4"})
    )
    assert archive.names == ["b.png", "c/d.png", r"e\n.png", "etc/a.png"]
    for name in ("../a.png", "a/../../b.png", "..\\c.png"):
        with pytest.raises(InputError, match=r"holds a member called '.*', which lies outside of the archive"):
            ZipArchive(write(tmp_path / "y.zip", {name: b"x"}))


def test_a_member_without_a_name(tmp_path):
    path = write(tmp_path / "x.zip", {"a.png": b"1", "z.png": b"2"})
    patch(path, "z.png", central=[(46, "<B", 0)])  # zipfile takes a name up to the first zero
    assert ZipArchive(path).names == ["a.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path):
    for names in (["a.png", "a.png"], ["x/a.png", "x//a.png"], ["x/a.png", "./x/a.png"]):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for number, name in enumerate(names):
                archive.writestr(name, str(number))
        with pytest.raises(InputError, match=r"holds two members called '(x/)?a.png'; pack it again, every name once"):
            ZipArchive(tmp_path / "x.zip")


def test_no_images(tmp_path):
    write(tmp_path / "x.zip", {"a.txt": b"", "b.txt": b"", "c": b"", ".d.png": b""})
    with pytest.raises(
        InputError, match=r"holds no images \(\.bmp .*\), but 2 \.txt, 1 \(no suffix\), 1 \.png; name an"
    ):
        ZipArchive(tmp_path / "x.zip")
    write(tmp_path / "y.zip", {})
    assert is_zip(tmp_path / "y.zip")
    with pytest.raises(InputError, match=r"holds no images .*, but nothing"):
        ZipArchive(tmp_path / "y.zip")


def bad_member(path, match):
    """The member bad.png gives an error, the one called good.png does not."""
    archive = ZipArchive(path)
    assert archive.read(archive.names.index("good.png")) == b"good" * 100
    with pytest.raises(InputError, match=match) as found:
        archive.read(archive.names.index("bad.png"))
    assert str(found.value).startswith(f"{path}:bad.png ")
    with pytest.raises(InputError, match=match):
        archive.image_size(archive.names.index("bad.png"))


def pair(path, compression=zipfile.ZIP_DEFLATED, bad=b"bad" * 1000):
    return write(path, {"bad.png": bad, "good.png": b"good" * 100}, compression)


def test_an_encrypted_member_is_one_bad_image(tmp_path):
    path = pair(tmp_path / "x.zip")
    patch(path, "bad.png", local=[(6, "<H", 1)], central=[(8, "<H", 1)])
    bad_member(path, "is encrypted; unpack the archive with its password")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_one_bad_image(tmp_path, compression):
    path = pair(tmp_path / "x.zip", compression)
    with pytest.raises(
        InputError, match=rf"is compressed by method {compression} \((bzip2|LZMA)\); store or deflate it"
    ):
        ZipArchive(path).read(0)
    patch(path, "good.png", central=[(10, "<H", 77)])
    with pytest.raises(InputError, match=r"method 77 \(unknown\)"):
        ZipArchive(path).read(1)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_is_one_bad_image(tmp_path, compression):
    path = pair(tmp_path / "x.zip", compression, bad=os.urandom(3000))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    archive = ZipArchive(path)
    with pytest.raises(
        InputError, match=r"bad.png is damaged \(its size or checksum is not as stated\); replace it or"
    ):
        archive.read(0)
    assert archive.read(1) == b"good" * 100


def test_damaged_deflate_data(tmp_path):
    path = pair(tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    data[37] = 0xFF  # a block of a type that does not exist
    path.write_bytes(bytes(data))
    bad_member(path, r"is damaged \(Error -3 while decompressing data: .*\)")


def test_a_header_elsewhere_and_data_cut_short(tmp_path):
    path = pair(tmp_path / "x.zip", zipfile.ZIP_STORED)
    patch(path, "bad.png", central=[(42, "<I", 5)])
    bad_member(path, "its header is not where the directory says")
    patch(path, "bad.png", central=[(42, "<I", 1 << 31)])
    bad_member(path, "its header is not where the directory says")
    patch(path, "bad.png", central=[(42, "<I", 0), (20, "<I", 5000)])
    bad_member(path, "size or checksum is not as stated")
    patch(path, "bad.png", central=[(20, "<I", 1 << 30), (24, "<I", 1 << 20)])
    bad_member(path, "size or checksum is not as stated")


@pytest.mark.parametrize("offset", [-5, 1 << 63, (1 << 64) - 1])
def test_a_header_at_an_impossible_place(tmp_path, monkeypatch, offset):
    path = pair(tmp_path / "x.zip")
    infos = zipfile.ZipFile(path).infolist()
    infos[0].header_offset = offset
    monkeypatch.setattr("datasets.archives.zip._directory", lambda path: infos)
    bad_member(path, "its header is not where the directory says")


def test_the_head_of_a_member_is_no_bomb(tmp_path):
    path = write(tmp_path / "x.zip", {"a.png": bytes(30_000_000)})
    archive = ZipArchive(path)
    tracemalloc.start()
    assert archive._read(archive._table[0], 1 << 16, "x") == bytes(1 << 16)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_bomb_is_refused_by_what_it_states_and_by_what_it_is(tmp_path, monkeypatch):
    path = pair(tmp_path / "x.zip", bad=bytes(30_000_000))
    assert path.stat().st_size < 200_000
    monkeypatch.setattr("datasets.archives.archive.MAX_MEMBER_BYTES", 10_000_000)
    bad_member(
        path, r"says that it has 30000000 bytes, more than the 10000000 allowed in an archive; unpack it or remove"
    )
    patch(path, "bad.png", local=[(22, "<I", 1000)], central=[(24, "<I", 1000)])
    tracemalloc.start()
    bad_member(path, "unpacks to more than the 1000 bytes that it states; remove it")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_every_truncation_is_an_error_when_it_is_opened(tmp_path):
    whole = pair(tmp_path / "x.zip").read_bytes()
    for length in range(4, len(whole)):
        (tmp_path / "y.zip").write_bytes(whole[:length])
        assert is_zip(tmp_path / "y.zip")
        with pytest.raises(
            InputError, match=r"its directory cannot be read .*; it is damaged or cut short, copy or download"
        ):
            ZipArchive(tmp_path / "y.zip")


def test_a_header_is_found_in_the_first_bytes(tmp_path, monkeypatch):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    images = {}
    for suffix in ("png", "jpg", "webp", "tiff", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(
            buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **({"quality": 100} if suffix == "jpg" else {})
        )
        images[f"a.{suffix}"] = buffer.getvalue()
    images["long.jpg"] = images["a.jpg"][:2] + 3 * (b"\xff\xe1\xff\xff" + bytes(65533)) + images["a.jpg"][2:]
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = ZipArchive(write(tmp_path / "x.zip", images, compression))
        whole = []
        read = archive.read
        monkeypatch.setattr(archive, "read", lambda index, read=read, whole=whole: whole.append(index) or read(index))
        assert {archive.image_size(index) for index in range(len(archive))} == {(400, 300)}
        assert {archive.names[index] for index in whole} == {"a.bmp", "a.tiff", "a.webp", "long.jpg"}


def test_other_members_by_name(tmp_path):
    archive = ZipArchive(
        write(tmp_path / "x.zip", {"a.png": b"", "dataset.json": b"{}", "x/y.json": b"[]", "z.txt": b""})
    )
    assert archive.read_other("dataset.json") == b"{}"
    assert archive.read_other("x/y.json") == b"[]"
    assert archive.read_other("z.txt") is None
    assert archive.read_other("missing.json") is None


def test_stamps_tell_content(tmp_path):
    archive = ZipArchive(write(tmp_path / "x.zip", {"a.png": b"abc"}))
    assert archive.image_stamp(0) == f"{zlib.crc32(b'abc'):08x}:3"


def test_an_archive_that_changes_while_it_is_read(tmp_path):
    path = pair(tmp_path / "x.zip")
    archive = ZipArchive(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"x\.zip has changed while it was being read; run the same command again"):
        archive.read(0)


def test_the_last_archive_stays_open_until_it_changes(tmp_path):
    path = pair(tmp_path / "x.zip")
    one = open_archive(path)
    assert open_archive(path) is one
    write(path, {"other.png": b"x"})
    assert open_archive(path).names == ["other.png"]


def test_threads_read_at_once(tmp_path):
    members = {f"{number}.png": os.urandom(5000) for number in range(40)}
    archive = ZipArchive(write(tmp_path / "x.zip", members))
    found = []
    threads = [threading.Thread(target=lambda: found.append(contents(archive))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [members] * 8


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\"),
    min_size=1,
    max_size=8,
)


@given(
    st.dictionaries(
        NAMES.filter(lambda name: not name.startswith(".")), st.binary(max_size=300), min_size=1, max_size=6
    )
)
@settings(max_examples=40, deadline=None)
def test_any_names_and_contents(tmp_path_factory, members):
    members = {f"x/{name}.png": data for name, data in members.items()}
    archive = ZipArchive(write(tmp_path_factory.mktemp("zip") / "x.zip", members))
    assert archive.names == sorted(members)
    assert contents(archive) == members


WHOLE = io.BytesIO()
write(WHOLE, {"a.png": b"a" * 99, "b/c.png": os.urandom(40), "dataset.json": json.dumps({"labels": None})})


@given(st.lists(st.tuples(st.integers(0, len(WHOLE.getvalue()) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_damage_gives_no_other_error(tmp_path_factory, changes):
    data = bytearray(WHOLE.getvalue())
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.mktemp("zip") / "x.zip"
    path.write_bytes(bytes(data))
    try:
        archive = ZipArchive(path)
    except InputError:
        return
    for index in range(len(archive)):
        try:
            data = archive.read(index)
        except InputError:
            continue
        assert zlib.crc32(data) == int(archive.image_stamp(index)[:8], 16)


def test_members_called_alike_may_be_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as written:
        for name in ("a.png", "b.png"):
            written.writestr(name, name)
        with pytest.warns(UserWarning, match="Duplicate name"):
            written.writestr("a.png", "another")
    archive = ZipArchive(tmp_path / "x.zip", doubles=True)
    assert (archive.names, archive.doubled) == (["b.png"], {"a.png"})
    assert contents(archive) == {"b.png": b"b.png"}
