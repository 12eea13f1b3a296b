"""Images in an archive as a source of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.archives import open_archive, plain_text
from datasets.decode import MAX_PIXELS
from datasets.errors import InputError
from toolkit import sources
from toolkit.layouts import labels
from toolkit.sources import Item


class ArchivedImages(sources.Source):
    """The images of an archive; an image's name is that of its member.

    Parameters
    ----------
    path : Path
        Where the archive is.

    Raises
    ------
    InputError
        If it is no archive, it is damaged, or it holds no image.
    """

    def __init__(self, path: Path) -> None:
        archive = open_archive(path)
        if archive is None:
            raise InputError(f"{path} is no zip or tar archive; name one")
        self.path = path
        self.name = plain_text(path.name)
        self._archive = archive
        self._labels: NDArray[np.int64] | None = None

    @property
    def stamp(self) -> str:
        """Size and time of the archive."""
        return self._archive.stamp

    def read_labels(self) -> None:
        """Take the labels from ``dataset.json`` or the folders of classes; an InputError if that member is at fault."""
        found = labels.find(self._archive.names, self._read_json)
        if found is not None:
            self.label_names, self._labels = found.names, found.numbers

    def __len__(self) -> int:
        return len(self._archive)

    def __getitem__(self, index: int) -> Item:
        return Item(
            self._archive.names[index],
            self._archive.where(index),
            size=partial(self._size, index),
            read=partial(self._read, index),
            label=None if self._labels is None else int(self._labels[index]),
            stamp=self._archive.image_stamp(index),
        )

    # An item holds these and so, in a pickle, the source, which is opened again by path: never the archive itself.

    def _size(self, index: int, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        return self._archive.image_size(index, max_pixels=max_pixels)

    def _read(self, index: int) -> bytes:
        return self._archive.read(index)

    def _read_json(self, name: str) -> tuple[str, bytes] | None:
        content = self._archive.read_other(name)
        return None if content is None else (f"{self.path}:{name}", content)
