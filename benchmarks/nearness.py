"""How well deltas are brought onto bases that are nearly theirs, and how well other bases are told from these.

Seven photographs of scikit-image, each reduced, saved as JPEG and enlarged again, are the bases; deltas restore the
photograph, sharpen, blur or brighten the base. The base is then off by up to three levels, or displaced, turned, or
another photograph's. Then edits of many kinds (of light, colours, places, details, and noise), with bases that are off
by a level and displaced by up to 40 pixels: confirmed, kept or refused, and the true mean error. Run:
``python benchmarks/nearness.py``; of the second part alone, at one side: ``python benchmarks/nearness.py 256``.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

from datasets.errors import InputError
from toolkit.celebahq.deltas import difference
from toolkit.celebahq.nearness import apply_near

SIDE, ZOOMS, LEVELS = 512, (2, 4, 8), 3
DISPLACEMENTS = (0, 0.25, 1, 3, 10, 40)  # pixels
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "stereo_motorcycle", "rocket", "retina", "hubble_deep_field")

Planes = NDArray[np.uint8]


def photograph(name: str) -> Image.Image:
    loaded = getattr(data, name)()
    image = Image.fromarray(loaded[0] if isinstance(loaded, tuple) else loaded)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def enlarged(image: Image.Image, zoom: int) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((SIDE // zoom, SIDE // zoom), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def planes(image: Image.Image) -> Planes:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def finals_of(base: Image.Image, original: Image.Image) -> dict[str, Planes]:
    return {
        "restore": planes(original),
        "sharpen": planes(base.filter(ImageFilter.UnsharpMask(2, 150, 0))),
        "blur": planes(base.filter(ImageFilter.GaussianBlur(2))),
        "brighten": planes(base.point(lambda value: min(255, round(value * 1.15) + 4))),
    }


def edits_of(proc: Planes, other: Planes, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Finals, not yet limited to [0, 255], of shape (side, side, 3)."""
    image = np.ascontiguousarray(proc.transpose(1, 2, 0))
    side, values, grain = len(image), image.astype(np.float32), len(image) / 1024
    y, x, _ = np.mgrid[:side, :side, :1] / side
    mixed = np.array([[0.39, 0.35, 0.27], [0.77, 0.69, 0.53], [0.19, 0.17, 0.13]])

    def blurred(radius: float) -> NDArray[Any]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), radius * grain))

    box, text, eyes = image.copy(), image.copy(), values.copy()
    box[side * 7 // 10 : side * 9 // 10, side // 10 : side * 4 // 10] = (255, 0, 0)
    place = int(60 * grain), int(950 * grain)
    cv2.putText(text, "CELEBA", place, cv2.FONT_HERSHEY_SIMPLEX, 3 * grain, (255, 255, 255), max(1, int(8 * grain)))
    band = slice(side * 4 // 10, side // 2), slice(side // 4, side * 3 // 4)
    eyes[band] = blurred(8)[band]
    oval = ((x - 0.5) / 0.35) ** 2 + ((y - 0.55) / 0.45) ** 2 < 1
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=20)
    return {
        "sharpen": 2 * values - blurred(3),
        "sharpen finely": 3 * values - 2 * blurred(1.5),
        "blur": blurred(2),
        "median": cv2.medianBlur(image, 5),
        "bilateral": cv2.bilateralFilter(image, 9, 40, 9),
        "enhance details": cv2.detailEnhance(image),
        "JPEG": np.asarray(Image.open(buffer)),
        "contrast": (values - 128) * 1.3 + 128,
        "gamma": 255 * (values / 255) ** 0.8,
        "equalize": np.stack([cv2.equalizeHist(np.ascontiguousarray(image[..., c])) for c in range(3)], 2),
        "vignette": values * (1 - 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)),
        "warmer": values * np.array([1.1, 1, 0.9]),
        "sepia": values @ mixed,
        "grey": np.repeat(values.mean(2, keepdims=True), 3, 2),
        "invert": 255 - values,
        "mirror": image[:, ::-1],
        "other photograph": other.transpose(1, 2, 0),
        "background": np.where(oval, image, 128),
        "eyes blurred": eyes,
        "box": box,
        "text": text,
        "brighter": values + 30,
        "red shift": values + np.array([12, 0, -8]),
        "gradient": values + 40 * x - 20,
        "soft light": values + 20 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.05),
        "waves of light": values + 15 * np.sin(6 * x + 3 * y),
        "nothing": image,
        "noise": values + rng.normal(0, 5, values.shape),
        "noise of 3 levels": values + rng.integers(-3, 4, values.shape),
        "random": rng.integers(0, 256, values.shape),
    }


