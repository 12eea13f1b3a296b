"""A folder of image files, at any depth, sorted by path; labels from class folders or dataset.json."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.archives import plain_text
from datasets.decode import list_images, upright_size
from toolkit import sources
from toolkit.layouts import labels
from toolkit.sources import Item, file_stamp

GENERAL = True


def recognises(path: Path) -> bool:
    """True for any folder."""
    return path.is_dir()


class Source(sources.Source):
    """The images that `datasets.decode.list_images` finds; an image's name is its path inside the folder.

    Raises
    ------
    InputError
        If the folder holds no image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.resolve().name
        self._files = list_images(path)
        self._names = [plain_text(file.relative_to(path).as_posix()) for file in self._files]
        self._labels: NDArray[np.int64] | None = None
        self._stamp = xxhash.xxh3_128_hexdigest("\0".join(self._names).encode())

    def read_labels(self) -> None:
        """Take the labels from ``dataset.json`` or the folders of classes; an InputError if that file is at fault."""
        found = labels.find(self._names, self._read_json)
        if found is not None:
            self.label_names, self._labels = found.names, found.numbers
            self._stamp += f":{xxhash.xxh3_128_hexdigest(found.numbers.tobytes())}"

    @property
    def stamp(self) -> str:
        """Digest of the paths and labels; the files have their own stamps."""
        return self._stamp

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        file, name = self._files[index], self._names[index]
        where = f"{self.path}/{name}"
        return Item(
            name,
            where,
            size=partial(upright_size, file, where),
            read=file.read_bytes,
            label=None if self._labels is None else int(self._labels[index]),
            stamp=_stamp(file),
        )

    def _read_json(self, name: str) -> tuple[str, bytes] | None:
        file = self.path / name
        return (str(file), file.read_bytes()) if file.is_file() else None


def _stamp(file: Path) -> str:
    try:
        return file_stamp(file)
    except OSError:
        return "missing"  # reading it says why, and then it is a bad image like others
