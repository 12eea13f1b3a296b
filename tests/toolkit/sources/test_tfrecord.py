"""TFRecord folders and files of the 2017 tools."""

import numpy as np
import pytest
from oracles.array_files import framed, pictures, record, write_tfrecords

from datasets.errors import InputError
from toolkit.sources import open_source, recognise

LEVELS = {2: pictures(5, 4, seed=2), 3: pictures(5, 8, seed=3), 4: pictures(5, 16, seed=4)}
ONE_HOT = np.eye(7, dtype=np.float32)[[6, 0, 2, 2, 5]]


def test_a_folder_gives_its_finest_level_and_labels(tmp_path):
    folder = write_tfrecords(tmp_path / "cats", LEVELS, ONE_HOT)
    source = open_source(folder)
    assert recognise(folder) == ["tfrecord"]
    assert len(source) == 5
    assert [source[k].label for k in range(5)] == [6, 0, 2, 2, 5]
    assert len(source.label_names) == 7
    for k in range(5):
        assert np.array_equal(source[k].read(), LEVELS[4][k].transpose(1, 2, 0))


def test_one_file_gives_its_level(tmp_path):
    folder = write_tfrecords(tmp_path / "cats", LEVELS, ONE_HOT)
    source = open_source(folder / "cats-r03.tfrecords")
    assert np.array_equal(source[4].read(), LEVELS[3][4].transpose(1, 2, 0))
    assert source[4].label == 5
    alone = (folder / "cats-r03.tfrecords").rename(tmp_path / "anything")
    source = open_source(alone)
    assert np.array_equal(source[4].read(), LEVELS[3][4].transpose(1, 2, 0))
    assert source.label_names is None


def test_grey_images(tmp_path):
    images = pictures(3, 8, channels=1)
    source = open_source(write_tfrecords(tmp_path / "grey", {3: images}, None))
    assert np.array_equal(source[2].read(), images[2, 0])


def test_the_renamed_folder_keeps_its_labels(tmp_path):
    folder = write_tfrecords(tmp_path / "cats", LEVELS, ONE_HOT).rename(tmp_path / "kept")
    assert open_source(folder)[0].label == 6


def test_a_set_without_classes_has_vectors_of_no_numbers(tmp_path):
    assert open_source(write_tfrecords(tmp_path / "x", LEVELS, np.zeros((5, 0), np.float32))).label_names is None


def test_labels_at_fault(tmp_path):
    soft = write_tfrecords(tmp_path / "soft", LEVELS, ONE_HOT * 0.5)
    with pytest.raises(InputError, match=r"soft-rxx\.labels: the label of image 0 is a vector that is not one-hot; "):
        open_source(soft)
    assert open_source(soft, labels=False)[0].label is None
    short = write_tfrecords(tmp_path / "short", LEVELS, ONE_HOT[:4])
    with pytest.raises(InputError, match=r"short-rxx\.labels is float32 of shape \(4, 7\), not class numbers or"):
        open_source(short)
    attributes = write_tfrecords(tmp_path / "several", LEVELS, np.ones((5, 3), np.float32))
    with pytest.raises(InputError, match=r"pass --no-labels"):
        open_source(attributes)


def test_damage_gives_one_line(tmp_path):
    folder = write_tfrecords(tmp_path / "cats", LEVELS, None)
    finest = folder / "cats-r04.tfrecords"
    whole = finest.read_bytes()
    finest.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"cats-r04\.tfrecords has 4114 bytes, no multiple of the 823 of its first"):
        open_source(folder)
    finest.write_bytes(whole[:800])
    with pytest.raises(InputError, match="does not begin with a whole record"):
        open_source(folder)
    finest.write_bytes(whole[: 3 * 823] + whole[3 * 823 :].replace(whole[3000:3010], bytes(10)))
    source = open_source(folder)
    assert np.array_equal(source[4].read(), LEVELS[4][4].transpose(1, 2, 0))
    with pytest.raises(InputError, match=r"cats-r04\.tfrecords: record 3: the record does not match its checksum"):
        source[3].read()
    finest.write_bytes(record(pictures(1, 16)[0]) + record(pictures(1, 16)[0].reshape(3, 8, 32)))
    with pytest.raises(InputError, match=r"record 1 is of shape \(3, 8, 32\), the first of \(3, 16, 16\)"):
        open_source(folder)[1].read()
    finest.write_bytes(record(pictures(1, 16, channels=4)[0]))
    with pytest.raises(InputError, match="images of 4 channels; 1 or 3 are allowed"):
        open_source(folder)
    finest.write_bytes(framed(b"\x0a\x00"))
    with pytest.raises(InputError, match="record 0: the record has the features 'none'"):
        open_source(folder)
    (folder / "dogs-r04.tfrecords").write_bytes(whole)
    with pytest.raises(InputError, match=r"holds several data sets \(cats, dogs\); name the file of one level"):
        open_source(folder)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no file NAME-rNN\.tfrecords"):
        open_source(tmp_path / "others", "tfrecord")


def test_a_first_record_that_claims_exabytes_is_not_read(tmp_path):
    from datasets.tfrecord import _masked_crc

    length = (1 << 62).to_bytes(8, "little")
    (tmp_path / "x").write_bytes(length + _masked_crc(length) + bytes(100))
    with pytest.raises(InputError, match="does not begin with a whole record"):
        open_source(tmp_path / "x")
