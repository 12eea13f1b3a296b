"""A tar of two folders of classes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from source_examples import Example, noise, png

NAMES = ["cats/1.png", "cats/2.png", "dogs/1.png"]


def make(where: Path) -> Example:
    path = where / "animals.tar"
    pixels = [noise(number) for number in range(len(NAMES))]
    with tarfile.open(path, "w") as archive:
        for name, image in zip(reversed(NAMES), reversed(pixels), strict=True):
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(png(image))
            archive.addfile(member, io.BytesIO(png(image)))
    return Example(path, pixels, [0, 0, 1], NAMES)
