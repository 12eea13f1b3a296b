"""Everything that a rebuild of CelebA-HQ needs, checked before the first image is made: a table, and what to mend.

The list, the landmarks, every photograph and delta that is wanted (there, of a size that can be, a JPEG file), every
zip archive; then a sample of images is opened, and a few of these are rebuilt. A set of fewer images than the released
one is as good, if it is consistent; what the released one has stands beside.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from datasets import console
from datasets.errors import InputError
from toolkit.celebahq.delta_files import RELEASED_ZIPS, zip_name
from toolkit.celebahq.faces.finder import NoLandmarks
from toolkit.celebahq.image_list import Split
from toolkit.celebahq.originals import RELEASED_COUNT
from toolkit.celebahq.released import RELEASED_LIST_MD5, Released
from toolkit.engine.progress import Progress

RELEASED_ROWS = 30_000
_SPLIT_SIZES: Final[dict[Split, int]] = {"train": 24_183, "val": 2_993, "test": 2_824}  # of these
_KEYS, _PIXELS = 12, 4  # images of the sample that are opened, and that are rebuilt
_SHOWN = 5  # faults of a kind that are told one by one

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table: what was looked at, what was found, what the released set has, and whether all is well.

    The verdict is that of the faults, if there are any, which may also stand in another line.
    """

    what: str
    found: str
    released: str = ""
    faults: tuple[str, ...] = ()
    verdict: Literal["ok", "bad", "not tried"] = "ok"

    def __post_init__(self) -> None:
        if self.faults:
            object.__setattr__(self, "verdict", "bad")


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes
    ----------
    lines : tuple of Line
    bad : dict of int to str
        Image that cannot be made, by its number in the source -> why.
    num_images : int
        Images that were asked for.
    """

    lines: tuple[Line, ...]
    bad: dict[int, str]
    num_images: int

    def table(self) -> str:
        """The table, and below it the faults: the first few of every kind."""
        rows = [(line.what, line.found, line.released, line.verdict) for line in self.lines]
        text = console.table(rows, ("checked", "found", "released", ""))
        faults = [fault for line in self.lines for fault in _first(line.faults)]
        return "\n".join([text, *faults])

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "table": [dataclasses.asdict(line) for line in self.lines],
            "bad_images": len(self.bad),
            "images": self.num_images,
        }

    def require_good(self, *, skip_bad: bool = False, max_skipped: int | None = None) -> None:
        """Refuse to begin.

        Raises
        ------
        InputError
            If images cannot be made, unless they are to be skipped and something is left.
        """
        if not self.bad:
            return
        first = next(iter(self.bad.values()))
        number = f"{len(self.bad):,} of the {self.num_images:,} images cannot be made; the first: {first}"
        if len(self.bad) == self.num_images:
            raise InputError(number)
        if not skip_bad:
            raise InputError(f"{number}; or pass --skip-bad to leave them out")
        if max_skipped is not None and len(self.bad) > max_skipped:
            raise InputError(f"{number}; mend them or raise --max-skipped")


def check(source: Released, numbers: Sequence[int], *, jobs: int, progress: Progress) -> Report:
    """Check what images `numbers` of a source need.

    Parameters
    ----------
    source : Released
    numbers : sequence of int
        Images that are wanted, counted from 0; at least one.
    jobs : int
        Number of threads, at least 1.
    progress : callable
        Makes progress bars.
    """
    bad: dict[int, str] = {}
    lines = [_check_list(source, numbers), _check_landmarks(source, numbers, bad)]
    with ThreadPoolExecutor(jobs) as pool:
        lines.append(_check_originals(source, numbers, bad, partial(_in_order, pool, progress)))
        lines += _check_deltas(source, numbers, bad)
        left = [number for number in numbers if number not in bad]
        lines += _try(source, left, bad, partial(_in_order, pool, progress))
    return Report(tuple(lines), bad, len(numbers))


Mapper = Callable[[str, Callable[[int], Result], Sequence[int]], Iterable[Result]]


def _in_order(
    pool: ThreadPoolExecutor, progress: Progress, what: str, function: Callable[[int], Result], numbers: Sequence[int]
) -> Iterable[Result]:
    """Results of a function for all numbers, with a progress bar if there are any."""
    if not numbers:
        return
    with progress(len(numbers), what) as bar:
        for result in pool.map(function, numbers, chunksize=1):
            bar.update(1)
            yield result


def _check_list(source: Released, numbers: Sequence[int]) -> Line:
    splits = Counter(source.rows[number].split for number in numbers)
    parts = " / ".join(f"{splits[split]:,} {split}" for split in _SPLIT_SIZES)
    official = "the released list" if source.list_md5 == RELEASED_LIST_MD5 else "another list than the released one"
    found = f"{len(source):,} images, {official}; wanted: {len(numbers):,} ({parts})"
    sizes = " / ".join(f"{size:,}" for size in _SPLIT_SIZES.values())
    return Line(source.list_path.name, found, f"{RELEASED_ROWS:,} ({sizes})")


def _check_landmarks(source: Released, numbers: Sequence[int], bad: dict[int, str]) -> Line:
    faults = []
    for number in numbers:
        name = source.rows[number].original_file
        try:
            source.bases.landmarks.find(name, _no_pixels)
        except NoLandmarks:
            faults.append(f"{source.bases.landmarks_path} has no landmarks of {name}; get the whole file again")
            bad.setdefault(number, faults[-1])
        except InputError as error:
            faults.append(str(error))
            bad.setdefault(number, faults[-1])
    found = f"{len(numbers) - len(faults):,} of {len(numbers):,} photographs"
    return Line(source.bases.landmarks_path.name, found, f"{RELEASED_COUNT:,}", tuple(faults))


def _no_pixels() -> Any:
    raise AssertionError("a landmark file needs no pixels")


def _check_originals(source: Released, numbers: Sequence[int], bad: dict[int, str], run: Mapper[Any]) -> Line:
    faults = []
    for number, fault in zip(numbers, run("checking photographs", partial(_look, source), numbers), strict=True):
        if fault is not None:
            faults.append(fault)
            bad.setdefault(number, fault)
    total = len(source.originals)
    found = f"{len(numbers) - len(faults):,} of {len(numbers):,} wanted; {total:,} in {_short(source.originals.path)}"
    return Line("photographs", found, f"{RELEASED_COUNT:,}", tuple(faults))


def _look(source: Released, number: int) -> str | None:
    """What is wrong with a photograph, as far as can be seen at once."""
    try:
        source.bases.check(source.rows[number].original_file)
    except InputError as error:
        return str(error)
    except OSError as error:
        where = source.originals.where(source.rows[number].original_file)
        return f"{where} cannot be read ({error.strerror or error}); make it readable"
    return None


def _check_deltas(source: Released, numbers: Sequence[int], bad: dict[int, str]) -> list[Line]:
    deltas = source.deltas
    missing: Counter[str] = Counter()
    for number in numbers:
        index = source.rows[number].index
        if index not in deltas:
            reason = deltas.missing(index)
            bad.setdefault(number, reason)
            missing[reason] += 1
    broken = tuple(deltas.broken.values()) if missing else ()  # others are not needed
    wanted = {zip_name(source.rows[number].index) for number in numbers if source.rows[number].index not in deltas}
    absent = wanted - {file.name for file in (*deltas.zips, *deltas.broken)}
    found = f"{len(deltas.zips)} open, {len(deltas.broken)} broken, {len(absent)} missing"
    zips = Line("deltas*.zip", found, str(RELEASED_ZIPS), broken, verdict="bad" if absent else "ok")
    there = len(numbers) - missing.total()
    members = f"{there:,} of {len(numbers):,} wanted; {len(deltas):,} in {_short(deltas.path)}"
    faults = tuple(reason for reason in missing if reason not in broken)
    return [zips, Line("deltas", members, f"{RELEASED_ROWS:,}", faults, verdict="bad" if missing else "ok")]


def _try(source: Released, numbers: Sequence[int], bad: dict[int, str], run: Mapper[Any]) -> list[Line]:
    """Open a sample of images, and rebuild some of these."""
    opened = _spread(numbers, _KEYS)
    faults = []
    good = []
    for number, fault in zip(opened, run("opening a sample", partial(_open, source), opened), strict=True):
        if fault is None:
            good.append(number)
        else:
            faults.append(fault)
            bad.setdefault(number, fault)
    if opened:
        found = f"{len(good)} of {len(opened)} deltas open with their photographs"
        keys = Line("keys, a sample", found, "", tuple(faults))
    else:
        keys = Line("keys, a sample", "no image has all that it needs", verdict="not tried")
    rebuilt = _spread(good, _PIXELS)
    matches: Counter[str] = Counter()
    faults = []
    for number, match in zip(rebuilt, run("rebuilding a sample", partial(_rebuild, source), rebuilt), strict=True):
        if match in ("exact", "near"):
            matches[match] += 1
        else:
            matches["bad"] += 1
            faults.append(match)
            bad.setdefault(number, match)
    if not rebuilt:
        return [keys, Line("pixels, a sample", "no delta of the sample opens", verdict="not tried")]
    counts = ", ".join(f"{matches[name]} {name}" for name in ("exact", "near", "bad") if matches[name])
    return [keys, Line("pixels, a sample", f"{counts} of {len(rebuilt)}", "", tuple(faults))]


def _open(source: Released, number: int) -> str | None:
    try:
        source.open_delta(number)
    except (InputError, OSError) as error:
        return console.one_line(error)
    return None


def _rebuild(source: Released, number: int) -> str:
    try:
        return str(source.render(number).details["match"])
    except (InputError, OSError) as error:
        return console.one_line(error)


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of the numbers, from the first to the last."""
    count = min(most, len(numbers))
    return [numbers[place * (len(numbers) - 1) // max(1, count - 1)] for place in range(count)]


def _first(faults: Sequence[str]) -> list[str]:
    """The first faults, and how many more there are."""
    shown = [f"- {fault}" for fault in faults[:_SHOWN]]
    more = len(faults) - len(shown)
    return shown + ([f"- and {more:,} more of this kind"] if more > 0 else [])


def _short(path: Path) -> str:
    """The last two parts of a path."""
    return "/".join(path.parts[-2:])
