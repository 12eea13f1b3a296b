import shutil

import numpy as np
import pytest
from PIL import Image

from toolkit import ledger, skipped_sheet
from toolkit.ledger import Entry
from toolkit.options import Options
from toolkit.sources import open_source

LEFT, ACROSS, BELOW = 28, 216, 28 + 70 + 44  # first column, step to the next, top of the first section's thumbnails


@pytest.fixture
def source(tmp_path):
    """Twelve plain images of 40x30 pixels, each of another colour; number 3 is damaged."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (40, 30), colour(number)).save(folder / f"{number:02d}.png")
    (folder / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return open_source(folder)


def colour(number):
    return 20 * number, 255 - 20 * number, 7 * number


@pytest.fixture
def draw(tmp_path, source):
    def draw(reasons, write=False):
        """Sheet for a ledger in which images were left out for these reasons."""
        entries = [Entry(path=source[k].name, skipped=reasons.get(k)) for k in range(len(source))]
        ledger.write(tmp_path / "set.h5.ledger.jsonl", entries)
        function = skipped_sheet.write if write else skipped_sheet.draw
        return function(tmp_path / "set.h5", source, Options(resolution=4, skip_bad=True))

    return draw


def at(sheet, column, top=BELOW):
    """Colour in the middle of a thumbnail."""
    return sheet.getpixel((LEFT + ACROSS * column + 100, top + 75))


def duplicate(name):
    return f"near-duplicate: 3 of 256 bits differ, at most 16 may, of {name}"


def test_images_stand_in_their_order(draw):
    sheet = draw({4: "blurred: sharpness 0.10 is below 1.00", 7: "blurred: sharpness 0.20 is below 1.00"})
    assert [at(sheet, column) for column in (0, 1)] == [colour(4), colour(7)]
    assert at(sheet, 2) == skipped_sheet.PAPER


def test_near_duplicates_stand_beside_what_stayed(draw):
    sheet = draw({5: duplicate("02.png"), 9: duplicate("08.png")})
    step = 200 + 8
    pairs = [
        sheet.getpixel((LEFT + 2 * ACROSS * pair + step * place + 100, BELOW + 75))
        for pair in (0, 1)
        for place in (0, 1)
    ]
    assert pairs == [colour(5), colour(2), colour(9), colour(8)]


def test_kinds_have_sections_and_damaged_images_have_no_picture(draw):
    sheet = draw({3: "03.png cannot be decoded", 6: "too small: 40x30"})
    assert at(sheet, 1) == skipped_sheet.PAPER
    first = np.asarray(sheet)[BELOW : BELOW + 150, LEFT : LEFT + 200]
    assert {tuple(pixel) for pixel in first[:40].reshape(-1, 3)} == {skipped_sheet.PANEL}
    assert (first != skipped_sheet.PANEL).any()  # says so
    assert any(sheet.getpixel((LEFT + 100, y)) == colour(6) for y in range(BELOW + 150, sheet.height))


def test_nothing_left_out_gives_no_picture_and_removes_an_old_one(draw, tmp_path):
    path = draw({1: "blurred: sharpness 0.10 is below 1.00"}, write=True)
    assert path == tmp_path / "set.h5.skipped.png"
    with Image.open(path) as image:
        assert image.width == 1336
    assert draw({}, write=True) is None
    assert not path.exists()
    assert draw({}) is None


def test_the_same_build_gives_the_same_bytes(draw, tmp_path):
    reasons = {2: "blurred: x", 3: "bad", 5: duplicate("00.png")}
    first = draw(reasons, write=True).read_bytes()
    assert draw(reasons, write=True).read_bytes() == first


def test_many_are_spread_evenly_and_every_kind_is_shown(tmp_path, source, monkeypatch):
    monkeypatch.setattr(skipped_sheet, "MAX_SHOWN", 12)
    path = tmp_path / "set.h5.ledger.jsonl"
    entries = [Entry(path=f"{k}.png", skipped="blurred: x" if k % 2 else "too small: y") for k in range(400)]
    entries += [Entry(path="odd.png", skipped="odd.png is empty")]
    ledger.write(path, entries)
    counts = skipped_sheet.Counter({"blurred": 200, "too small": 200, "bad": 1})
    chosen = skipped_sheet._choose(path, counts)
    assert list(chosen) == ["bad", "too small", "blurred"]
    assert {kind: len(cards) for kind, cards in chosen.items()} == {"bad": 1, "too small": 6, "blurred": 5}
    assert [card.index for card in chosen["blurred"]] == [41, 121, 201, 281, 361]


def test_names_of_any_length_and_script_and_sources_that_changed(tmp_path, draw, source):
    path = tmp_path / "set.h5.ledger.jsonl"
    names = ["x" * 300, "日本語" * 30, "new\nline", "", "a" * 50 + " " + "b" * 500]
    entries = [Entry(path=name, skipped=f"{name} is damaged: {name}") for name in names]
    entries += [Entry(path="gone.png", skipped=duplicate("missing.png")), Entry(path="x", skipped="")]
    entries += [Entry(path=f"{k}", skipped=f"{k}: bad") for k in range(20)]  # more than the source has
    ledger.write(path, entries)
    assert skipped_sheet.draw(tmp_path / "set.h5", source, Options()).width == 1336
    shutil.rmtree(source.path)
    assert draw({2: "blurred: x"}).width == 1336


def test_thumbnails_fit_and_small_images_are_crisp():
    from toolkit.drawing import thumbnail

    assert thumbnail(np.zeros((3000, 1000, 3), np.uint8), 200, 150).size == (50, 150)
    assert thumbnail(np.zeros((1, 9000, 3), np.uint8), 200, 150).size == (200, 1)
    tiny = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    assert np.array_equal(np.asarray(thumbnail(tiny, 200, 150)), tiny.repeat(66, axis=0).repeat(66, axis=1))


def test_text_fits():
    from PIL import ImageDraw

    from toolkit.drawing import fit, font, wrap

    pen, letters = ImageDraw.Draw(Image.new("RGB", (1, 1))), font(13)
    assert fit(pen, "short", letters, 200) == "short"
    for text in ("a long name that does not fit at all into so little room.jpg", "W" * 99):
        shown = fit(pen, text, letters, 120)
        assert pen.textlength(shown, letters) <= 120
        assert shown[0] == text[0]
        assert shown[-1] == text[-1]
        lines = wrap(pen, text, letters, 60, 3)
        assert len(lines) <= 3
        assert all(pen.textlength(line, letters) <= 60 for line in lines)
    assert wrap(pen, "one two", letters, 200, 3) == ["one two"]
    assert wrap(pen, "", letters, 200, 3) == []
    assert wrap(pen, "aaaa bbbb cccc", letters, 40, 2)[-1].endswith("…")
