"""A folder of four images in sub-folders; their names are in order of code points."""

from __future__ import annotations

from pathlib import Path

from source_examples import Example, noise, png

NAMES = ["B.png", "a/B.png", "a/é.jpg", "b.PNG"]


def make(where: Path) -> Example:
    folder = where / "photos"
    pixels = [noise(number) for number in range(len(NAMES))]
    for name, image in zip(reversed(NAMES), reversed(pixels), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(image))
    (folder / "notes.txt").write_text("no image")
    return Example(folder, pixels, names=NAMES)
