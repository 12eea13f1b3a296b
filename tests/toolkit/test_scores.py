"""The best of all images, by score: chosen in the plan, told in the ledger, drawn beside the data set."""

import numpy as np
import pytest
from PIL import Image
from portrait_photos import photograph

from datasets.decode import decode
from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit import ledger, score_sheet
from toolkit.celebahq import quality
from toolkit.engine import process
from toolkit.selection import NOT_BEST, Criteria, kind_of, not_best, order_by_score

BLURS = [0.0, 3.0, 0.5, 6.0, 1.5, 1.0, 4.0]


@pytest.fixture
def squares(tmp_path):
    """Seven pictures of 64x64, more and less blurred."""
    folder = tmp_path / "squares"
    folder.mkdir()
    for number, blur in enumerate(BLURS):
        Image.fromarray(photograph(number, (64, 64), blur)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def scores(squares):
    """Scores of these pictures, by themselves."""
    return [quality.score(np.asarray(Image.open(path))).score for path in sorted(squares.iterdir())]


def names_of(summary):
    return open_pyramid(summary.path).sources()


def test_the_best_stay_in_source_order(squares, make, scores):
    summary = make(squares, resolution=64, criteria=Criteria(best=3))
    best = sorted(np.argsort(scores)[-3:].tolist())
    assert names_of(summary) == [f"{number}.png" for number in best]
    entries = list(ledger.read(summary.ledger))
    assert [entry.details["score"] for entry in entries] == scores
    assert summary.skipped == {NOT_BEST: 4}
    worst = int(np.argmin(scores))
    last = sorted(scores)[-3]
    assert entries[worst].skipped == (
        f"not among the best: score {scores[worst]:.6g} is number 7 of 7 images, and the best 3 stay; the last of them "
        f"has {last:.6g}"
    )
    assert summary.manifest.options["best"] == 3
    assert summary.manifest.options["order"] == "source"


def test_the_best_first(squares, make, scores):
    summary = make(squares, resolution=64, criteria=Criteria(best=5), order="score")
    best = np.argsort(-np.array(scores))[:5]
    assert names_of(summary) == [f"{number}.png" for number in best]
    for row, number in enumerate(best):
        pixels = decode(squares / f"{number}.png", "x").transpose(2, 0, 1)
        assert np.array_equal(open_pyramid(summary.path).level(6)[row], pixels)
    rows = {entry.path: entry.rows for entry in ledger.read(summary.ledger) if entry.rows}
    assert rows == {f"{number}.png": (row,) for row, number in enumerate(best)}


def test_a_choice_of_all_needs_no_image_twice(squares, make, monkeypatch, scores):
    read = []
    real = process.read
    monkeypatch.setattr(process, "read", lambda item, options: (read.append(item.name), real(item, options))[1])
    summary = make(squares, resolution=64, criteria=Criteria(best=7))
    assert sorted(read) == names_of(summary)
    assert [entry.details["score"] for entry in ledger.read(summary.ledger)] == scores
    read.clear()
    make(squares, "b.h5", resolution=64, criteria=Criteria(best=7), order="score")
    assert len(read) == 14


def test_the_best_of_those_that_meet_all_else(squares, make, scores):
    """A copy of the best is no better; and a bad image has no score."""
    best = int(np.argmax(scores))
    content = (squares / f"{best}.png").read_bytes()
    (squares / "copy.png").write_bytes(content)
    (squares / "0-bad.png").write_bytes(content[:100])
    criteria = Criteria(best=2, near_duplicates=4)
    summary = make(squares, resolution=64, skip_bad=True, criteria=criteria, order="score")
    order = np.argsort(-np.array(scores))
    assert names_of(summary) == [f"{order[0]}.png", f"{order[1]}.png"]
    assert summary.skipped == {"bad": 1, "near-duplicate": 1, NOT_BEST: 5}


def test_equal_scores_go_by_source_order(squares, make, scores):
    best = int(np.argmax(scores))
    for name in ("y.png", "x.png"):
        (squares / name).write_bytes((squares / f"{best}.png").read_bytes())
    summary = make(squares, resolution=64, criteria=Criteria(best=2), order="score")
    assert names_of(summary) == [f"{best}.png", "x.png"]


def test_orders_and_reasons():
    assert order_by_score(np.array([1.0, np.nan, 3.0, 1.0, -2.0])).tolist() == [2, 0, 3, 4, 1]
    assert kind_of(not_best(0.1, 5, 9, 4, 0.2)) == NOT_BEST
    with pytest.raises(InputError, match=r"--best 0 leaves nothing; give a number of images from 1 up"):
        Criteria(best=0)


def test_the_sheet_shows_the_best_the_last_and_the_worst(squares, make, scores):
    summary = make(squares, resolution=64, criteria=Criteria(best=4))
    assert summary.score_sheet == score_sheet.path_of(summary.path)
    sections = score_sheet._choose(ledger.read(summary.ledger))
    order = np.argsort(-np.array(scores)).tolist()
    assert {heading: [card.index for card in cards] for heading, cards in sections.items()} == {
        "Highest scores": order[:4],
        "Lowest scores, left out": order[4:],
    }
    sheet = np.asarray(Image.open(summary.score_sheet))
    for section, numbers in enumerate((order[:4], order[4:])):
        top = score_sheet.MARGIN + 70 + 44 + section * (44 + 200 + 44)
        for column, number in enumerate(numbers):
            left = score_sheet.MARGIN + column * 216 + 4  # 64 pixels three times in a cell of 200
            found = sheet[top + 4 : top + 196 : 3, left : left + 192 : 3]
            assert np.array_equal(found, np.asarray(Image.open(squares / f"{number}.png")))


def test_no_sheet_without_scores_and_an_old_one_goes(squares, make):
    first = make(squares, resolution=64, criteria=Criteria(best=4))
    assert first.score_sheet.exists()
    second = make(squares, resolution=64, overwrite=True)
    assert second.score_sheet is None
    assert not first.score_sheet.exists()
    assert "best" not in second.manifest.options


def test_many_images_are_divided_over_the_sections():
    entries = [ledger.Entry(path=f"{k}", rows=(k,), details={"score": float(k)}) for k in range(40)]
    entries += [
        ledger.Entry(path=f"x{k}", skipped="not among the best: x", details={"score": -float(k)}) for k in range(9)
    ]
    sections = score_sheet._choose([*entries, ledger.Entry(path="bad", skipped="bad")])
    assert [[card.entry.path for card in cards] for cards in sections.values()] == [
        [f"{k}" for k in range(39, 27, -1)],
        [f"{k}" for k in range(11, -1, -1)],
        [f"x{k}" for k in range(3, 9)],
    ]
