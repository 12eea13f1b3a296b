"""How the quality score ranks photographs that were made worse, beside two other measures, and the figure of the docs.

    python benchmarks/quality_score.py [FOLDER ...] [--figure docs/celebahq/quality.png]

Without folders, the colour photographs of scikit-image are ranked. Every photograph is cut to its middle square and
reduced to 512x512 if it is larger; the numbers are the share of photographs that rank above their worse version.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scipy.fft
import scipy.ndimage
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from toolkit.celebahq import quality
from toolkit.drawing import FAINT, INK, MARGIN, PAPER, font
from toolkit.measurement import measure

Pixels = NDArray[np.uint8]
SIDE = 512
OWN = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "ihc", "motorcycle_left", "retina", "rocket")
SHOWN = ("astronaut", "chelsea", "coffee", "rocket")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--figure", type=Path, help="PNG file to draw")
    given = parser.parse_args()
    data = Path(skimage.__file__).parent / "data"
    paths = [path for name in OWN for path in data.glob(f"{name}.*")]
    paths += [path for folder in given.folders for path in sorted(folder.rglob("*.jpg"))]
    wins: dict[str, dict[str, int]] = {change: dict.fromkeys(MEASURES, 0) for change in WORSE}
    for path in paths:
        pixels = middle(path)
        best = {name: measured(pixels) for name, measured in MEASURES.items()}
        for change, worsen in WORSE.items():
            worse = worsen(pixels)
            for name, measured in MEASURES.items():
                wins[change][name] += measured(worse) < best[name]
    print(f"{len(paths)} photographs")
    print(f"{'':24}", *(f"{name:>24}" for name in MEASURES))
    for change, counts in wins.items():
        print(f"{change:24}", *(f"{count / len(paths):24.1%}" for count in counts.values()))
    large = np.asarray(Image.fromarray(middle(paths[0])).resize((1024, 1024)))
    grey = np.ascontiguousarray(large[:, :, 0], np.float32)
    floor, ours = fastest(lambda: scipy.fft.rfft2(grey, workers=1)), fastest(lambda: quality.score(large))
    print(f"one transform of 1024x1024 takes {1000 * floor:.1f} ms, the score {1000 * ours:.1f} ms")
    if given.figure is not None:
        draw({name: middle(next(data.glob(f"{name}.*"))) for name in SHOWN}).save(given.figure, optimize=True)


def fastest(run: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def middle(path: Path) -> Pixels:
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    image = image.crop((left, top, left + short, top + short))
    return np.asarray(image if short <= SIDE else image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def draw(photographs: dict[str, Pixels]) -> Image.Image:
    """A row for each photograph: its versions from the best to the worst score."""
    cell, gap, line = 176, 10, 26
    columns = len(DRAWN) + 1
    width = 2 * MARGIN + columns * (cell + gap) - gap
    sheet = Image.new("RGB", (width, 2 * MARGIN + 44 + len(photographs) * (cell + 2 * line)), PAPER)
    pen, title, text = ImageDraw.Draw(sheet), font(22), font(16)
    pen.text((MARGIN, MARGIN), "From the best to the worst score; 176x176 of 512x512 pixels, as they are", INK, title)
    for row, pixels in enumerate(photographs.values()):
        versions = {"as it is": pixels, **{name: WORSE[name](pixels) for name in DRAWN}}
        scores = {name: quality.score(version).score for name, version in versions.items()}
        top, start = MARGIN + 44 + row * (cell + 2 * line), len(pixels) // 2 - cell // 2
        for place, name in enumerate(sorted(scores, key=lambda name: -scores[name])):
            left = MARGIN + place * (cell + gap)
            # Stripes are at the lower border.
            first = len(pixels) - cell if name == "stripes" else (60 if row == 0 else start)
            part = versions[name][first : first + cell, start : start + cell]
            sheet.paste(Image.fromarray(np.ascontiguousarray(part)), (left, top))
            pen.text((left, top + cell + 4), f"{scores[name]:.0f}", INK, text)
            pen.text((left + 34, top + cell + 4), name, FAINT, text)
    return sheet


def rounded(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    return rounded(scipy.ndimage.gaussian_filter(pixels.astype(float), (sigma, sigma, 0)))


def enlarged(pixels: Pixels, factor: int, how: Image.Resampling) -> Pixels:
    small = Image.fromarray(pixels).resize((len(pixels) // factor,) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((len(pixels),) * 2, how))


def as_jpeg(pixels: Pixels, level: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=level)
    return np.asarray(Image.open(stream))


def halftone(pixels: Pixels, period: float, share: float) -> Pixels:
    """Dots, each ink at its own angle, slightly blurred by a scanner; `share` of it over the photograph."""
    y, x = np.mgrid[0 : len(pixels), 0 : len(pixels)]
    dots = np.empty(pixels.shape)
    for channel, angle in enumerate(np.radians([15, 45, 75])):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        screen = (np.cos(2 * np.pi * along / period) + np.cos(2 * np.pi * across / period)) / 4 + 0.5
        dots[:, :, channel] = 255 * (pixels[:, :, channel] / 255 > screen)
    return rounded(share * scipy.ndimage.gaussian_filter(dots, (0.7, 0.7, 0)) + (1 - share) * pixels)


def moved(pixels: Pixels, kernel: NDArray[np.floating]) -> Pixels:
    return rounded(cv2.filter2D(pixels.astype(np.float32), -1, kernel / kernel.sum()))


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    return rounded(pixels + np.random.default_rng(5).normal(0, sigma, pixels.shape))


def striped(pixels: Pixels, share: float) -> Pixels:
    pixels, rows = pixels.copy(), int(share * len(pixels))
    pixels[-rows:] = pixels[-rows - 1]
    return pixels


WORSE: dict[str, Callable[[Pixels], Pixels]] = {
    "blur, sigma 1": lambda pixels: blurred(pixels, 1),
    "blur, sigma 2": lambda pixels: blurred(pixels, 2),
    "2x bicubic": lambda pixels: enlarged(pixels, 2, Image.Resampling.BICUBIC),
    "4x bicubic": lambda pixels: enlarged(pixels, 4, Image.Resampling.BICUBIC),
    "4x Lanczos": lambda pixels: enlarged(pixels, 4, Image.Resampling.LANCZOS),
    "4x nearest": lambda pixels: enlarged(pixels, 4, Image.Resampling.NEAREST),
    "JPEG, quality 15": lambda pixels: as_jpeg(pixels, 15),
    "JPEG, quality 30": lambda pixels: as_jpeg(pixels, 30),
    "halftone": lambda pixels: halftone(pixels, 6, 1),
    "faint halftone": lambda pixels: halftone(pixels, 5, 0.3),
    "motion, 9 across": lambda pixels: moved(pixels, np.ones((1, 9), np.float32)),
    "motion, 9 diagonal": lambda pixels: moved(pixels, np.eye(9, dtype=np.float32)),
    "noise, sigma 10": lambda pixels: noisy(pixels, 10),
    "noise, sigma 25": lambda pixels: noisy(pixels, 25),
    "stripes": lambda pixels: striped(pixels, 0.15),
}
DRAWN = (
    "blur, sigma 1",
    "4x bicubic",
    "JPEG, quality 15",
    "halftone",
    "motion, 9 across",
    "noise, sigma 25",
    "stripes",
)
MEASURES: dict[str, Callable[[Pixels], float]] = {
    "quality score": lambda pixels: quality.score(pixels).score,
    "measurement.sharpness": lambda pixels: measure(pixels).sharpness,
    "variance of Laplacian": lambda pixels: float(
        cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    ),
}

if __name__ == "__main__":
    main()
