"""One image file."""

from __future__ import annotations

from pathlib import Path

from source_examples import Example, noise, png


def make(where: Path) -> Example:
    path = where / "galaxies.jpg"
    path.write_bytes(png(noise(0)))
    return Example(path, [noise(0)], names=["galaxies.jpg"])
