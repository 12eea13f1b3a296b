"""The plan of a build: which images give how many rows, and which row each crop gets. No pixel is written yet.

Every image is looked at once: by its header, or by decoding it if bad images are to be skipped, since only then it is
known how many rows there will be. So a build that skips equals a build from the same source without the bad images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.decode import MAX_PIXELS, WHITE, Decoded, decode_with_notes
from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL, level_of, resolution_of
from toolkit.ledger import Entry
from toolkit.sources import Item, Source
from toolkit.transforms import CENTRE, Crop
from toolkit.workers import in_order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What decides the pixels of a data set and their order, and how far a build puts up with bad images.

    Attributes
    ----------
    resolution : int or None
        Side of the finest level; None: the side of the crops, if all are of one side that a pyramid can have.
    crop : Crop
        Which squares of an image become rows.
    resample : str
        Filter that resizes them, one of `toolkit.transforms.FILTERS`.
    allow_upscale : bool
        Enlarge crops that are smaller than the resolution; otherwise they are bad.
    background : tuple of int
        sRGB colour in [0, 255] behind transparent images.
    shuffle : int or None
        Seed of the order of the rows, see `rows_of_crops`; None: source order.
    max_images : int or None
        Use only the first so many images of the source that are not bad.
    max_pixels : int
        An image of more pixels is bad.
    skip_bad : bool
        Leave bad images out and say so in the ledger; otherwise the first one ends the build.
    """

    resolution: int | None = None
    crop: Crop = CENTRE
    resample: str = "lanczos"
    allow_upscale: bool = False
    background: tuple[int, int, int] = WHITE
    shuffle: int | None = None
    max_images: int | None = None
    max_pixels: int = MAX_PIXELS
    skip_bad: bool = False

    def for_manifest(self) -> dict[str, Any]:
        """Everything that decides pixels and order, by the names of the command's options."""
        return {
            "crop": self.crop.name,
            "tile": self.crop.tile or None,
            "stride": self.crop.stride or None,
            "filter": self.resample,
            "allow_upscale": self.allow_upscale,
            "background": "#{:02x}{:02x}{:02x}".format(*self.background),
            "shuffle": self.shuffle,
            "max_images": self.max_images,
        }


