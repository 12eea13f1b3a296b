"""Folders, and that a zip or a tar of a folder is the same source of images."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from source_examples import noise, png

from datasets.decode import decode
from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import sources


def make_folder(folder, names=("cats/1.png", "cats/x/2.jpg", "dogs/1.png", "Dogs/3.webp")):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(noise(number)))
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.png").write_bytes(b"none")
    return folder


def pack(folder, path, inside=""):
    """Pack a folder as zip, or as tar by any suffix of tar."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in reversed(files):
                archive.write(file, inside + file.relative_to(folder).as_posix())
    else:
        how = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
        with tarfile.open(path, how) as archive:
            archive.add(folder, inside or ".")
    return path


def found_in(path):
    source = sources.open_source(path)
    items = [source[k] for k in range(len(source))]
    pixels = [decode(item.read(), item.where) for item in items]
    return source.label_names, [(item.name, item.label, item.size(max_pixels=100)) for item in items], pixels


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("labelled", [False, True])
def test_an_archive_is_the_same_source_as_its_folder(tmp_path, suffix, labelled):
    folder = make_folder(tmp_path / "photos")
    if labelled:
        names = ["Dogs/3.webp", "cats/1.png", "cats/x/2.jpg", "dogs/1.png"]
        labels = {"labels": [[name, number % 3] for number, name in enumerate(names)]}
        (folder / "dataset.json").write_text(json.dumps(labels))
    label_names, items, pixels = found_in(folder)
    assert label_names == (("0", "1", "2") if labelled else ("Dogs", "cats", "dogs"))
    assert [(name, label) for name, label, _ in items] == [
        ("Dogs/3.webp", 0),
        ("cats/1.png", 1),
        ("cats/x/2.jpg", 2 if labelled else 1),
        ("dogs/1.png", 0 if labelled else 2),
    ]
    packed = found_in(pack(folder, tmp_path / f"photos{suffix}"))
    assert packed[:2] == (label_names, items)
    assert all(map(np.array_equal, packed[2], pixels))
    wrapped = found_in(pack(folder, tmp_path / f"wrapped{suffix}", "photos/"))
    assert wrapped[0] == label_names
    assert [(name, label) for name, label, _ in wrapped[1]] == [(f"photos/{name}", label) for name, label, _ in items]


def test_a_stamp_for_every_file(tmp_path):
    folder = make_folder(tmp_path / "photos")
    before = sources.open_source(folder)
    stamps = [before[k].stamp for k in range(4)]
    (folder / "cats/1.png").write_bytes(b"longer" * 100)
    os.utime(folder / "dogs/1.png", ns=(5, 5))
    after = sources.open_source(folder)
    assert after.stamp == before.stamp
    assert [after[k].stamp == stamps[k] for k in range(4)] == [True, False, True, False]
    (folder / "cats/1.png").rename(folder / "cats/9.png")
    assert sources.open_source(folder).stamp != before.stamp


def test_a_file_that_vanishes_is_one_bad_image(tmp_path):
    source = sources.open_source(make_folder(tmp_path / "photos"))
    (tmp_path / "photos/cats/1.png").unlink()
    item = source[1]
    assert item.stamp == "missing"
    with pytest.raises(InputError, match=r"cats/1\.png: No such file or directory"):
        item.size()
    with pytest.raises(FileNotFoundError):
        item.read()


def test_a_link_to_itself_is_one_bad_image(tmp_path):
    folder = make_folder(tmp_path / "photos")
    (folder / "cats/2.jpg").symlink_to("2.jpg")
    source = sources.open_source(folder)
    item = next(source[k] for k in range(len(source)) if source[k].name == "cats/2.jpg")
    assert (len(source), item.stamp) == (5, "missing")
    with pytest.raises(InputError, match=r"cats/2\.jpg: .*symbolic links.*; replace it or remove it"):
        item.size()
    options = ["--resolution", "8"]
    command = [sys.executable, "-m", "toolkit.cli", "make-pyramid", str(folder), str(tmp_path / "set.h5"), *options]
    done = subprocess.run([*command, "--skip-bad"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(open_pyramid(tmp_path / "set.h5").level(3)) == 4
    ledger = (tmp_path / "set.h5.ledger.jsonl").read_text()
    assert "symbolic links" in ledger


def test_names_that_do_not_fit_on_a_line_or_into_utf8(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"new\nline.png", b"caf\xe9.png", "caf\u00e9.png".encode()):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118, PTH123  bytes
            file.write(png(noise(1)))
    source = sources.open_source(folder)
    assert [source[k].name for k in range(3)] == ["caf\u00e9.png", r"caf\udce9.png", r"new\nline.png"]
    assert all(np.array_equal(decode(source[k].read(), "x"), noise(1)) for k in range(3))


def test_labels_at_fault_are_no_fault_if_nobody_wants_them(tmp_path):
    folder = make_folder(tmp_path / "photos")
    (folder / "dataset.json").write_text('{"labels": [["cats/1.png", [0.5, 0.5]]]}')
    for path in (folder, pack(folder, tmp_path / "x.zip"), pack(folder, tmp_path / "x.tar")):
        with pytest.raises(
            InputError, match=r"(photos/|x\....:)dataset\.json has no label for 'Dogs/3\.webp'.*--no-labels"
        ):
            sources.open_source(path)
        source = sources.open_source(path, labels=False)
        assert source.label_names is None
        assert len(source) == 4


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    make_folder(tmp_path / "photos")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"photos: Permission denied; a folder of images must be readable"):
        sources.open_source(tmp_path / "photos")
