"""A picture of the images with the highest and the lowest scores, so that a person can judge what the score prefers.

It lies beside the data set as ``OUT.scores.png``: the best, the last that stayed, and the worst that were left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from datasets.errors import InputError
from datasets.formats import open_pyramid
from datasets.levels import level_of
from toolkit import ledger
from toolkit.drawing import FAINT, INK, MARGIN, PANEL, PAPER, RULE, fit, font, thumbnail
from toolkit.engine.process import read
from toolkit.engine.workers import num_cores
from toolkit.ledger import Entry
from toolkit.options import Options
from toolkit.sources import Source

TITLE = "the images of highest and lowest scores"
_COLUMNS, _CELL = 6, 200  # thumbnails in a row; their side in pixels
_GAP, _HEAD, _SECTION, _CAPTION = 16, 70, 44, 44
_MOST = {"Highest scores": 12, "Lowest scores that stayed": 12, "Lowest scores, left out": 6}
_LEVEL = 256  # side in pixels from which thumbnails of rows are made

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class _Card:
    """One image: its number in the source, its line of the ledger, its score."""

    index: int
    entry: Entry
    score: float


def path_of(data_set: Path) -> Path:
    """Path of the picture for a data set."""
    return data_set.with_name(f"{data_set.name}.scores.png")


def draw(data_set: Path, source: Source, options: Options) -> Image.Image | None:
    """Draw the picture for a data set that was just built; None if no image has a score.

    Parameters
    ----------
    data_set : Path
        A pyramid, with its ledger beside it.
    source : Source
        It was built from this.
    options : Options
        With these.
    """
    reader = open_pyramid(data_set)
    level = level_of(min(_LEVEL, reader.manifest.resolution))

    def stayed(entry: Entry) -> Pixels:
        return np.ascontiguousarray(reader.level(level)[entry.rows[0]].transpose(1, 2, 0))

    return draw_from(data_set, source, options, stayed)


def draw_from(
    data_set: Path, source: Source, options: Options, stayed: Callable[[Entry], Pixels]
) -> Image.Image | None:
    """Draw the picture for whatever has a ledger; ``stayed(entry)`` gives the pixels (H, W, 3) of an image that stayed.

    Images that were left out are made once more, as the finished data set does not hold them.
    """
    sections = _choose(ledger.read(ledger.path_of(data_set)))
    if not sections:
        return None

    def picture(card: _Card) -> Image.Image | None:
        try:
            if card.entry.skipped is None:
                return thumbnail(stayed(card.entry), _CELL, _CELL)
            item = source[card.index]
            return thumbnail(read(item, options)[0], _CELL, _CELL) if item.name == card.entry.path else None
        except (InputError, OSError, IndexError):
            return None

    cards = [card for group in sections.values() for card in group]
    with ThreadPoolExecutor(num_cores()) as pool:
        pictures = dict(zip([card.index for card in cards], pool.map(picture, cards), strict=True))
    return _paint(f"Scores of {data_set.name}", sections, pictures)


def _choose(entries: Iterable[Entry]) -> dict[str, list[_Card]]:
    """The images to be shown, under their headings, each with its best first."""
    cards = [
        _Card(index, entry, float(entry.details["score"]))
        for index, entry in enumerate(entries)
        if "score" in entry.details
    ]
    cards.sort(key=lambda card: (-card.score, card.index))
    used = [card for card in cards if card.entry.skipped is None]
    left_out = [card for card in cards if card.entry.skipped is not None]
    best, last, worst = _MOST.values()
    groups = used[:best], used[best:][-last:], left_out[-worst:]
    return {heading: group for heading, group in zip(_MOST, groups, strict=True) if group}


def _paint(title: str, sections: dict[str, list[_Card]], pictures: dict[int, Image.Image | None]) -> Image.Image:
    """Draw the sheet from top to bottom."""
    letters, heading_letters, small = font(24), font(17), font(13)
    width = 2 * MARGIN + _COLUMNS * (_CELL + _GAP) - _GAP
    lines = {heading: -(-len(cards) // _COLUMNS) for heading, cards in sections.items()}
    height = 2 * MARGIN + _HEAD + sum(_SECTION + count * (_CELL + _CAPTION) for count in lines.values()) - _GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), fit(pen, title, letters, width - 2 * MARGIN), INK, letters)
    top = MARGIN + _HEAD
    for heading, cards in sections.items():
        pen.line((MARGIN, top, width - MARGIN, top), RULE)
        pen.text((MARGIN, top + 12), heading, INK, heading_letters)
        top += _SECTION
        for number, card in enumerate(cards):
            left = MARGIN + number % _COLUMNS * (_CELL + _GAP)
            upper = top + number // _COLUMNS * (_CELL + _CAPTION)
            pen.rectangle((left, upper, left + _CELL - 1, upper + _CELL - 1), PANEL)
            picture = pictures[card.index]
            if picture is None:
                pen.text((left + _CELL // 2, upper + _CELL // 2), "no picture", FAINT, small, anchor="mm")
            else:
                sheet.paste(picture, (left + (_CELL - picture.width) // 2, upper + (_CELL - picture.height) // 2))
            pen.text((left, upper + _CELL + 4), f"{card.score:.4g}", INK, small)
            pen.text((left, upper + _CELL + 20), fit(pen, card.entry.path, small, _CELL), FAINT, small)
        top += lines[heading] * (_CELL + _CAPTION)
    return sheet
