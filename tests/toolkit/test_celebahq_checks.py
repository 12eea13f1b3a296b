"""Every pitfall of CelebA-HQ that is known from practice: told before the first image is made, with its remedy."""

import base64
import hashlib
import shutil
import zipfile

import numpy as np
import pytest
from celeba_sets import Silent, copy, fault_of, make_exact, opened, planes, report_of
from cryptography.fernet import Fernet
from PIL import Image
from synthetic_celeba import QUOTA_PAGE, lock, pack

from datasets.errors import InputError
from toolkit.celebahq import checks


@pytest.fixture(scope="module")
def exact_set(tmp_path_factory):
    return make_exact(tmp_path_factory.mktemp("exact") / "CelebA")


@pytest.fixture
def celeba(exact_set, tmp_path):
    """To be spoilt."""
    return copy(exact_set, tmp_path / "CelebA")


def test_the_table_of_a_good_set(exact_set):
    report = report_of(exact_set)
    report.require_good()
    table = report.table()
    for text in (
        "30,000 (24,183 / 2,993 / 2,824)",
        "202,599",
        "2 train / 2 val / 2 test",
        "4 exact of 4",
        "6 of 6 deltas",
    ):
        assert text in table
    assert "bad" not in table
    assert not report.bad
    assert "not tried" not in table
    told = report.to_json()
    assert (told["images"], told["bad_images"]) == (6, 0)
    assert [line["verdict"] for line in told["table"]] == ["ok"] * 7


def test_a_quota_page(celeba):
    celeba.zip.write_bytes(QUOTA_PAGE)
    message = fault_of(celeba)
    assert message.startswith("6 of the 6 images cannot be made")
    assert "deltas00000.zip is a web page and no zip archive" in message
    assert "quota" in message
    assert "get the file again" in message


def test_a_zip_that_is_cut_short(celeba):
    celeba.zip.write_bytes(celeba.zip.read_bytes()[:-100])
    message = fault_of(celeba)
    assert "its directory cannot be read" in message
    assert "download it again; the original is in the CelebA-HQ folder of the authors' release" in message


def test_nothing_is_ok_beside_nothing(celeba):
    """No delta is there: the lines about them are bad, those that need them were not tried, with no empty bars."""
    celeba.zip.write_bytes(QUOTA_PAGE)
    bars = []

    class Bar(Silent):
        def __init__(self, total, what):
            assert total
            bars.append(what)

    report = checks.check(opened(celeba), range(6), jobs=1, progress=Bar)
    assert bars == ["checking photographs"]
    verdicts = {line.what: (line.found, line.verdict) for line in report.lines}
    assert verdicts["deltas*.zip"] == ("0 open, 1 broken, 0 missing", "bad")
    assert verdicts["deltas"] == ("0 of 6 wanted; 0 in CelebA/deltas", "bad")
    assert verdicts["keys, a sample"] == ("no image has all that it needs", "not tried")
    assert verdicts["pixels, a sample"] == ("no delta of the sample opens", "not tried")


def test_a_member_that_is_there_twice(celeba):
    """Only that one is in doubt; the others are made."""
    with zipfile.ZipFile(celeba.zip, "a") as archive:
        token = archive.read("delta00003.dat")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("delta00003.dat", token[:-1])
    report = report_of(celeba)
    assert list(report.bad) == [3]
    assert "deltas00000.zip holds two members called 'delta00003.dat'; get it again from the CelebA-HQ" in report.bad[3]
    report.require_good(skip_bad=True)


def test_rows_that_were_dropped_from_the_list(celeba):
    """The others keep their numbers, so each still finds its delta; messages name the line they stand in."""
    lines = celeba.list.read_text().splitlines()
    celeba.list.write_text("\n".join([lines[0], lines[2], lines[5], lines[6]]) + "\n")
    report_of(celeba).require_good()
    source = opened(celeba)
    assert len(source) == 3
    for place, index in enumerate((1, 4, 5)):
        np.testing.assert_array_equal(planes(source[place].read()), celeba.finals[index])
    celeba.list.write_text(celeba.list.read_text().replace(lines[5][-32:], "0" * 32))
    with pytest.raises(InputError, match=r"has not the final_md5 of line 3 of"):
        opened(celeba)[1].read()


