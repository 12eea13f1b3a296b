"""How well deltas are brought onto bases that are nearly theirs, and how well other bases are told from these.

Seven photographs of scikit-image, each reduced, saved as JPEG and enlarged again, are the bases; deltas restore the
photograph, sharpen, blur or brighten the base. The base is then off by up to three levels, or displaced, turned, or
another photograph's. Run: ``python benchmarks/nearness.py``.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

from datasets.errors import InputError
from toolkit.celebahq.deltas import difference
from toolkit.celebahq.nearness import apply_near

SIDE, ZOOMS, LEVELS = 512, (2, 4, 8), 3
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


def distance(one: Planes, other: Planes) -> NDArray[np.int64]:
    return np.abs(one.astype(np.int64) - other)


def main() -> None:
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
