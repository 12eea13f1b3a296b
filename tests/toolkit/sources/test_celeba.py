import json
import zipfile

import numpy as np
import pytest
import source_examples
from source_examples import noise, png

from datasets.decode import decode
from datasets.errors import InputError
from toolkit import sources
from toolkit.transforms import cut


@pytest.fixture
def folder(tmp_path):
    return source_examples.make("celeba", tmp_path).path


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder))
    return path


def test_the_crop_of_the_paper(folder):
    source = sources.open_source(folder)
    pixels = noise(0, 178, 218) // 64 * 64
    boxes = source.crop.boxes(178, 218, "x")
    assert len(boxes) == 1
    square = cut(pixels, boxes[0], 128, "box")
    assert np.array_equal(square, pixels[57:185, 25:153].transpose(2, 0, 1))  # rows 57..184, columns 25..152
    assert (25 + 152 + 1) // 2 == 89
    assert (57 + 184 + 1) // 2 == 121


def test_zip_and_folder_are_the_same(folder, tmp_path):
    one, two = sources.open_source(folder), sources.open_source(zipped(folder, tmp_path / "img_align_celeba.zip"))
    assert type(one) is type(two)
    assert two.crop == one.crop
    assert [one[k].name for k in range(3)] == [two[k].name for k in range(3)]
    assert all(np.array_equal(decode(one[k].read(), ""), decode(two[k].read(), "")) for k in range(3))


def kinds(folder, tmp_path):
    return [sources.recognise(folder), sources.recognise(zipped(folder, tmp_path / "x.zip"))]


def test_other_folders_are_just_folders(folder, tmp_path):
    assert kinds(folder, tmp_path) == [["celeba"], ["celeba"]]
    (folder / "list_attr_celeba.txt").write_text("no image")
    assert kinds(folder, tmp_path) == [["celeba"], ["celeba"]]
    for name in ("grid.png", "000009.png", "img_align_celeba/0000010.jpg", "other/000009.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png(noise(0, 178, 218)))
        assert kinds(folder, tmp_path) == [["folder"], ["zip"]]
        (folder / name).unlink()
    (folder / "img_align_celeba/000001.jpg").write_bytes(png(noise(0, 218, 178)))
    assert kinds(folder, tmp_path) == [["folder"], ["zip"]]
    (folder / "img_align_celeba/000001.jpg").write_bytes(b"no image")
    assert kinds(folder, tmp_path) == [["folder"], ["zip"]]
    assert sources.open_source(folder).crop is None


def test_links_in_circles(folder):
    (folder / "again").symlink_to(folder)
    (folder / "img_align_celeba/up").symlink_to(folder)
    assert sources.recognise(folder) == ["celeba"]


def test_an_image_of_another_size_is_a_bad_image(folder, tmp_path):
    (folder / "img_align_celeba/000003.png").write_bytes(png(noise(0, 400, 300)))
    for path in (folder, zipped(folder, tmp_path / "x.zip")):
        source = sources.open_source(path)
        source[0].read()
        for what in (source[1].size, source[1].read):
            with pytest.raises(
                InputError, match=r"000003\.png has 400x300 pixels, aligned CelebA images have 178x218; repl"
            ):
                what()


def test_labels_of_a_file(folder):
    names = ["img_align_celeba/000002.jpg", "img_align_celeba/000003.png", "img_align_celeba/202599.jpg"]
    (folder / "dataset.json").write_text(json.dumps({"labels": list(zip(names, [1, 0, 1], strict=True))}))
    source = sources.open_source(folder)
    assert source.label_names == ("0", "1")
    assert [source[k].label for k in range(3)] == [1, 0, 1]
