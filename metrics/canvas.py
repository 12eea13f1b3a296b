"""A sheet to draw on, kept as SVG or as pixels: rectangles, lines, texts and pictures, nothing else."""

from __future__ import annotations

import abc
import base64
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from datasets.atomic import check_writable, replacing
from datasets.errors import InputError

Point = tuple[float, float]
_SHARPNESS = 2  # pixels of a PNG per unit of length
_DASH = 6.0  # length of a dash and of the gap after it


class Canvas(abc.ABC):
    """A white sheet; lengths are in pixels of an SVG, y runs downwards, colours are ``#rrggbb``."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height

    @abc.abstractmethod
    def rectangle(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """Draw a filled rectangle."""

    @abc.abstractmethod
    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, *, dashed: bool = False) -> None:
        """Draw a line through some points."""

    @abc.abstractmethod
    def text(self, at: Point, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222222") -> None:
        """Write a text whose base line starts, has its middle or ends (`anchor`) at a point."""

    @abc.abstractmethod
    def picture(self, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
        """Draw an RGB image, shape (3, h, w), into a square."""

    @abc.abstractmethod
    def content(self) -> bytes:
        """Content of the file."""


class SvgCanvas(Canvas):
    """Drawn as SVG."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self._parts: list[str] = []

    def rectangle(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """See `Canvas`."""
        self._parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, *, dashed: bool = False) -> None:
        """See `Canvas`."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{_DASH} {_DASH}"' if dashed else ""
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def text(self, at: Point, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222222") -> None:
        """See `Canvas`."""
        self._parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
            f"{escape(text)}</text>"
        )

    def picture(self, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
        """See `Canvas`."""
        file = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "png")
        data = base64.b64encode(file.getvalue()).decode()
        self._parts.append(
            f'<image x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}" '
            f'href="data:image/png;base64,{data}"/>'
        )

    def content(self) -> bytes:
        """See `Canvas`."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif">'
        )
        white = f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>'
        return "\n".join([head, white, *self._parts, "</svg>", ""]).encode()


class PngCanvas(Canvas):
    """Drawn as pixels."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self._image = Image.new("RGB", (width * _SHARPNESS, height * _SHARPNESS), "#ffffff")
        self._draw = ImageDraw.Draw(self._image)

    def rectangle(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """See `Canvas`."""
        corners = [left, top, left + width, top + height]
        self._draw.rectangle([round(number * _SHARPNESS) for number in corners], fill=colour)

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, *, dashed: bool = False) -> None:
        """See `Canvas`."""
        for piece in _dashes(points) if dashed else [points]:
            scaled = [(x * _SHARPNESS, y * _SHARPNESS) for x, y in piece]
            self._draw.line(scaled, fill=colour, width=round(width * _SHARPNESS), joint="curve")

    def text(self, at: Point, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222222") -> None:
        """See `Canvas`."""
        font = ImageFont.load_default(size * _SHARPNESS)
        place = at[0] * _SHARPNESS, at[1] * _SHARPNESS
        horizontal = {"start": "l", "middle": "m", "end": "r"}[anchor]
        self._draw.text(place, text, fill=colour, font=font, anchor=f"{horizontal}s")

    def picture(self, left: float, top: float, side: float, pixels: NDArray[np.uint8]) -> None:
        """See `Canvas`."""
        size = round(side * _SHARPNESS)
        image = Image.fromarray(pixels.transpose(1, 2, 0)).resize((size, size), Image.Resampling.LANCZOS)
        self._image.paste(image, (round(left * _SHARPNESS), round(top * _SHARPNESS)))

    def content(self) -> bytes:
        """See `Canvas`."""
        file = io.BytesIO()
        self._image.save(file, "png")
        return file.getvalue()


def _dashes(points: Sequence[Point]) -> list[list[Point]]:
    """Pieces of a line that are drawn."""
    drawn: list[list[Point]] = []
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        length = max(1e-9, float(np.hypot(to_x - x, to_y - y)))
        for start in np.arange(0, length, 2 * _DASH):
            shares = start / length, min(1.0, (start + _DASH) / length)
            drawn.append([(x + share * (to_x - x), y + share * (to_y - y)) for share in shares])
    return drawn


_KINDS: dict[str, type[Canvas]] = {".svg": SvgCanvas, ".png": PngCanvas}


def check_target(path: Path) -> None:
    """Refuse a file that cannot be drawn into.

    Raises
    ------
    InputError
        If its name ends otherwise than in .svg or .png, or it cannot be written.
    """
    if path.suffix.lower() not in _KINDS:
        raise InputError(f"the name of the plot {path} must end with .svg or .png")
    check_writable(path, overwrite=True)


def canvas_for(path: Path, width: int, height: int) -> Canvas:
    """Sheet of the kind that the name of a file asks for."""
    return _KINDS[path.suffix.lower()](width, height)


def save(canvas: Canvas, path: Path) -> None:
    """Write the file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(canvas.content())