@dataclasses.dataclass(frozen=True)
class PlannedImage:
    """One image of the source, number `index`.

    It gives the crops number `first` to ``first + count - 1``, counted over the whole source; or none, and then
    `skipped` is its line in the ledger.
    """

    index: int
    first: int
    count: int
    skipped: Entry | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What will be written.

    Attributes
    ----------
    resolution : int
        Side of the finest level.
    images : list of PlannedImage
        All that were looked at, in source order.
    rows : ndarray of int64, shape (number of rows,)
        Row of every crop.
    """

    resolution: int
    images: list[PlannedImage]
    rows: NDArray[np.int64]

    @property
    def num_skipped(self) -> int:
        """Number of images that are left out."""
        return sum(image.skipped is not None for image in self.images)


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: int, /) -> object:
        """Say that `n` more are done."""
        ...


Progress = Callable[[int, str], AbstractContextManager[Bar]]  # total number, what is done -> bar


def make_plan(source: Source, options: Options, jobs: int, progress: Progress) -> Plan:
    """Look at every image of a source and give each crop its row.

    Raises
    ------
    InputError
        For the first bad image unless they are skipped; if none is left; if the resolution is needed but not given.
    """
    if options.resolution is not None:
        level_of(options.resolution, "--resolution")
    images: list[PlannedImage] = []
    sides: set[int] = set()
    num_crops = 0

    def examine(index: int) -> tuple[int, int] | Entry:
        return _examine(source[index], options)

    with (
        progress(len(source), "checking images" if options.skip_bad else "reading headers") as bar,
        contextlib.closing(in_order(examine, range(len(source)), jobs, threading.Event())) as results,
    ):
        num_good = 0
        for index, result in enumerate(results):
            bar.update(1)
            if isinstance(result, Entry):
                images.append(PlannedImage(index, num_crops, 0, result))
                continue
            count, side = result
            images.append(PlannedImage(index, num_crops, count))
            sides.add(side)
            num_crops += count
            num_good += 1
            if num_good == options.max_images:
                break
    if not sides:
        reason = images[0].skipped.skipped if images[0].skipped else ""
        raise InputError(f"{source.path}: none of its {len(source)} images can be used; the first: {reason}")
    return Plan(options.resolution or _side_of_all(sides), images, rows_of_crops(num_crops, options.shuffle))


def rows_of_crops(num_crops: int, seed: int | None) -> NDArray[np.int64]:
    """Row of every crop: its own number, or for a seed its rank in a shuffled order.

    Crop number k, counted in source order from 0 (tiles of an image row by row), is ranked by the XXH3-64 hash of k as
    8 little-endian bytes, with the seed as the hash's seed; equal hashes are ranked by k. So the order depends on the
    seed and the number of crops alone, not on some library's generator of random numbers.

    Parameters
    ----------
    num_crops : int
    seed : int or None
        From 0 to 2**64 - 1.

    Returns
    -------
    ndarray of int64, shape (num_crops,)
        A permutation of 0 .. num_crops - 1.
    """
    rows = np.arange(num_crops, dtype=np.int64)
    if seed is not None:
        keys = [xxhash.xxh3_64_intdigest(number.to_bytes(8, "little"), seed) for number in range(num_crops)]
        rows[np.argsort(np.array(keys, np.uint64), kind="stable")] = np.arange(num_crops, dtype=np.int64)
    return rows


def read(item: Item) -> bytes:
    """Read the file of an image; a file that cannot be read is an InputError."""
    try:
        return item.read()
    except OSError as error:
        raise InputError(f"{item.where} cannot be read ({error.strerror or error}); replace it or remove it") from None


def decode_item(item: Item, data: bytes, options: Options) -> tuple[NDArray[np.uint8], Decoded]:
    """Decode an image as the options ask."""
    return decode_with_notes(data, item.where, background=options.background, max_pixels=options.max_pixels)


def with_advice(error: InputError) -> InputError:
    """Error of a bad image that ends a build, with the other way to go on."""
    return InputError(f"{error}; or pass --skip-bad to leave such images out")


def _examine(item: Item, options: Options) -> tuple[int, int] | Entry:
    """Number of crops and their side, or for a bad image that is to be skipped its line in the ledger."""
    entry = Entry(path=item.name, label=item.label)
    try:
        if options.skip_bad:
            data = read(item)
            entry = dataclasses.replace(entry, bytes=len(data), xxh3=xxhash.xxh3_128_hexdigest(data))
            _, found = decode_item(item, data, options)
            entry = dataclasses.replace(entry, **dataclasses.asdict(found))
            size = found.width, found.height
        else:
            size = item.size(max_pixels=options.max_pixels)
        boxes = options.crop.boxes(*size, item.where)
        side = boxes[0][2]
        if options.resolution is not None and side < options.resolution and not options.allow_upscale:
            raise InputError(
                f"{item.where} would have to be enlarged from {side} to {options.resolution} pixels; "
                "pass a smaller --resolution or --allow-upscale"
            )
    except InputError as error:
        if not options.skip_bad:
            raise with_advice(error) from None
        # The ledger names no folder of this machine, so that equal builds give equal ledgers.
        return dataclasses.replace(entry, skipped=str(error).replace(item.where, item.name))
    return len(boxes), side


def _side_of_all(sides: set[int]) -> int:
    """The one side of all crops, if a pyramid can have it; otherwise the resolution must be given."""
    smallest = min(sides)
    allowed = [resolution_of(level) for level in range(MIN_LEVEL, MAX_LEVEL + 1)]
    if len(sides) == 1 and smallest in allowed:
        return smallest
    found = f"are {smallest} pixels wide" if len(sides) == 1 else f"are {smallest} to {max(sides)} pixels wide"
    fitting = [side for side in allowed if side <= smallest]
    advice = f"--resolution {fitting[-1]} or less" if fitting else "--resolution and --allow-upscale"
    raise InputError(f"the crops {found}, so the side of a row must be said: pass {advice} (a power of two)")
