"""CIFAR-10 and CIFAR-100: every way in which they are downloaded gives the same images, names and labels."""

import os
import pickle

import numpy as np
import pytest
from oracles.array_files import (
    cifar10_files,
    cifar100_files,
    cifar_records,
    pictures,
    python2_pickle,
    write_folder,
    write_tar,
)

from datasets.errors import InputError
from toolkit.sources import open_source, recognise

IMAGES = pictures(30, 32)
LABELS = np.random.default_rng(1).integers(0, 10, 30).tolist()
FINE = np.random.default_rng(2).integers(0, 100, 30).tolist()
COARSE = np.random.default_rng(3).integers(0, 20, 30).tolist()


def everything(source):
    items = [source[k] for k in range(len(source))]
    return [item.name for item in items], [item.label for item in items], np.stack([item.read() for item in items])


def forms(where, name, files, folder):
    yield write_folder(where / name, files)
    for mode, suffix in (("w:gz", "tar.gz"), ("w", "tar")):
        yield write_tar(where / f"{name}.{suffix}", folder, files, mode)


@pytest.mark.parametrize("python", [True, False])
def test_cifar10_in_every_form(python, tmp_path):
    files = cifar10_files(IMAGES, LABELS, python=python)
    expected = [f"data_batch_{1 + k // 5}/{k % 5:05d}" for k in range(25)]
    for path in forms(tmp_path, "cifar-10", files, "cifar-10-batches-py" if python else "cifar-10-batches-bin"):
        source = open_source(path)
        assert recognise(path) == ["cifar10"]
        names, labels, pixels = everything(source)
        assert names == expected
        assert labels == LABELS[:25]
        assert np.array_equal(pixels.transpose(0, 3, 1, 2), IMAGES[:25])
        assert source.label_names[3] == "cat"
        assert len(source.label_names) == 10


@pytest.mark.parametrize("python", [True, False])
def test_cifar100_in_every_form_has_fine_labels(python, tmp_path):
    files = cifar100_files(IMAGES, COARSE, FINE, python=python)
    for path in forms(tmp_path, "cifar-100", files, "cifar-100-python" if python else "cifar-100-binary"):
        source = open_source(path)
        assert recognise(path) == ["cifar100"]
        names, labels, pixels = everything(source)
        assert names == [f"train/{k:05d}" for k in range(15)]
        assert labels == FINE[15:]
        assert np.array_equal(pixels.transpose(0, 3, 1, 2), IMAGES[15:])
        assert len(source.label_names) == 100
        # the coarse and the fine list of the authors, both alphabetical
        assert (source.label_names[0], source.label_names[51], source.label_names[99]) == ("apple", "mushroom", "worm")


@pytest.mark.parametrize(
    ("kind", "python", "inside"),
    [
        ("cifar10", True, "cifar-10-batches-py"),
        ("cifar10", False, "cifar-10-batches-bin"),
        ("cifar100", True, "cifar-100-python"),
        ("cifar100", False, "cifar-100-binary"),
    ],
)
def test_the_folder_in_which_the_archive_was_unpacked(kind, python, inside, tmp_path):
    if kind == "cifar10":
        files = cifar10_files(IMAGES, LABELS, python=python)
    else:
        files = cifar100_files(IMAGES, COARSE, FINE, python=python)
    path = tmp_path / "data"
    path.mkdir()
    direct = write_folder(path / inside, files)
    write_tar(path / "packed.tar.gz", inside, files)  # as a download leaves it there
    assert recognise(path) == recognise(direct) == [kind]
    source, expected = open_source(path), open_source(direct)
    for found, wanted in zip(everything(source), everything(expected), strict=True):
        assert np.array_equal(found, wanted)
    assert source.label_names == expected.label_names
    assert source.stamp == expected.stamp
    assert len(pickle.loads(pickle.dumps(source))) == len(expected)
    stamp = source.stamp
    train = "data_batch_1" if kind == "cifar10" else "train"
    os.utime(direct / (train + ("" if python else ".bin")), (1, 1))
    assert open_source(path).stamp != stamp


def test_a_folder_that_holds_more_than_the_unpacked_archive_is_a_folder(tmp_path):
    for number, more in enumerate(("a.png", "b.JPG", "other")):
        path = tmp_path / str(number)
        path.mkdir()
        write_folder(path / "cifar-10-batches-bin", cifar10_files(IMAGES, LABELS, python=False))
        if more == "other":
            (path / more).mkdir()
        else:
            (path / more).write_bytes(b"?")
        assert recognise(path) == ["folder"]
    (path / "other").rmdir()
    assert recognise(path) == ["cifar10"]
    assert recognise(tmp_path) == ["folder"]  # two levels down is not looked at


def test_one_file_gives_all_its_images(tmp_path):
    for python, suffix in ((True, ""), (False, ".bin")):
        folder = write_folder(tmp_path / f"ten{suffix}", cifar10_files(IMAGES, LABELS, python=python))
        names, labels, pixels = everything(open_source(folder / f"test_batch{suffix}"))
        assert names == [f"test_batch/{k:05d}" for k in range(5)]
        assert labels == LABELS[25:]
        assert np.array_equal(pixels.transpose(0, 3, 1, 2), IMAGES[25:])
        folder = write_folder(tmp_path / f"hundred{suffix}", cifar100_files(IMAGES, COARSE, FINE, python=python))
        _, labels, pixels = everything(open_source(folder / f"test{suffix}"))
        assert labels == FINE[:15]
        assert np.array_equal(pixels.transpose(0, 3, 1, 2), IMAGES[:15])
        renamed = (folder / f"test{suffix}").rename(tmp_path / f"renamed{suffix}")
        assert recognise(renamed) == ["cifar100"]


