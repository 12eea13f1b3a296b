"""Small helpers for pictures that are made to be looked at: colours, fonts, text that fits, thumbnails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (250, 250, 248), (32, 33, 36), (112, 114, 118)
PANEL, RULE = (240, 240, 236), (222, 222, 217)
MARGIN = 28  # pixels around everything

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font(size: int) -> Font:
    """Font of Pillow's own, so that a picture looks the same everywhere; `size` in pixels."""
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """Text as it can be drawn: on one line, and without what no font can draw."""
    return "".join(
        letter if letter.isprintable() else " " for letter in text.encode("utf-8", "replace").decode("utf-8")
    )


def fit(pen: ImageDraw.ImageDraw, text: str, letters: Font, width: int) -> str:
    """Shorten a text in its middle until it is no wider than `width` pixels."""
    text = printable(text)
    if pen.textlength(text, letters) <= width:
        return text
    few, many = 1, len(text) - 1
    while few < many:
        middle = (few + many + 1) // 2
        if pen.textlength(_shortened(text, middle), letters) <= width:
            few = middle
        else:
            many = middle - 1
    return _shortened(text, few)


def wrap(pen: ImageDraw.ImageDraw, text: str, letters: Font, width: int, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of at most `width` pixels; what is too much ends with an ellipsis."""
    words = printable(text).split()
    done: list[str] = []
    while words and len(done) < lines:
        line = words.pop(0)
        while words and pen.textlength(f"{line} {words[0]}", letters) <= width:
            line = f"{line} {words.pop(0)}"
        done.append(line)
    if words:
        line = done[-1]
        while line and pen.textlength(f"{line}…", letters) > width:
            line = line[:-1]
        done[-1] = f"{line.rstrip(' ,;:(')}…"
    return [fit(pen, line, letters, width) for line in done]


def thumbnail(pixels: NDArray[np.uint8], width: int, height: int) -> Image.Image:
    """Picture of an image as large as fits into `width` x `height`: small ones by whole factors, as crisp squares.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
    width, height : int
        In pixels.
    """
    image = Image.fromarray(pixels)
    factor = min(width // image.width, height // image.height)
    if factor >= 1:
        return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    scale = min(width / image.width, height / image.height)
    side = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    return image.resize(side, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC, reducing_gap=3)


def _shortened(text: str, keep: int) -> str:
    return text if keep >= len(text) else f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
