"""A zip as StyleGAN's tools make it: stored PNG files and labels, the first of which are not the first classes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from source_examples import Example, noise, png

NAMES = ["00000/img00000000.png", "00000/img00000001.png", "00001/img00001000.png"]
LABELS = [2, 0, 2]


def make(where: Path) -> Example:
    path = where / "set.zip"
    pixels = [noise(number) for number in range(len(NAMES))]
    with zipfile.ZipFile(path, "w") as archive:
        for name, image in zip(reversed(NAMES), reversed(pixels), strict=True):
            archive.writestr(name, png(image))
        archive.writestr("dataset.json", json.dumps({"labels": list(zip(NAMES, LABELS, strict=True))}))
    return Example(path, pixels, LABELS, NAMES)