def test_the_delta_of_another_row_in_a_list_with_gaps(celeba):
    lines = celeba.list.read_text().splitlines()
    celeba.list.write_text("\n".join([lines[0], *lines[4:]]) + "\n")
    celeba.change_zip(lambda members: members.update({"delta00003.dat": members["delta00004.dat"]}))
    assert "delta00003.dat is the delta of image 4 under a wrong name; it should be called delta00004" in fault_of(
        celeba
    )


def test_the_delta_of_a_distant_row_is_thought_of(celeba):
    celeba.change_zip(lambda members: members.update({"delta00001.dat": members["delta00005.dat"]}))
    assert "or the delta is damaged or that of another image" in fault_of(celeba)


def test_half_a_photograph(celeba):
    data = celeba.photo(2).read_bytes()
    celeba.photo(2).write_bytes(data[: len(data) // 2])
    message = fault_of(celeba)
    assert (
        f"162771.jpg ends in the middle of the picture: its download or copy was cut short at {len(data) // 2}"
        in message
    )


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_file_of_a_byte(celeba, content):
    celeba.zip.write_bytes(content)
    assert f"has {len(content)} bytes, so its download failed" in fault_of(celeba)


def test_a_missing_zip(celeba):
    """Two zips, one of which is not there: image 1000 is the first of the second."""
    lines = celeba.list.read_text().splitlines()
    rows = [f"{index} {index} {index + 1:06d}.jpg {'a' * 32} {'b' * 32}" for index in range(6, 1001)]
    celeba.list.write_text("\n".join([*lines, *rows]) + "\n")
    text = celeba.landmarks.read_text().splitlines()
    celeba.landmarks.write_text("\n".join(["7", *text[1:], "001001.jpg" + text[2][10:]]) + "\n")
    shutil.copy(celeba.photo(0), celeba.photo(0).with_name("001001.jpg"))
    report = report_of(celeba, [0, 1, 1000])
    assert list(report.bad) == [1000]
    assert "deltas01000.zip is missing, which holds delta01000.dat; get it from" in report.bad[1000]
    with pytest.raises(InputError, match=r"1 of the 3 images cannot be made; .* or pass --skip-bad"):
        report.require_good()
    report.require_good(skip_bad=True)
    with pytest.raises(InputError, match="raise --max-skipped"):
        report.require_good(skip_bad=True, max_skipped=0)


def test_a_missing_member(celeba):
    celeba.change_zip(lambda members: members.pop("delta00002.dat"))
    assert "deltas00000.zip holds no delta00002.dat; get it again" in fault_of(celeba)


def test_a_member_of_a_byte(celeba):
    celeba.change_zip(lambda members: members.update({"delta00001.dat": b"x"}))
    assert "delta00001.dat has 1 bytes, so its download failed" in fault_of(celeba)


def test_a_damaged_member(celeba):
    data = bytearray(celeba.zip.read_bytes())
    with zipfile.ZipFile(celeba.zip) as archive:
        place = archive.getinfo("delta00003.dat").header_offset
    data[place + 200] ^= 1
    celeba.zip.write_bytes(data)
    assert "delta00003.dat is damaged" in fault_of(celeba)


def test_a_web_page_instead_of_a_delta(celeba):
    celeba.change_zip(lambda members: members.update({"delta00001.dat": QUOTA_PAGE * 3}))
    assert "is not a delta (a Fernet token)" in fault_of(celeba)


@pytest.mark.parametrize(
    "content", [b"print 'usage: h5tool.py'\n", QUOTA_PAGE, b"image_id Male Young\n000001.jpg 1 -1\n"]
)
def test_another_file_as_the_list(celeba, content):
    celeba.list.write_bytes(content)
    with pytest.raises(InputError, match=r"image_list\.txt, line 1: .* is not the header 'idx orig_idx orig_file"):
        opened(celeba)


def test_no_list(celeba):
    celeba.list.unlink()
    with pytest.raises(InputError, match=r"there is no image_list\.txt in .*deltas; put the one beside the deltas"):
        opened(celeba)


def test_aligned_landmarks_by_mistake(celeba):
    """Under the right name: the eyes of all are at one place."""
    aligned = ["69", "109", "106", "113", "77", "142", "73", "152", "108", "154"]
    lines = celeba.landmarks.read_text().splitlines()
    rows = [
        " ".join([line.split()[0], *(str(int(value) + k % 3) for value in aligned)]) for k, line in enumerate(lines[2:])
    ]
    celeba.landmarks.write_text("\n".join([*lines[:2], *rows]) + "\n")
    with pytest.raises(InputError, match=r"holds the landmarks of the aligned images"):
        opened(celeba)


def test_aligned_landmarks_alone(celeba):
    celeba.landmarks.rename(celeba.landmarks.with_name("list_landmarks_align_celeba.txt"))
    with pytest.raises(InputError, match=r"belongs to the aligned images; get list_landmarks_celeba\.txt"):
        opened(celeba)


def test_landmarks_of_a_smaller_set(celeba):
    lines = celeba.landmarks.read_text().splitlines()
    celeba.landmarks.write_text("\n".join(["5", *lines[1:-1]]) + "\n")
    assert "has no landmarks of 202599.jpg; get the whole file again" in fault_of(celeba)


@pytest.mark.parametrize("shift", [-40, 25])
def test_landmarks_of_another_face(celeba, shift):
    """The photograph is right, so its delta opens; the pixels are of another place."""
    lines = celeba.landmarks.read_text().splitlines()
    name, *values = lines[3].split()
    lines[3] = " ".join([name, *(str(int(value) + shift * (k % 2 == 0)) for k, value in enumerate(values))])
    celeba.landmarks.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        InputError, match=r"162770\.jpg: the pixels made .* the landmarks may be wrong \(use list_landmarks"
    ):
        opened(celeba)[1].read()


def test_only_aligned_images(celeba):
    photos = celeba.folder / "Img" / "img_celeba"
    photos.rename(photos.with_name("img_align_celeba"))
    with pytest.raises(
        InputError, match=r"holds the aligned images of 178x218 pixels, and .* no photographs in the wild"
    ):
        opened(celeba)


def test_aligned_images_under_the_right_name(celeba):
    for name in celeba.names:
        place = celeba.folder / "Img" / "img_celeba" / name
        Image.open(place).convert("RGB").resize((178, 218)).save(place, "JPEG")
    message = fault_of(celeba)
    assert "000001.jpg is an aligned image of 178x218 pixels" in message
    assert "in-the-wild" in message.lower()


def test_png_conversions(celeba):
    for name in celeba.names:
        place = celeba.folder / "Img" / "img_celeba" / name
        Image.open(place).save(place.with_suffix(".png"))
        place.unlink()
    with pytest.raises(InputError, match=r"holds conversions of the photographs, not the JPEG files themselves"):
        opened(celeba)


def test_a_png_under_the_name_of_a_jpeg(celeba):
    Image.open(celeba.photo(2)).save(celeba.photo(2), "PNG")
    assert "162771.jpg is a PNG file under this name, a conversion" in fault_of(celeba)


def test_a_jpeg_saved_again(celeba):
    """Of the same size in pixels, and to the eye the same picture."""
    picture = Image.open(celeba.photo(0))
    picture.save(celeba.photo(0), "JPEG", quality=95)
    message = fault_of(celeba)
    assert "delta00000.dat does not open: its photograph is not the original JPEG of CelebA" in message
    assert "no program has saved again" in message


def test_one_changed_byte(celeba):
    data = bytearray(celeba.photo(5).read_bytes())
    data[-3] ^= 4
    celeba.photo(5).write_bytes(data)
    with pytest.raises(InputError, match="does not open"):
        opened(celeba)[5].read()


@pytest.mark.parametrize(("content", "reason"), [(b"", "has 0 bytes"), (b"<html>" + b" " * 200, "is a web page")])
def test_a_photograph_that_is_none(celeba, content, reason):
    celeba.photo(3).write_bytes(content)
    assert f"182637.jpg {reason}" in fault_of(celeba)


def test_a_missing_photograph(celeba):
    celeba.photo(4).unlink()
    message = fault_of(celeba)
    assert "182638.jpg is missing; get it from the page of CelebA" in message
    assert "5 of 6 wanted" in report_of(celeba).table()


def test_the_delta_of_another_image(celeba):
    def swap(members):
        members["delta00002.dat"], members["delta00003.dat"] = members["delta00003.dat"], members["delta00002.dat"]

    celeba.change_zip(swap)
    message = fault_of(celeba)
    assert "delta00002.dat is the delta of image 3 under a wrong name; it should be called delta00003.dat" in message


def test_parts_of_the_7z_archive(celeba):
    shutil.rmtree(celeba.folder / "Img" / "img_celeba")
    (celeba.folder / "Img" / "img_celeba.7z.001").write_bytes(b"7z\xbc\xaf\x27\x1c")
    with pytest.raises(InputError, match=r"img_celeba\.7z\.001 is packed; .* run 7z x img_celeba\.7z\.001"):
        opened(celeba)


def test_no_deltas(celeba):
    celeba.zip.unlink()
    assert "holds neither deltas00000.zip and so on nor delta00000.dat" in fault_of(celeba)
    table = report_of(celeba).table()
    assert "0 of 6 wanted" in table
    assert "0 open, 0 broken, 1 missing" in table


def test_a_wrong_final_md5(celeba):
    celeba.change_list(1, 4, "0" * 32)
    with pytest.raises(InputError, match=r"their sum has not the final_md5 of line 3 of .*image_list\.txt"):
        opened(celeba)[1].read()


def test_a_wrong_proc_md5(celeba):
    """The released image came out all the same, and its MD5 proves it."""
    celeba.change_list(1, 3, "0" * 32)
    rendered = opened(celeba)[1].read()
    assert rendered.details["match"] == "exact"
    np.testing.assert_array_equal(planes(rendered), celeba.finals[1])


def test_a_delta_of_another_size(celeba):
    jpeg, name = celeba.photo(0).read_bytes(), celeba.names[0]
    token = lock(np.zeros((3, 32, 32), np.uint8), jpeg, name)
    celeba.change_zip(lambda members: members.update({"delta00000.dat": token}))
    assert "delta00000.dat is the delta of an image of 32x32 pixels; pass --delta-side 32" in fault_of(celeba)


def test_the_salt_is_the_name(celeba):
    """A key made with another salt opens nothing: the str/bytes trap of Python 3 would."""
    jpeg = celeba.photo(0).read_bytes()
    key = base64.urlsafe_b64encode(hashlib.pbkdf2_hmac("sha256", jpeg, b"b'000001.jpg'", 100_000, 32))
    celeba.change_zip(lambda members: members.update({"delta00000.dat": Fernet(key).encrypt(b"x" * 100)}))
    with pytest.raises(InputError, match="does not open"):
        opened(celeba)[0].read()


def test_loose_deltas_go_before_packed_ones(celeba):
    with zipfile.ZipFile(celeba.zip) as archive:
        (celeba.deltas / "delta00000.dat").write_bytes(archive.read("delta00000.dat"))
    celeba.change_zip(lambda members: members.update({"delta00000.dat": b"x"}))
    np.testing.assert_array_equal(planes(opened(celeba)[0].read()), celeba.finals[0])


def test_a_zip_of_other_things(celeba):
    pack(celeba.zip, {"deltas00000.zip": b"PK"})
    assert "holds no deltas (delta00000.dat), but 1 .zip" in fault_of(celeba)
