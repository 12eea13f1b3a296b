import bz2
import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.archives import TarArchive, is_tar, open_archive
from datasets.errors import InputError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def member(name, size=0, **fields):
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def write(path, members, layout=tarfile.GNU_FORMAT):
    """Write members: name -> content, or a TarInfo without content."""
    with tarfile.open(path, "w", format=layout) as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
            else:
                archive.addfile(member(name, len(data)), io.BytesIO(data))
    return path


def contents(archive):
    return {name: archive.read(index) for index, name in enumerate(archive.names)}


def header(name, num_bytes, kind=b"0", **places):
    """Block of a header; `places` are (offset, bytes) to write into it."""
    block = bytearray(member(name, num_bytes).tobuf(tarfile.GNU_FORMAT)[:512])
    block[156:157] = kind
    for place, data in places.values():
        block[place : place + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % 512)


END = bytes(1024)
MEMBERS = {"b.png": b"two" * 1000, "a/z.jpg": bytes(range(256)) * 2, "B.PNG": b"one", "empty.gif": b""}


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS)
def test_members_are_sorted_and_read(tmp_path, layout):
    path = write(tmp_path / "x.tar", MEMBERS, layout)
    assert is_tar(path)
    archive = TarArchive(path)
    assert archive.names == ["B.PNG", "a/z.jpg", "b.png", "empty.gif"]
    assert contents(archive) == MEMBERS


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS)
def test_long_names(tmp_path, layout):
    names = ["d" * 90 + "/" + "f" * 60 + ".png", "é" * 40 + ".png"]
    names += [] if layout == tarfile.USTAR_FORMAT else ["d" * 200 + "/" + "f" * 200 + ".png"]
    members = {name: name.encode() for name in names}
    assert contents(TarArchive(write(tmp_path / "x.tar", members, layout))) == members


def test_what_is_passed_over(tmp_path):
    members = {
        "folder.png": member("folder.png", type=tarfile.DIRTYPE),
        "old folder": member("old.png/", type=tarfile.AREGTYPE),
        "link.png": member("link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "device.png": member("device.png", type=tarfile.CHRTYPE),
        "pipe.png": member("pipe.png", type=tarfile.FIFOTYPE),
        **{name: name.encode() for name in (".hidden.png", ".git/b.png", "__MACOSX/._a.png", "notes.txt", "./a.png")},
    }
    assert contents(TarArchive(write(tmp_path / "x.tar", members))) == {"a.png": b"./a.png"}


@pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS)
def test_hard_links_are_images(tmp_path, layout):
    long = "d" * (20 if layout == tarfile.USTAR_FORMAT else 90) + "/" + "f" * 60 + ".png"
    members = {
        long: b"data",
        "link.png": member("a.png", type=tarfile.LNKTYPE, linkname=long),
        "nothing.png": member("b.png", type=tarfile.LNKTYPE, linkname="notes.txt"),
    }
    archive = TarArchive(write(tmp_path / "x.tar", members, layout))
    assert archive.names == ["a.png", "b.png", long]
    assert archive.read(0) == archive.read(2) == b"data"
    with pytest.raises(
        InputError, match=r"x\.tar:b\.png is a hard link to what is no image of the archive; pack the ar"
    ):
        archive.read(1)


def test_names_are_cleaned_and_never_lead_outside(tmp_path):
    path = write(tmp_path / "x.tar", {"/etc/a.png": b"1", "././b.png": b"2", "e\n.png": b"3", "f\udce9.png": b"4"})
    assert TarArchive(path).names == ["b.png", r"e\n.png", "etc/a.png", r"f\udce9.png"]
    for name in ("../a.png", "a/../../b.png"):
        with pytest.raises(InputError, match=r"holds a member called '.*', which lies outside of the archive"):
            TarArchive(write(tmp_path / "y.tar", {name: b"x"}))


def test_two_members_of_one_name(tmp_path):
    write(tmp_path / "x.tar", {"a.png": b"1", "./a.png": b"2"})
    with pytest.raises(InputError, match=r"holds two members called 'a.png'; pack it again, every name once"):
        TarArchive(tmp_path / "x.tar")


def test_no_images(tmp_path):
    write(tmp_path / "x.tar", {"a.txt": b"", "b.json": b""})
    with pytest.raises(
        InputError, match=r"holds no images \(\.bmp .*\), but 1 \.txt, 1 \.json; name an archive that does"
    ):
        TarArchive(tmp_path / "x.tar")


# Files with holes: "head", a hole of 5000 zeros, "tail". Real archives of GNU tar gave the same (all four layouts).

