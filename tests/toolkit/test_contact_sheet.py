import errno
import os

import numpy as np
import pytest
from PIL import Image
from pyramids import noise, write

from datasets.decode import decode
from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import contact_sheet
from toolkit.contact_sheet import draw, show
from toolkit.transforms import Crop


def cells_of(sheet, cell, count, left=28, top=91, gap=10):
    """Cells of the first line of a sheet."""
    return [sheet[top : top + cell, left + k * (cell + gap) :][:, :cell] for k in range(count)]


def test_every_level_is_drawn_at_equal_size_pixel_by_pixel(photos, make):
    reader = open_pyramid(make(photos).path)
    sheet = np.asarray(draw(reader, [4]))
    for level, cell in zip((2, 3, 4), cells_of(sheet, 128, 3), strict=True):
        pixels = reader.level(level)[4].transpose(1, 2, 0)
        factor = 128 >> level
        assert np.array_equal(cell, pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def test_levels_finer_than_a_cell_are_drawn_as_means(tmp_path, make):
    y, x = np.mgrid[0:512, 0:512]
    image = np.stack([x // 2, y // 2, np.full_like(x, 30)], axis=-1).astype(np.uint8)
    image[::2, ::2, 2] = 90  # means of 45 at every 2x2
    Image.fromarray(image).save(tmp_path / "a.png")
    reader = open_pyramid(make(tmp_path / "a.png", resolution=512).path)
    finest = cells_of(np.asarray(draw(reader, [0])), 256, 8, top=140)[-1]
    assert np.array_equal(finest, image.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)).astype(np.uint8))


def test_few_levels_stand_side_by_side_in_strips(photos, make):
    reader = open_pyramid(make(photos, resolution=8, crop=Crop("tile", 8, 8)).path)
    assert draw(reader, list(range(8))).width < 1400
    one, eight = draw(reader, [0]), draw(reader, list(range(8)))
    assert eight.width == 28 + 4 * (one.width - 28)
    assert eight.height < 2 * one.height


def test_the_images_are_chosen_by_the_seed(photos, make, tmp_path):
    path = make(photos).path
    rows = show(path, tmp_path / "a.png", num=4, seed=0, overwrite=False)
    assert rows == sorted(set(rows))
    assert len(rows) == 4
    assert show(path, tmp_path / "b.png", num=4, seed=0, overwrite=False) == rows
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert {tuple(show(path, tmp_path / "c.png", num=4, seed=seed, overwrite=True)) for seed in range(9)} != {
        tuple(rows)
    }
    assert show(path, tmp_path / "d.png", num=999, seed=0, overwrite=False) == list(range(9))
    assert decode(tmp_path / "d.png", "d").shape[2] == 3


def test_names_of_any_length_and_script_fit(tmp_path, make):
    for name in ("x" * 200, "日本語" * 20, "new\nline", "\udcff"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
        reader = open_pyramid(make(tmp_path / f"{name}.png", resolution=4, overwrite=True).path)
        assert draw(reader, [0]).width == 2 * 28 + 128
        (tmp_path / f"{name}.png").unlink()


def test_what_cannot_be_drawn(photos, make, tmp_path):
    path = make(photos).path
    with pytest.raises(InputError, match=r"sheet\.jpg: a contact sheet is a PNG file; let its name end in \.png"):
        show(path, tmp_path / "sheet.jpg", num=1, seed=0, overwrite=False)
    (tmp_path / "sheet.png").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        show(path, tmp_path / "sheet.png", num=1, seed=0, overwrite=False)
    with pytest.raises(InputError, match="does not exist; name a pyramid"):
        show(tmp_path / "missing.h5", tmp_path / "new.png", num=1, seed=0, overwrite=False)
    assert (tmp_path / "sheet.png").read_text() == "mine"


def test_a_failure_while_saving_leaves_what_was_there(photos, make, tmp_path, monkeypatch):
    path = make(photos).path
    (tmp_path / "sheet.png").write_text("mine")
    before = sorted(tmp_path.iterdir())

    class Full:
        def save(self, target, **options):
            target.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(contact_sheet, "draw", lambda reader, rows: Full())
    with pytest.raises(OSError, match="No space left"):
        show(path, tmp_path / "sheet.png", num=1, seed=0, overwrite=True)
    assert (tmp_path / "sheet.png").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("storage", [("a.lmdb", {"encoding": "webp"}), ("a.h5", {"shards": 2})])
def test_all_formats_look_the_same(tmp_path, storage):
    name, how = storage
    one, two = write(tmp_path / "one.h5", noise(4)), write(tmp_path / name, noise(4), **how)
    sheets = [np.asarray(draw(open_pyramid(path), [1, 3]))[60:] for path in (one, two)]
    assert np.array_equal(*sheets)


def test_labels_stand_under_the_pictures(tmp_path):
    """The caption changes with the label, and with nothing else; the pictures stay."""
    sheets = []
    for number, labels in enumerate(([0, 1], [1, 1], None)):
        names = None if labels is None else ["cat", "dog"]
        path = write(tmp_path / f"{number}.h5", noise(2), labels=labels, label_names=names)
        sheets.append(np.asarray(draw(open_pyramid(path), [0, 1])).copy())
    labelled, other, plain = (sheet[91:] for sheet in sheets)  # below the title, which is the name of the file
    assert np.array_equal(labelled[:128], other[:128])
    assert not np.array_equal(labelled, other)
    assert not np.array_equal(labelled, plain)
