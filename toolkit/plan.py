"""The plan of a build: which images give how many rows, and which row each crop gets. No pixel is written yet.

Every image is looked at once: by its header, or by decoding it if bad images are to be skipped or images are chosen by
their pixels, since only then it is known how many rows there will be. So a build that leaves images out equals a build
from the same source without them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from array import array
from collections.abc import Generator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets.errors import InputError
from datasets.levels import MAX_LEVEL, MIN_LEVEL, level_of, resolution_of
from toolkit.engine.journal import Journal
from toolkit.engine.process import Known, Look, bad_image, look
from toolkit.engine.progress import Bar, Progress
from toolkit.engine.workers import Workers
from toolkit.options import Options
from toolkit.selection import Chooser, Measurement, not_best, order_by_score
from toolkit.sources import Source

__all__ = ["Bar", "Options", "Plan", "Progress", "make_plan", "recall", "rows_of_crops"]

_HEADERS_PER_TASK = 64
_IMAGES_PER_TASK = 4
SAVE_SECONDS = 1.0  # between two writes of the journal


@dataclasses.dataclass(frozen=True)
class Plan:
    """What will be written.

    Attributes
    ----------
    resolution : int
        Side of the finest level.
    num_crops : ndarray of int64, shape (images that were looked at,)
        Number of crops of every image, in source order; 0: it is left out.
    rows : ndarray of int64, shape (number of rows,)
        Row of every crop, counted over the whole source.
    skipped : dict of int to str
        Image that is left out -> why.
    num_bad : int
        How many of them are bad; the others do not meet the criteria.
    """

    resolution: int
    num_crops: NDArray[np.int64]
    rows: NDArray[np.int64]
    skipped: dict[int, str]
    num_bad: int

    @property
    def num_images(self) -> int:
        """Number of images that give rows."""
        return len(self.num_crops) - len(self.skipped)

    def first_crops(self) -> NDArray[np.int64]:
        """Number of the first crop of every image, counted over the whole source, and at the end of all crops."""
        return np.concatenate([[0], np.cumsum(self.num_crops)])


def make_plan(source: Source, options: Options, workers: Workers, journal: Journal, progress: Progress) -> Plan:
    """Look at every image of a source and give each crop its row; what was seen goes into the journal.

    Raises
    ------
    InputError
        For the first bad image unless they are skipped; if more are than may be; if none is left; if the resolution is
        needed but not given.
    """
    if options.resolution is not None:
        level_of(options.resolution, "--resolution")
    chooser = Chooser(options.criteria)
    num_crops: list[int] = []
    sides: list[int] = []
    scores = array("d")
    ranked = options.ranks(len(source))
    skipped: dict[int, str] = {}
    num_bad = 0
    what = "scoring images" if ranked else "checking images" if options.decodes_all(len(source)) else "reading headers"
    with (
        progress(len(source), what) as bar,
        contextlib.closing(_looks(source, options, workers, journal)) as looks,
    ):
        for found in looks:
            bar.update(1)
            reason = found.bad
            if reason is not None:
                num_bad += 1
                _check_bad(source, options, found, num_bad)
            else:
                reason = found.left_out or chooser.reason(
                    found.index, found.name, found.width, found.height, found.measurement
                )
            if reason is not None:
                skipped[found.index] = reason
            num_crops.append(0 if reason is not None else found.num_crops)
            sides.append(found.side)
            scores.append(found.facts["details"]["score"] if ranked and reason is None else math.nan)
            if len(num_crops) - len(skipped) == options.max_images:
                break
    journal.sync()
    if ranked and options.criteria.best is not None:
        skipped.update(_beyond(np.array(scores), options.criteria.best))
    counts = np.array(num_crops, np.int64)
    counts[list(skipped)] = 0
    if not counts.any():
        index, reason = next(iter(skipped.items()))
        name = source[index].name
        first = reason if name in reason else f"{name}: {reason}"
        raise InputError(f"{source.path}: none of its {len(num_crops)} images can be used; the first: {first}")
    resolution = options.resolution or _side_of_all({sides[index] for index in np.flatnonzero(counts)})
    rows = rows_of_crops(int(counts.sum()), options.shuffle)
    if options.order == "score":
        rows[order_by_score(np.repeat(np.array(scores), counts))] = np.arange(len(rows))
    return Plan(resolution, counts, rows, skipped, num_bad)


def _beyond(scores: NDArray[np.float64], best: int) -> dict[int, str]:
    """Images that are not among the best, and why each of them is left out; NaN: it is left out already."""
    order = order_by_score(scores)[: int(np.isfinite(scores).sum())].tolist()
    return {
        index: not_best(scores[index], place, len(order), best, scores[order[best - 1]])
        for place, index in enumerate(order[best:], start=best + 1)
    }


def recall(journal: Journal, index: int) -> Look:
    """What the journal says of an image that was looked at."""
    record = journal.find("look", index)
    if record is None:
        raise KeyError(f"image {index} was not looked at")
    measured = record["measurement"]
    facts = record["facts"]
    return Look(
        index=index,
        facts={**facts, "applied": tuple(facts["applied"])} if facts else {},
        measurement=None if measured is None else Measurement(**measured),
        **{name: record[name] for name in _PLAIN},
    )


_PLAIN = ("name", "stamp", "label", "width", "height", "num_crops", "side", "bad", "left_out")


def _record(found: Look) -> dict[str, Any]:
    measured = found.measurement
    return {
        "look": found.index,
        **{name: getattr(found, name) for name in _PLAIN},
        "facts": found.facts,
        "measurement": None if measured is None else dataclasses.asdict(measured),
    }


def _looks(source: Source, options: Options, workers: Workers, journal: Journal) -> Generator[Look, None, None]:
    """Look at all images in order, but only at those that the journal does not know as they are."""
    per_task = _IMAGES_PER_TASK if options.decodes_all(len(source)) else _HEADERS_PER_TASK
    numbers = iter(range(len(source)))
    tasks = iter(lambda: [_known(journal, index) for index in islice(numbers, per_task)], [])
    new: list[dict[str, Any]] = []
    saved = time.monotonic()
    try:
        with contextlib.closing(workers.in_order(partial(look, source, options), tasks)) as results:
            for index, found in enumerate(itertools.chain.from_iterable(results)):
                if found is not None:
                    new.append(_record(found))
                yield found or recall(journal, index)
                if time.monotonic() > saved + SAVE_SECONDS:
                    journal.append(new)
                    journal.sync()
                    new, saved = [], time.monotonic()
    except BaseException:
        with contextlib.suppress(InputError):  # the error that is on its way says more
            journal.append(new)
        raise
    journal.append(new)


def _known(journal: Journal, index: int) -> Known:
    old = recall(journal, index) if journal.continued and journal.find("look", index) else None
    if old is None or old.bad is not None:  # a bad image may have been mended by what changes no stamp, as chmod does
        return Known(index)
    return Known(index, old.name, old.stamp, old.label)


def _check_bad(source: Source, options: Options, found: Look, num_bad: int) -> None:
    """End the build for a bad image, unless it may be skipped."""
    reason = found.bad or ""
    if not options.skip_bad:
        raise bad_image(reason, source[found.index])
    if options.max_skipped is not None and num_bad > options.max_skipped:
        raise InputError(
            f"{source.path} has more than {options.max_skipped} bad images, the last one found: {reason}; mend them or "
            "raise --max-skipped"
        )


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