CONTENT = b"head" + bytes(5000) + b"tail" + bytes(7)
NUMBERS = [0, 4, 5004, 4]
OFFSETS = b"".join(b"%011o\0" % number for number in NUMBERS)
SIZE = b"%011o\0" % len(CONTENT)


def test_holes_in_gnu_headers(tmp_path):
    one = header("a.png", 8, b"S", table=(386, OFFSETS), size=(483, SIZE)) + padded(b"headtail")
    block = header("b.png", 8, b"S", table=(386, OFFSETS[:24]), size=(483, SIZE), more=(482, b"\1"))
    two = block + OFFSETS[24:].ljust(504, b"\0") + bytes(8) + padded(b"headtail")
    (tmp_path / "x.tar").write_bytes(one + two + header("c.png", 3) + padded(b"end") + END)
    assert contents(TarArchive(tmp_path / "x.tar")) == {"a.png": CONTENT, "b.png": CONTENT, "c.png": b"end"}


def pax(path, name, data, **fields):
    """Archive of one member with pax keywords, then c.png."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = member("placeholder", len(data))
        info.pax_headers = {f"GNU.sparse.{key}": value for key, value in fields.items()} | {"GNU.sparse.name": name}
        archive.addfile(info, io.BytesIO(data))
        archive.addfile(member("c.png", 3), io.BytesIO(b"end"))
    return path


def test_holes_in_pax_keywords(tmp_path):
    size = str(len(CONTENT))
    path = pax(tmp_path / "x.tar", "a.png", b"headtail", size=size, numblocks="2", map="0,4,5004,4")
    assert contents(TarArchive(path)) == {"a.png": CONTENT, "c.png": b"end"}
    front = b"2\n0\n4\n5004\n4\n".ljust(512, b"\0")
    path = pax(tmp_path / "y.tar", "a.png", front + b"headtail", major="1", minor="0", realsize=size)
    assert contents(TarArchive(path)) == {"a.png": CONTENT, "c.png": b"end"}
    records = b"".join(
        b"%d %s\n" % (len(text) + 4, text)
        for text in (
            b"GNU.sparse.size=%d" % len(CONTENT),
            *(b"GNU.sparse.%s=%d" % (key, n) for key, n in zip([b"offset", b"numbytes"] * 2, NUMBERS, strict=True)),
        )
    )
    archive = header("x", len(records), b"x") + padded(records) + header("a.png", 8) + padded(b"headtail") + END
    (tmp_path / "z.tar").write_bytes(archive)
    assert contents(TarArchive(tmp_path / "z.tar")) == {"a.png": CONTENT}


@pytest.mark.parametrize(
    "numbers", ["0,4,2,4", "0,4,5008,4", "0,4,5004,40", "0,4,5004,6", "0", "0,x", "0,-4", "", "9" * 30 + ",1"]
)
def test_a_map_that_does_not_fit(tmp_path, numbers):
    path = pax(tmp_path / "x.tar", "a.png", b"headtail", size="5010", map=numbers)
    with pytest.raises(InputError, match=r"is damaged at byte \d+ \(the map of a file with holes does not fit\)"):
        TarArchive(path)


def test_a_file_of_nothing_but_a_hole_is_refused_by_its_size(tmp_path):
    path = pax(tmp_path / "x.tar", "a.png", b"", size=str(10**12), map="0,0")
    with pytest.raises(InputError, match="says that it has 1000000000000 bytes, more than the"):
        TarArchive(path).read(0)


def test_every_truncation_is_an_error_when_it_is_opened(tmp_path):
    whole = write(tmp_path / "x.tar", {"a.png": b"a" * 600, "b.png": b"b"}).read_bytes()
    content = whole[: 3 * 512 + 2 * 512]
    for length in [*range(512, len(content), 100), len(content)]:
        (tmp_path / "y.tar").write_bytes(content[:length])
        with pytest.raises(
            InputError, match=r"is cut short(: it has no end mark| in its member '[ab].png'); copy or down"
        ):
            TarArchive(tmp_path / "y.tar")


def test_a_damaged_header_is_not_the_end(tmp_path):
    path = write(tmp_path / "x.tar", {"a.png": b"a", "b.png": b"b"})
    data = bytearray(path.read_bytes())
    data[1024] ^= 1
    path.write_bytes(bytes(data))
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["a.png"]  # why it is not used here
    with pytest.raises(
        InputError, match=r"is damaged at byte 1024 \(there is no header where one must be\); copy or do"
    ):
        TarArchive(path)


def test_several_archives_in_one(tmp_path):
    one = write(tmp_path / "x.tar", {"a.png": b"a"}).read_bytes()
    (tmp_path / "y.tar").write_bytes(one + one)
    with pytest.raises(
        InputError, match="goes on after its end mark; these may be several archives in one, unpack them"
    ):
        TarArchive(tmp_path / "y.tar")


def test_lengths_are_not_believed(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(header("x", 1 << 30, b"x") + END)
    with pytest.raises(InputError, match=r"is damaged at byte 512 \(an extended header states 1073741824 bytes\)"):
        TarArchive(path)
    path.write_bytes(header("a.png", 0, size=(124, b"\x80" + (1 << 80).to_bytes(11, "big"))) + END)
    with pytest.raises(InputError, match=r"\(a size is not a number\)"):
        TarArchive(path)
    path.write_bytes(header("a.png", 0, size=(124, b"\x80" + (1 << 40).to_bytes(11, "big"))) + END)
    with pytest.raises(InputError, match=r"is cut short in its member 'a\.png'"):
        TarArchive(path)
    path.write_bytes(header("a.png", 0, size=(124, b"\xff" * 12)) + END)  # -1
    with pytest.raises(InputError, match=r"\(a size is not a number\)"):
        TarArchive(path)
    path.write_bytes(header("a.png", 0, size=(124, b"\x80" + (3).to_bytes(11, "big"))) + padded(b"abc") + END)
    assert contents(TarArchive(path)) == {"a.png": b"abc"}
    for records in (b"30 path=a.png\n", b"path=a.png\n", b"0 a=b\n", b"9 path\n", b"12 size=a1\n"):
        path.write_bytes(header("x", len(records), b"x") + padded(records) + header("b.png", 0) + END)
        with pytest.raises(InputError, match=r"(its extended header cannot be read|a size is not a number)"):
            TarArchive(path)


def test_a_large_member_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tar", {"a.png": b"abc"})
    monkeypatch.setattr("datasets.archives.archive.MAX_MEMBER_BYTES", 2)
    with pytest.raises(
        InputError, match=r"x\.tar:a\.png says that it has 3 bytes, more than the 2 allowed in an archive"
    ):
        TarArchive(path).read(0)


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_compressed_archives(tmp_path, pack):
    path = tmp_path / "x"
    path.write_bytes(pack(write(tmp_path / "x.tar", MEMBERS).read_bytes()))
    assert is_tar(path)
    archive = TarArchive(path)
    assert contents(archive) == MEMBERS
    with path.open("ab") as file:
        file.write(b"more")
    assert contents(archive) == MEMBERS  # it was unpacked before
    assert open_archive(tmp_path / "missing") is None


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_something_else_compressed(tmp_path, pack):
    path = tmp_path / "x.gz"
    for data in (b"no tar" * 200, b"", bytes(10240)):
        path.write_bytes(pack(data))
        assert not is_tar(path)
        assert not is_tar(tmp_path)
    path.write_bytes(pack(b"no tar" * 200)[:20])
    assert not is_tar(path)


def test_other_members_by_name(tmp_path):
    archive = TarArchive(write(tmp_path / "x.tar", {"a.png": b"", "./dataset.json": b"{}", "z.txt": b""}))
    assert archive.read_other("dataset.json") == b"{}"
    assert archive.read_other("z.txt") is None


WHOLE = io.BytesIO()
with tarfile.open(fileobj=WHOLE, mode="w", format=tarfile.PAX_FORMAT) as _archive:
    for _name in ("a.png", "é" * 90 + ".png"):
        _archive.addfile(member(_name, 5), io.BytesIO(b"image"))


@given(st.lists(st.tuples(st.integers(0, 5119), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=50, deadline=None)
def test_damage_gives_no_other_error(tmp_path_factory, changes, mend):
    data = bytearray(WHOLE.getvalue())
    for place, value in changes:
        data[place] = value
        if mend:  # with a checksum that fits, so that what is behind it is read
            start = place // 512 * 512
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    path.write_bytes(bytes(data))
    try:
        archive = TarArchive(path)
    except InputError:
        return
    for index in range(len(archive)):
        try:
            archive.read(index)
        except InputError:
            continue


@given(
    st.dictionaries(st.text("abé漢 ", min_size=1, max_size=150), st.binary(max_size=1200), min_size=1, max_size=5),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
@settings(max_examples=40, deadline=None)
def test_any_names_and_contents(tmp_path_factory, members, layout):
    members = {f"x/{name}.png": data for name, data in members.items()}
    archive = TarArchive(write(tmp_path_factory.mktemp("tar") / "x.tar", members, layout))
    assert archive.names == sorted(members)
    assert contents(archive) == members
