"""A picture of a data set: some images, one below the other, every level side by side and drawn at equal size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from datasets.atomic import check_writable, replacing
from datasets.errors import InputError
from datasets.formats import PyramidReader, open_pyramid
from datasets.levels import levels_up_to, resolution_of
from toolkit.derived.extraction import random_rows
from toolkit.drawing import FAINT, INK, MARGIN, PAPER, fit, font
from toolkit.inspection import class_names

_GAP = 10  # pixels between cells
_WIDTH = 1300  # pixels; as many strips stand side by side as fit into this
_MIN_CELL, _MAX_CELL = 128, 256  # a finer level than 256x256 is drawn smaller than it is


def show(path: Path, out: Path, *, num: int, seed: int, overwrite: bool) -> list[int]:
    """Draw a contact sheet of a data set into a PNG file.

    Parameters
    ----------
    path : Path
        A finished data set of any format.
    out : Path
        PNG file to write, atomically.
    num : int
        Number of images; all are drawn if there are fewer.
    seed : int
        Chooses the images: the first `num` of `datasets.order.Order` with this seed, sorted.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    list of int
        Rows that were drawn.

    Raises
    ------
    InputError
        If `path` is no finished data set or `out` cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"{out}: a contact sheet is a PNG file; let its name end in .png")
    check_writable(out, overwrite=overwrite)
    reader = open_pyramid(path)
    rows = random_rows(num, seed, reader.manifest.num_images)
    sheet = draw(reader, rows)
    with replacing(out) as temporary:
        sheet.save(temporary, format="PNG")
    return rows


def draw(reader: PyramidReader, rows: list[int]) -> Image.Image:
    """Draw the given rows of a data set: a strip for each, with every level from 4x4 on from left to right."""
    manifest = reader.manifest
    names, labels, classes = reader.sources(), reader.labels(), class_names(manifest)
    levels = levels_up_to(manifest.top_level)
    cell = min(max(manifest.resolution, _MIN_CELL), _MAX_CELL)
    strip_width = len(levels) * (cell + _GAP) - _GAP
    abreast = max(1, min(len(rows), _WIDTH // strip_width))
    size = 13 if cell == _MIN_CELL else 20  # of the letters, in pixels
    title, text = font(size * 3 // 2), font(size)
    head, across, down = 7 * size, strip_width + MARGIN, cell + 2 * size + _GAP
    width = MARGIN + abreast * across
    sheet = Image.new("RGB", (width, head + -(-len(rows) // abreast) * down + MARGIN - _GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, size * 3 // 2), fit(pen, reader.path.name, title, width - 2 * MARGIN), INK, title)
    counts = f"{len(rows)} of {manifest.num_images:,} images, content {manifest.content_digest[:16]}"
    pen.text((MARGIN, size * 7 // 2), fit(pen, counts, text, width - 2 * MARGIN), FAINT, text)
    for strip, row in enumerate(rows):
        line, place = divmod(strip, abreast)
        left, top = MARGIN + place * across, head + line * down
        for level in levels:
            if line == 0:
                side = resolution_of(level)
                label = f"{side}x{side}" if side <= cell else f"{side}x{side}, reduced"
                pen.text((left + cell // 2, head - size), label, INK, text, anchor="mm")
            pixels = np.ascontiguousarray(reader.level(level)[row].transpose(1, 2, 0))
            sheet.paste(_drawn_at(pixels, cell), (left, top))
            left += cell + _GAP
        label = "" if labels is None else f"   [{classes[labels[row]]}]"
        caption = fit(pen, f"row {row}{label}   {names[row]}", text, strip_width)
        pen.text((MARGIN + place * across, top + cell + 4), caption, FAINT, text)
    return sheet


def _drawn_at(pixels: NDArray[np.uint8], cell: int) -> Image.Image:
    """Make an image `cell` pixels wide: its own pixels as squares, or the mean of several if it is finer than that."""
    resample = Image.Resampling.NEAREST if len(pixels) <= cell else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((cell, cell), resample)
