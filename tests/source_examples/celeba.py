"""Three images of CelebA's size in the folder of CelebA's zip, not all of the set."""

from __future__ import annotations

from pathlib import Path

from source_examples import Example, noise, png

NAMES = ["img_align_celeba/000002.jpg", "img_align_celeba/000003.png", "img_align_celeba/202599.jpg"]


def make(where: Path) -> Example:
    folder = where / "celeba"
    pixels = [noise(number, 178, 218) // 64 * 64 for number in range(len(NAMES))]
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, image in zip(NAMES, pixels, strict=True):
        (folder / name).write_bytes(png(image))
    return Example(folder, pixels, names=NAMES)