def test_pickles_of_python_3_are_read_too(tmp_path):
    batch = {"data": IMAGES.reshape(30, -1), "fine_labels": FINE}
    names = {"fine_label_names": [f"class {number}" for number in range(100)]}
    files = {"train": pickle.dumps(batch, 4), "meta": pickle.dumps(names, 4)}
    source = open_source(write_folder(tmp_path / "x", files))
    _, labels, pixels = everything(source)
    assert labels == FINE
    assert np.array_equal(pixels.transpose(0, 3, 1, 2), IMAGES)
    assert source.label_names[7] == "class 7"


def test_names_of_classes_come_from_the_files(tmp_path):
    files = cifar10_files(IMAGES, LABELS, python=False)
    files["batches.meta.txt"] = "\n".join("abcdefghij").encode()
    source = open_source(write_folder(tmp_path / "x", files))
    assert source.label_names == tuple("abcdefghij")
    files["batches.meta.txt"] = b"a\nb\n"
    with pytest.raises(InputError, match=r"y: the label of image \d+ is \d, not a class number in 0..1; it is damaged"):
        open_source(write_folder(tmp_path / "y", files))
    assert len(open_source(tmp_path / "y", labels=False)) == 25


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_no_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = cifar10_files(IMAGES, LABELS, python=True)
    files["data_batch_3"] = pickle.dumps({"data": Evil(), "labels": [1]}, 2)
    for path in (write_folder(tmp_path / "x", files), write_tar(tmp_path / "x.tgz", "cifar-10-batches-py", files)):
        with pytest.raises(InputError, match=r"data_batch_3: the pickle mentions (posix|nt)\.system"):
            open_source(path)
    assert not (tmp_path / "hacked").exists()


ROWS = IMAGES[:5].reshape(5, -1)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (python2_pickle({"labels": LABELS[:5]}), "has no 'data' of uint8"),
        (python2_pickle({"data": ROWS[:, :100], "labels": LABELS[:5]}), "has no 'data' of uint8"),
        (pickle.dumps({"data": ROWS / 255, "labels": LABELS[:5]}, 2), "has no 'data' of uint8"),
        (pickle.dumps([ROWS], 2), "has no 'data' of uint8"),
        (python2_pickle({"data": ROWS}), "has no list 'labels' of 5 labels"),
        (python2_pickle({"data": ROWS, "labels": LABELS[:4]}), "has no list 'labels' of 5 labels"),
        (python2_pickle({"data": ROWS, "labels": [1, 2, 3, 4, -1]}), "'labels' are not all class numbers"),
        (python2_pickle({"data": ROWS, "labels": [1, 2, 3, 4, 10]}), "the label of image 9 is 10"),
        (pickle.dumps({"data": ROWS, "labels": [1, 2, 3, 4, "5"]}, 2), "'labels' are not all class numbers"),
        (b"\x80\x02}", "the pickle is cut short"),
    ],
)
def test_pickles_of_something_else_give_one_line(batch, message, tmp_path):
    files = {**cifar10_files(IMAGES, LABELS, python=True), "data_batch_2": batch}
    with pytest.raises(InputError, match=message) as caught:
        open_source(write_folder(tmp_path / "x", files))
    assert "\n" not in str(caught.value)


def test_missing_and_cut_files_give_one_line(tmp_path):
    files = cifar10_files(IMAGES, LABELS, python=False)
    del files["data_batch_4.bin"]
    path = write_tar(tmp_path / "a.tar.gz", "cifar-10-batches-bin", files)
    with pytest.raises(InputError, match=r"a\.tar\.gz lacks data_batch_4\.bin; download it again, or name one"):
        open_source(path)
    files["data_batch_4.bin"] = cifar_records(IMAGES[:2], [1, 2])[:-1]
    with pytest.raises(InputError, match=r"data_batch_4\.bin has 6145 bytes, no multiple of 3073; it is cut short"):
        open_source(write_folder(tmp_path / "b", files))
    with pytest.raises(InputError, match="empty holds neither data_batch_1 nor data_batch_1"):
        open_source(write_folder(tmp_path / "empty", {"notes.txt": b""}), "cifar10")
    whole = write_tar(tmp_path / "c.tar.gz", "cifar-10-batches-bin", cifar10_files(IMAGES, LABELS, python=False))
    whole.write_bytes(whole.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"c\.tar\.gz is cut short"):
        open_source(whole)


def test_a_tar_of_something_else_is_not_cifar(tmp_path):
    for number, name in enumerate(("notes.txt", "data_batch_1.bin", "train")):
        files = {name: b"\xff" * 3073, **cifar10_files(IMAGES, LABELS, python=False)}
        files[name] = b"\xff" * 3073  # no label
        path = write_tar(tmp_path / f"{number}.tar", "x", files, "w")
        assert not {"cifar10", "cifar100"} & set(recognise(path))


def test_what_is_beside_one_file_does_not_matter(tmp_path):
    folder = write_folder(tmp_path / "x", {"part.bin": cifar_records(IMAGES, LABELS), "data_batch_1.bin": b"?"})
    assert len(open_source(folder / "part.bin")) == 30


def test_a_member_of_terabytes_is_not_skipped_through(tmp_path):
    import tarfile

    path = write_tar(tmp_path / "x.tar", "x", cifar10_files(IMAGES, LABELS, python=False), "w")
    entry = tarfile.TarInfo("x/readme.html")
    entry.size = 1 << 40
    path.write_bytes(path.read_bytes()[:512] + entry.tobuf() + path.read_bytes()[512:])
    assert "cifar10" not in recognise(path)
    with pytest.raises(InputError, match=r"x\.tar has a member of 1099511627776 bytes, too large for this data set"):
        open_source(path, "cifar10")
