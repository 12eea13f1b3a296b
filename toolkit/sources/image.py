"""A single image file, such as one large photograph to be cut into tiles."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datasets.decode import looks_like_image, stored_size
from toolkit.sources import Item


def recognises(path: Path) -> bool:
    """True for a file that begins like an image."""
    return looks_like_image(path)


class Source:
    """One image; its name is the file's name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Item:
        if index != 0:
            raise IndexError(index)
        return Item(
            self.name, str(self.path), size=partial(stored_size, self.path, str(self.path)), read=self.path.read_bytes
        )
