"""A picture of the images that a build left out, and why, so that a person can judge whether that was right.

It lies beside the data set as ``OUT.skipped.png``. Near-duplicates stand beside the image that stayed instead.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw

from datasets.atomic import replacing
from datasets.errors import InputError
from toolkit import ledger
from toolkit.drawing import FAINT, INK, MARGIN, PANEL, PAPER, RULE, Font, fit, font, thumbnail, wrap
from toolkit.engine.process import read
from toolkit.engine.workers import num_cores
from toolkit.options import Options
from toolkit.selection import BAD, BLURRED, FACE, NEAR_DUPLICATE, NO_FACE, NOT_BEST, TOO_SMALL, kind_of, original_of
from toolkit.sources import Source

TITLE = "the images that were left out"
MAX_SHOWN = 60  # images that were left out
_HEADINGS = {
    BAD: "Bad: damaged, or of a kind or shape that the options do not allow",
    TOO_SMALL: "Too small",
    BLURRED: "Blurred",
    NEAR_DUPLICATE: "Near-duplicates, each with the image that stayed",
    NO_FACE: "No face was found",
    FACE: "Faces that the options leave out",
    NOT_BEST: "Not among the best: their scores are too low",
}
_COLUMNS, _WIDTH, _HEIGHT = 6, 200, 150  # of thumbnails, in pixels
_GAP, _PAD = 16, 8
_HEAD, _SECTION, _LINE = 70, 44, 18  # heights of the title, of the heading of a section, of a line
_LINES = 4  # of a reason


_Image = tuple[int, str]  # number in the source, and name


@dataclasses.dataclass(frozen=True)
class _Card:
    """An image that was left out: its number in the source, name and reason; and the image that stayed instead."""

    index: int
    name: str
    reason: str
    original: _Image | None = None

    @property
    def images(self) -> list[_Image]:
        """What is to be shown."""
        return [(self.index, self.name), *([self.original] if self.original else [])]

    @property
    def columns(self) -> int:
        """Number of thumbnails."""
        return len(self.images)

    @property
    def text(self) -> str:
        """The reason, without what stands beside it anyway."""
        if self.original:
            return self.reason.removeprefix(f"{NEAR_DUPLICATE}: ").removesuffix(f", of {self.original[1]}")
        return self.reason.removeprefix(f"{kind_of(self.reason)}: ").removeprefix(self.name).lstrip(": ")


def path_of(data_set: Path) -> Path:
    """Path of the picture for a data set."""
    return data_set.with_name(f"{data_set.name}.skipped.png")


def write(data_set: Path, source: Source, options: Options) -> Path | None:
    """Write the picture for a data set that was just built, next to it.

    Parameters
    ----------
    data_set : Path
        Its ledger says what was left out.
    source : Source
        It was built from this.
    options : Options
        With these.

    Returns
    -------
    Path or None
        The picture; None if nothing was left out. Then a picture of an earlier build is removed.
    """
    out = path_of(data_set)
    sheet = draw(data_set, source, options)
    if sheet is None:
        out.unlink(missing_ok=True)
        return None
    with replacing(out) as temporary:
        sheet.save(temporary, format="PNG")
    return out


def draw(data_set: Path, source: Source, options: Options) -> Image.Image | None:
    """Draw what `write` writes."""
    path = ledger.path_of(data_set)
    counts: Counter[str] = Counter()
    num_used = 0
    for entry in ledger.read(path):
        if entry.skipped is None:
            num_used += 1
        else:
            counts[kind_of(entry.skipped)] += 1
    if not counts:
        return None
    sections = _choose(path, counts)
    placed = {kind: _rows(cards) for kind, cards in sections.items()}
    wanted = {image for cards in sections.values() for card in cards for image in card.images}
    with ThreadPoolExecutor(num_cores()) as pool:
        pictures = dict(pool.map(lambda image: (image, _picture(source, options, *image)), sorted(wanted)))
    return _Painter(pictures).paint(f"Left out of {data_set.name}", counts.total() + num_used, counts, placed)


def _choose(path: Path, counts: Counter[str]) -> dict[str, list[_Card]]:
    """The images to be shown, spread evenly over those of a kind; kinds of few images are shown whole."""
    left, shown = MAX_SHOWN, {}
    for place, (kind, count) in enumerate(sorted(counts.items(), key=lambda item: item[1])):
        shown[kind] = min(count, left // (len(counts) - place))
        left -= shown[kind]
    wanted = {
        kind: {(2 * number + 1) * counts[kind] // (2 * shown[kind]) for number in range(shown[kind])} for kind in counts
    }
    sections: dict[str, list[_Card]] = {kind: [] for kind in _HEADINGS if kind in counts}
    seen: Counter[str] = Counter()
    for index, entry in enumerate(ledger.read(path)):
        if entry.skipped is not None:
            kind = kind_of(entry.skipped)
            if seen[kind] in wanted[kind]:
                sections[kind].append(_Card(index, entry.path, entry.skipped))
            seen[kind] += 1
    duplicates = sections.get(NEAR_DUPLICATE, [])
    originals = {original_of(card.reason) for card in duplicates}
    numbers = {entry.path: index for index, entry in enumerate(ledger.read(path)) if entry.path in originals}
    for place, card in enumerate(duplicates):
        name = original_of(card.reason)
        if name in numbers:
            duplicates[place] = dataclasses.replace(card, original=(numbers[name], name))
    return sections


def _rows(cards: Iterable[_Card]) -> list[list[_Card]]:
    """Cards that stand side by side."""
    rows: list[list[_Card]] = [[]]
    for card in cards:
        if sum(other.columns for other in rows[-1]) + card.columns > _COLUMNS:
            rows.append([])
        rows[-1].append(card)
    return rows


def _picture(source: Source, options: Options, index: int, name: str) -> Image.Image | None:
    """Thumbnail of an image; None if it cannot be read, or is not what it was when it was left out."""
    try:
        item = source[index]
        if item.name != name:
            return None
        pixels = item.preview() if item.preview is not None else read(item, options)[0]
        return thumbnail(pixels, _WIDTH, _HEIGHT)
    except (InputError, OSError, IndexError):
        return None


class _Painter:
    """Draws the sheet from top to bottom."""

    _TITLE, _HEADING, _NAME, _TEXT = font(24), font(17), font(14), font(13)

    def __init__(self, pictures: Mapping[_Image, Image.Image | None]) -> None:
        self._pictures = pictures
        self._sheet = Image.new("RGB", (1, 1))  # to measure text with, until the height is known
        self._pen = ImageDraw.Draw(self._sheet)

    def paint(
        self, title: str, total: int, counts: Counter[str], sections: Mapping[str, list[list[_Card]]]
    ) -> Image.Image:
        width = 2 * MARGIN + _COLUMNS * (_WIDTH + _GAP) - _GAP
        heights = {kind: [self._height(row) for row in rows] for kind, rows in sections.items()}
        top = MARGIN + _HEAD
        height = top + sum(_SECTION + sum(of_rows) for of_rows in heights.values()) + MARGIN - _GAP
        self._sheet = Image.new("RGB", (width, height), PAPER)
        self._pen = ImageDraw.Draw(self._sheet)
        self._write(title, MARGIN, MARGIN, width - 2 * MARGIN, INK, self._TITLE)
        numbers = ", ".join(f"{counts[kind]:,} {kind}" for kind in sections)
        summary = f"{counts.total():,} of {total:,} images: {numbers}"
        self._write(summary, MARGIN, MARGIN + 36, width - 2 * MARGIN, FAINT, self._NAME)
        for kind, rows in sections.items():
            shown = sum(map(len, rows))
            number = f"{shown:,}" if shown == counts[kind] else f"{shown:,} of {counts[kind]:,} shown"
            self._pen.line((MARGIN, top, width - MARGIN, top), RULE)
            self._pen.text((MARGIN, top + 12), _HEADINGS[kind], INK, self._HEADING)
            self._pen.text((width - MARGIN, top + 14), number, FAINT, self._NAME, anchor="ra")
            top += _SECTION
            for row, height in zip(rows, heights[kind], strict=True):
                left = MARGIN
                for card in row:
                    self._paint(card, left, top)
                    left += card.columns * (_WIDTH + _GAP)
                top += height
        return self._sheet

    def _height(self, row: Sequence[_Card]) -> int:
        return _HEIGHT + _PAD + _LINE + _LINE * max(len(self._lines(card)) for card in row) + _GAP

    def _lines(self, card: _Card) -> list[str]:
        return wrap(self._pen, card.text, self._TEXT, card.columns * (_WIDTH + _GAP) - _GAP, _LINES)

    def _paint(self, card: _Card, left: int, top: int) -> None:
        """Draw an image, to the right of it what stayed instead, below it the reason."""
        text_top = top + _HEIGHT + _PAD
        for place, image in enumerate(card.images):
            right = left + place * (_WIDTH + _PAD)
            self._pen.rectangle((right, top, right + _WIDTH - 1, top + _HEIGHT - 1), PANEL)
            picture = self._pictures[image]
            if picture is None:
                self._pen.text((right + _WIDTH // 2, top + _HEIGHT // 2), "no picture", FAINT, self._NAME, anchor="mm")
            else:
                corner = right + (_WIDTH - picture.width) // 2, top + (_HEIGHT - picture.height) // 2
                self._sheet.paste(picture, corner)
            caption = f"stayed: {image[1]}" if place else image[1]
            self._write(caption, right, text_top, _WIDTH, FAINT if place else INK, self._NAME)
        for number, line in enumerate(self._lines(card), start=1):
            self._pen.text((left, text_top + _LINE * number), line, FAINT, self._TEXT)

    def _write(self, text: str, left: int, top: int, width: int, colour: tuple[int, int, int], letters: Font) -> None:
        self._pen.text((left, top), fit(self._pen, text, letters, width), colour, letters)
