"""A single image file, such as one large photograph to be cut into tiles."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from datasets.archives import plain_text
from datasets.decode import FORMATS, looks_like_image, upright_size
from datasets.errors import InputError
from toolkit import sources
from toolkit.sources import Item, file_stamp


def recognises(path: Path) -> bool:
    """True for a file that begins like an image."""
    return looks_like_image(path)


class Source(sources.Source):
    """One image; its name is the file's name.

    Raises
    ------
    InputError
        If it is no image.
    """

    def __init__(self, path: Path) -> None:
        if not recognises(path):
            raise InputError(f"{path} is no image file; images are {', '.join(FORMATS)}")
        self.path = path
        self.name = plain_text(path.name)
        self._stamp = file_stamp(path)

    @property
    def stamp(self) -> str:
        """Size and time of the file."""
        return self._stamp

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Item:
        if index != 0:
            raise IndexError(index)
        where = str(self.path.with_name(self.name))
        return Item(
            self.name,
            where,
            size=partial(upright_size, self.path, where),
            read=self.path.read_bytes,
            stamp=self._stamp,
        )