def displaced(proc: Planes, pixels: float) -> Planes:
    if pixels == int(pixels):
        return np.roll(proc, int(pixels), 2)
    image, move = np.ascontiguousarray(proc.transpose(1, 2, 0)), np.array([[1, 0, pixels], [0, 1, 0]], np.float32)
    moved = cv2.warpAffine(image, move, image.shape[:2], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(np.asarray(moved, np.uint8).transpose(2, 0, 1))


def try_edits(side: int, photographs: Sequence[str]) -> None:
    """For every edit and displacement: confirmed/kept/refused, and the mean error of those that were kept."""
    rng = np.random.default_rng(1)
    found: dict[str, dict[float, list[float | None]]] = {}
    confirmed: Counter[tuple[str, float]] = Counter()
    procs = [planes(enlarged(photograph(name), 2).resize((side, side))) for name in photographs]
    for number, proc in enumerate(procs):
        for kind, edited in edits_of(proc, procs[number - 1], rng).items():
            final = np.ascontiguousarray(np.clip(np.rint(edited), 0, 255).astype(np.uint8).transpose(2, 0, 1))
            for pixels in DISPLACEMENTS:
                errors = found.setdefault(kind, {}).setdefault(pixels, [])
                shaken = displaced(proc, pixels) + rng.integers(-1, 2, proc.shape)
                try:
                    base = np.clip(shaken, 0, 255).astype(np.uint8)
                    result, evidence = apply_near(base, difference(proc, final), kind)
                except InputError:
                    errors.append(None)
                    continue
                errors.append(float(distance(result, final).mean()))
                confirmed[kind, pixels] += evidence["place_confirmed"]
        print(f"side {side}, after {number + 1} photographs: confirmed/kept/refused, mean error of those kept")
        print(f"{'':17}", *(f"{pixels:>12} px" for pixels in DISPLACEMENTS))
        for kind, by_pixels in found.items():
            cells = []
            for pixels, errors in by_pixels.items():
                kept = [error for error in errors if error is not None]
                mean = f"{np.mean(kept):6.1f}" if kept else "     -"
                sure = confirmed[kind, pixels]
                cells.append(f"{sure:2}/{len(kept) - sure}/{len(errors) - len(kept)} {mean}")
            print(f"{kind:17}", *(f"{cell:>15}" for cell in cells), flush=True)


def distance(one: Planes, other: Planes) -> NDArray[np.int64]:
    return np.abs(one.astype(np.int64) - other)


def main() -> None:
    for side in [int(side) for side in sys.argv[1:]] or (256, 1024):
        try_edits(side, PHOTOGRAPHS)
    if not sys.argv[1:]:
        try_bases()


def try_bases() -> None:
    rng = np.random.default_rng(1)
    originals = [photograph(name) for name in PHOTOGRAPHS]
    values: Counter[str] = Counter()
    worse: Counter[str] = Counter()
    wrapping: Counter[str] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    tried: Counter[tuple[str, str]] = Counter()
    for number, original in enumerate(originals):
        for zoom in ZOOMS:
            proc = enlarged(original, zoom)
            other = planes(enlarged(originals[(number + 1) % len(originals)], zoom))
            exact = planes(proc)
            shaken = exact + rng.integers(-LEVELS, LEVELS + 1, exact.shape)
            near = np.clip(shaken, 0, 255).astype(np.uint8)
            bases = {
                "near": near,
                "8 pixels off": np.roll(near, 8, 2),
                "12 pixels off": np.roll(near, -12, 1),
                "turned": np.ascontiguousarray(np.rot90(near, axes=(1, 2))),
                "other photograph": other,
            }
            for kind, final in finals_of(proc, original).items():
                delta = difference(exact, final)
                for name, base in bases.items():
                    tried[kind, name] += 1
                    try:
                        result, _ = apply_near(base, delta, name)
                    except InputError:
                        refused[kind, name] += 1
                        continue
                    if name == "near":
                        values[kind] += result.size
                        worse[kind] += int((distance(result, final) > distance(base, exact)).sum())
                        wrapping[kind] += int((distance(base + delta, final) > 128).sum())
    for kind in values:
        print(
            f"{kind:9} {worse[kind]:6,} of {values[kind]:,} values worse than the base; {wrapping[kind]:,} would wrap"
        )
    for (kind, name), count in tried.items():
        print(f"{kind:9} {name:16} refused: {refused[kind, name]} of {count}")


if __name__ == "__main__":
    main()
