"""A folder of image files, at any depth, sorted by path."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datasets.decode import list_images, stored_size
from toolkit.sources import Item


def recognises(path: Path) -> bool:
    """True for any folder."""
    return path.is_dir()


class Source:
    """The images that `datasets.decode.list_images` finds; an image's name is its path inside the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.resolve().name
        self._files = list_images(path)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        file = self._files[index]
        name = file.relative_to(self.path).as_posix()
        return Item(name, str(file), size=partial(stored_size, file, str(file)), read=file.read_bytes)
