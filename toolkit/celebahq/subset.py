"""Some images of a source, chosen by number or by the part of CelebA they belong to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit import sources
from toolkit.celebahq.image_list import Split, split_of
from toolkit.sources import Item, Source

_NUMBER, _RANGE = re.compile(r"\d{1,9}", re.ASCII), re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_NAME = re.compile(r"(\d{6})\.(jpg|jpeg|png)", re.ASCII)


def chosen_numbers(text: str | None, among: Sequence[int], count: int) -> Sequence[int]:
    """Numbers, counted from 0, that ``--subset`` names, in ascending order.

    One number alone asks for the first so many images; ranges and numbers with commas between them are the images
    themselves: ``0-99,500`` are the first hundred and number 500. Both ends of a range belong to it.

    Parameters
    ----------
    text : str or None
        None: all.
    among : sequence of int
        Numbers of the images that may be chosen, ascending.
    count : int
        Number of images there are.

    Raises
    ------
    InputError
        If the text is no such choice, there is no image of a number, or nothing is left.
    """
    if text is None:
        return among
    if _NUMBER.fullmatch(text):
        if not 1 <= int(text) <= len(among):
            raise InputError(f"--subset {text}: there are {len(among):,} images; ask for 1 to {len(among)} of them")
        return among[: int(text)]
    wanted: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(f"--subset {text}: {part!r} is no number and no range; write it like 100 or 0-99,500")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < count:
            raise InputError(
                f"--subset {text}: {part.strip()} is not within 0-{count - 1}, the numbers of the images there are"
            )
        wanted.update(range(first, last + 1))
    chosen = [number for number in among if number in wanted]
    if not chosen:
        raise InputError(f"--subset {text}: no image is left of those that the other options allow; choose others")
    return chosen


def chosen_numbers_of(source: Source, split: Split | None, subset: str | None) -> Sequence[int]:
    """Numbers of the images that ``--split`` and ``--subset`` ask for; None: all."""
    among = range(len(source)) if split is None else numbers_in_split(source, split)
    return chosen_numbers(subset, among, len(source))


def celeba_number(name: str) -> int | None:
    """Number, from 0, of a photograph of CelebA by its name, such as 0 for ``img_celeba/000001.jpg``; None: no such."""
    match = _NAME.fullmatch(PurePosixPath(name).name)
    return int(match[1]) - 1 if match and int(match[1]) else None


def numbers_in_split(source: Source, split: Split) -> list[int]:
    """Numbers of the images that belong to a part of CelebA.

    Raises
    ------
    InputError
        If an image is not called as CelebA's are, or none belongs to that part.
    """
    found = []
    for index in range(len(source)):
        name = source[index].name
        number = celeba_number(name)
        if number is None:
            raise InputError(
                f"--split {split}: {source.path} holds {name}, which is no photograph of CelebA (000001.jpg and so on)"
                "; leave --split out"
            )
        if split_of(number) == split:
            found.append(index)
    if not found:
        raise InputError(f"--split {split}: none of the {len(source):,} photographs in {source.path} belongs to it")
    return found


class Subset(sources.Source):
    """Some images of another source, in its order.

    Parameters
    ----------
    whole : Source
    numbers : sequence of int
        Of the images, counted from 0, ascending.
    """

    def __init__(self, whole: Source, numbers: Sequence[int]) -> None:
        self._whole = whole
        self._numbers: NDArray[np.int64] = np.asarray(numbers, np.int64)
        self.path, self.name = whole.path, whole.name
        self.label_names, self.crop, self.settings = whole.label_names, whole.crop, whole.settings

    @property
    def stamp(self) -> str:
        """Stamp of the whole, and what was chosen."""
        return f"{self._whole.stamp}:{xxhash.xxh3_128_hexdigest(self._numbers.tobytes())}"

    def identity(self) -> dict[str, Any]:
        """See `toolkit.sources.Source.identity`."""
        return {**self._whole.identity(), "subset": xxhash.xxh3_128_hexdigest(self._numbers.tobytes())}

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._whole[int(self._numbers[index])]

    def __reduce__(self) -> tuple[Any, ...]:
        return Subset, (self._whole, self._numbers)


def spread(source: Source, most: int) -> tuple[Source, float]:
    """At most so many images, spread evenly over a source, and what part of it they are."""
    count = len(source)
    if count <= most:
        return source, 1.0
    return Subset(source, [(2 * number + 1) * count // (2 * most) for number in range(most)]), most / count
