"""CelebA, aligned: a folder or zip of 178x218 images called 000001.jpg and so on.

Liu et al. 2015 (arXiv:1411.7766), ``img_align_celeba``, as JPEG or PNG. Unless another crop is asked for, the square of
128 pixels is taken that the progressive GAN paper trained on (Karras et al. 2018, arXiv:1710.10196, released code):
rows 57..184 and columns 25..152, around the point (89, 121).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from datasets.archives import is_zip, open_archive
from datasets.archives.names import is_image_name
from datasets.decode import MAX_PIXELS, upright_size
from datasets.errors import InputError
from toolkit import sources
from toolkit.layouts.archived import ArchivedImages
from toolkit.sources import Item, folder
from toolkit.transforms import Crop

SIZE = (178, 218)  # width, height
_NAME = re.compile(r"(.*/)?\d{6}\.(jpg|jpeg|png)", re.ASCII)


def recognises(path: Path) -> bool:
    """True if all images have names of six digits and lie in one folder, and the first one has CelebA's size."""
    if path.is_dir():
        names: list[str] = []
        for name in _names_below(path):
            if not _NAME.fullmatch(name) or (names and _folder_of(name) != _folder_of(names[0])):
                return False  # most other folders are known by their first image
            names.append(name)
        return bool(names) and _has_size(partial(upright_size, path / min(names), str(path)))
    if not is_zip(path):
        return False
    try:
        archive = open_archive(path)
    except InputError:
        return False
    if archive is None or not all(map(_NAME.fullmatch, archive.names)):
        return False
    return len(set(map(_folder_of, archive.names))) == 1 and _has_size(partial(archive.image_size, 0))


class Source(sources.Source):
    """The images of CelebA. An image of another size is a bad image, since the crop is made for this one.

    Raises
    ------
    InputError
        If there is no image.
    """

    crop = Crop("box", left=25, top=57, side=128)

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images = folder.Source(path) if path.is_dir() else ArchivedImages(path)
        self.name = self._images.name

    @property
    def stamp(self) -> str:
        """Stamp of the folder or archive."""
        return self._images.stamp

    def read_labels(self) -> None:
        """Take the labels from ``dataset.json`` if there is one, such as one attribute of the faces."""
        self._images.read_labels()
        self.label_names = self._images.label_names

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        item = self._images[index]
        return dataclasses.replace(item, size=partial(self._size, index), read=partial(self._read, index))

    def _size(self, index: int, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
        item = self._images[index]
        return _checked(item.size(max_pixels=max_pixels), item.where)

    def _read(self, index: int) -> bytes:
        item = self._images[index]
        data = item.read()
        assert isinstance(data, bytes)
        _checked(upright_size(data, item.where), item.where)
        return data


def _names_below(path: Path, prefix: str = "") -> Iterator[str]:
    """Names of the images in a folder and the folders in it, in no order; folders that cannot be read hold none."""
    try:
        with os.scandir(path / prefix) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    yield from _names_below(path, f"{prefix}{entry.name}/")
                elif is_image_name(entry.name):
                    yield prefix + entry.name
    except OSError:
        return


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _has_size(size: partial[tuple[int, int]]) -> bool:
    try:
        return size() == SIZE
    except InputError:
        return False


def _checked(size: tuple[int, int], where: str) -> tuple[int, int]:
    if size != SIZE:
        raise InputError(
            f"{where} has {size[0]}x{size[1]} pixels, aligned CelebA images have {SIZE[0]}x{SIZE[1]}; replace it, or "
            "pass --as folder or --as zip if this is another data set"
        )
    return size
