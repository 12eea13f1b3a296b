"""What is computed for the images of a source: pure functions, run by a thread here or by a worker far away.

They read from the source and write nothing. What they are told and what they return can be pickled.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.decode import Decoded, decode_with_notes
from datasets.errors import InputError
from datasets.levels import pyramid
from datasets.packing import Packed, Packer
from toolkit.options import Options
from toolkit.selection import Measurement, measure
from toolkit.sources import Item, Rendered, Source
from toolkit.transforms import Box, Crop, cut

Facts = dict[str, Any]  # fields of a ledger entry that say what an image is and what was done to it
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Look:
    """What the plan has to know about an image.

    Attributes
    ----------
    index : int
        Number in the source.
    name, stamp, label
        Of its `toolkit.sources.Item`.
    width, height : int
        In pixels; 0 if nothing is known.
    num_crops, side : int
        Number of its crops and their side in pixels; 0 if it is bad.
    bad : str or None
        Why it cannot be used, without any folder of this machine.
    facts : dict
        For the ledger; of an image that was decoded.
    measurement : Measurement or None
        For the choice among images, if that was asked for.
    left_out : str or None
        Why the source itself wants it left out.
    """

    index: int
    name: str
    stamp: str
    label: int | None
    width: int = 0
    height: int = 0
    num_crops: int = 0
    side: int = 0
    bad: str | None = None
    facts: Facts = dataclasses.field(default_factory=dict)
    measurement: Measurement | None = None
    left_out: str | None = None


@dataclasses.dataclass(frozen=True)
class Known:
    """An image that was looked at by an interrupted build: what it was like then."""

    index: int
    name: str = ""
    stamp: str | None = None
    label: int | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """Crops number `first` to ``first + count - 1`` of the `total` of one image.

    The image had this name, stamp and number of pixels when it was looked at.
    """

    index: int
    name: str
    stamp: str
    first: int
    count: int
    total: int
    pixels: int


@dataclasses.dataclass(frozen=True)
class Parts:
    """A task: parts that become rows together."""

    parts: tuple[Part, ...]

    @property
    def title(self) -> str:
        """What the task is, for people."""
        first, last = self.parts[0].name, self.parts[-1].name
        return first if first == last else f"one of the images {first} to {last}"


@dataclasses.dataclass(frozen=True)
class Made:
    """What became of a task.

    Attributes
    ----------
    task : Parts
    packed : Packed
        Its rows, in the order of its parts.
    facts : list of dict or None
        Of every part: facts about the image, or None if the part is not the first of its image.
    """

    task: Parts
    packed: Packed
    facts: list[Facts | None]


def look(source: Source, options: Options, known: Sequence[Known]) -> list[Look | None]:
    """Look at images for the plan; None for one that is as it was."""
    return [_look(source, options, one) for one in known]


def _look(source: Source, options: Options, known: Known) -> Look | None:
    item = source[known.index]
    label = None if source.label_names is None else item.label
    if (item.name, item.stamp, label) == (known.name, known.stamp, known.label):
        return None
    if item.left_out is not None:
        return Look(known.index, item.name, item.stamp, label, left_out=item.left_out)
    size, facts, measurement = (0, 0), Facts(), None
    num_crops = side = 0
    bad = None
    try:
        if options.measures or options.ranks(len(source)) or (options.skip_bad and item.check is None):
            pixels, facts = read(item, options)
            size = facts["width"], facts["height"]
            measurement = measure(pixels) if options.measures else None
        else:
            size = item.size(max_pixels=options.max_pixels)
            if options.skip_bad and item.check is not None:
                item.check()
        if min(size) >= (options.criteria.min_size or 0):  # others are left out, so they need not be good
            boxes = _boxes(item, options, options.resolution or 0, *size)
            num_crops, side = len(boxes), boxes[0][2]
    except (InputError, OSError) as error:
        bad = reason_of(item, error)
    return Look(known.index, item.name, item.stamp, label, *size, num_crops, side, bad, facts, measurement)


def _boxes(item: Item, options: Options, resolution: int, width: int, height: int) -> list[Box]:
    boxes = options.squares.boxes(width, height, item.where)
    side = boxes[0][2]
    if side < resolution and not options.allow_upscale:
        raise InputError(
            f"{item.where} would have to be enlarged from {side} to {resolution} pixels; "
            "pass a smaller --resolution or --allow-upscale"
        )
    return boxes


def reason_of(item: Item, error: InputError | OSError) -> str:
    """Why an image cannot be used, naming no folder of this machine, so that equal builds give equal ledgers."""
    if isinstance(error, OSError):
        return f"{item.name} cannot be read ({error.strerror or error}); replace it or remove it"
    return str(error).replace(item.where, item.name)


def read(item: Item, options: Options) -> tuple[Pixels, Facts]:
    """Pixels of an image, uint8 (H, W, 3) upright sRGB, and the facts about it."""
    data = item.read()
    details = dict(data.details) if isinstance(data, Rendered) else {}
    if isinstance(data, Rendered):
        height, width = data.pixels.shape[:2]
        found = Decoded("rendered", "RGB", width, height, data.applied)
        data = pixels = np.ascontiguousarray(data.pixels)
    elif isinstance(data, bytes):
        pixels, found = decode_with_notes(
            data, item.where, background=options.background, max_pixels=options.max_pixels
        )
    else:
        height, width = data.shape[:2]
        if height * width > options.max_pixels:
            raise InputError(f"{item.where} has {width}x{height} pixels, more than the {options.max_pixels} allowed")
        grey = data.ndim == 2
        found = Decoded("array", "L" if grey else "RGB", width, height, ("grey",) if grey else ())
        data = np.ascontiguousarray(data)
        pixels = np.repeat(data[..., None], 3, axis=2) if grey else data
    content = memoryview(data) if isinstance(data, bytes) else data.data
    facts = {"bytes": content.nbytes, "xxh3": xxhash.xxh3_128_hexdigest(content), **vars(found)}
    if options.scores:
        details.update(_scored(pixels))
    return pixels, {**facts, "details": details} if details else facts


def _scored(pixels: Pixels) -> Facts:
    """Score of an image, and what it is made of."""
    from toolkit.celebahq.quality import score  # most builds need none

    found = score(pixels)
    return {"score": found.score, "quality": found.details}


def make(source: Source, options: Options, resolution: int, pack: Packer, task: Parts) -> Made:
    """Make the rows of a task.

    Raises
    ------
    InputError
        If an image is bad, or is not what it was when it was looked at.
    """
    squares = np.empty((sum(part.count for part in task.parts), 3, resolution, resolution), np.uint8)
    facts: list[Facts | None] = []
    row = 0
    for part in task.parts:
        item = source[part.index]
        if (item.name, item.stamp) != (part.name, part.stamp):
            raise changed(item.where, gone=_gone(source, item))
        try:
            pixels, found = _read_part(source, options, part, item)
            boxes = _boxes(item, options, resolution, found["width"], found["height"])
        except (InputError, OSError) as error:
            if part.stamp and _gone(source, source[part.index]):
                raise changed(item.where, gone=True) from None
            raise bad_image(reason_of(item, error), item) from None
        if len(boxes) != part.total or (part.stamp and source[part.index].stamp != part.stamp):
            raise changed(item.where, gone=_gone(source, source[part.index]))
        for box in boxes[part.first : part.first + part.count]:
            cut(pixels, box, resolution, options.resample, background=options.background, out=squares[row])
            row += 1
        geometry = _geometry(options.squares, found["width"], found["height"], boxes[0][2], resolution)
        facts.append(None if part.first else {**found, "applied": (*found["applied"], *geometry)})
    return Made(task, pack(pyramid(squares)), facts)


def _read_part(source: Source, options: Options, part: Part, item: Item) -> tuple[Pixels, Facts]:
    if part.count == part.total:
        return read(item, options)
    with _one_at_a_time:
        return _read_large(source, options, part.index, part.stamp)


_one_at_a_time = threading.Lock()


@functools.lru_cache(maxsize=2)
def _read_large(source: Source, options: Options, index: int, _stamp: str) -> tuple[Pixels, Facts]:
    """An image of so many crops that several tasks share it, decoded once."""
    return read(source[index], options)


def forget() -> None:
    """Give back the memory of images that tasks share."""
    _read_large.cache_clear()


def bad_image(reason: str, item: Item) -> InputError:
    """Error for a bad image that ends a build, with the other way to go on."""
    where = reason.replace(item.name, item.where, 1) if item.name in reason else f"{item.where}: {reason}"
    return InputError(f"{where}; or pass --skip-bad to leave such images out")


def changed(where: str, *, gone: bool) -> InputError:
    """Error for a source that is not what it was."""
    if gone:
        return InputError(f"{where} was there when the build began and is gone; put it back or do without it; {_AGAIN}")
    return InputError(f"{where} has changed since the build began; {_AGAIN}")


_AGAIN = "run the same command again"


def _gone(source: Source, item: Item) -> bool:
    """Whether an image that was there is not, as far as its stamp tells."""
    return item.stamp == "missing" or not source.path.exists()


def part_of(found: Look, first: int, per_part: int) -> Part:
    """Crops of an image from number `first` on, at most `per_part`."""
    count = min(per_part, found.num_crops - first)
    return Part(found.index, found.name, found.stamp, first, count, found.num_crops, found.width * found.height)


def _geometry(crop: Crop, width: int, height: int, side: int, resolution: int) -> Iterator[str]:
    """Names of what was done to the geometry of an image."""
    if crop.name == "tile":
        yield "tiled"
    elif side > height:
        yield "padded"
    elif (side, side) != (width, height):
        yield "cropped"
    if side != resolution:
        yield "reduced" if side > resolution else "enlarged"
