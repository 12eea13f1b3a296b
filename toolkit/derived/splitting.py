"""Split a pyramid into several, at random but always in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets import formats
from datasets.errors import InputError
from datasets.formats import open_pyramid
from toolkit.derived.assembly import Assembled, Description, Part, assemble, check_output
from toolkit.derived.lineage import labels_of, ledger_lines, part_of
from toolkit.engine.output import Output
from toolkit.engine.progress import Progress


@dataclasses.dataclass(frozen=True)
class Shares:
    """How many rows each part gets: fractions of all, or numbers of rows; one of the two.

    Raises
    ------
    InputError
        If the fractions are more than all.
    """

    fractions: tuple[Fraction, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if sum(self.fractions) > 1:
            shown = float(sum(self.fractions))
            raise InputError(f"--fractions add up to {shown:g}, more than 1; make them smaller")

    def of(self, size: int) -> list[int]:
        """Rows of each part, of `size` in all.

        Fractions are rounded so that their sum is: every part gets the whole rows of its share, and the rows that are
        left go one by one to the parts with the largest remainders, the first of equal ones.

        Raises
        ------
        InputError
            If they are more than there are, or a part would be empty.
        """
        if self.counts:
            counts = list(self.counts)
            if sum(counts) > size:
                raise InputError(f"--counts ask for {sum(counts)} rows, but there are {size}; ask for fewer")
        else:
            shares = [share * size for share in self.fractions]
            counts = [int(share) for share in shares]
            rest = int(sum(shares)) - sum(counts)
            by_remainder = sorted(range(len(shares)), key=lambda part: counts[part] - shares[part])
            for part in by_remainder[:rest]:
                counts[part] += 1
        if min(counts) < 1:
            raise InputError(
                f"part {counts.index(min(counts)) + 1} of {size} rows would be empty; give it a larger share"
            )
        return counts


def membership(
    counts: Sequence[int], size: int, seed: int, labels: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """Rows of each part.

    Every row has a key, the XXH3-64 of its number as 8 little-endian bytes, with the seed as the hash's seed; no
    library's generator of random numbers is involved. Rows are sorted by label, if labels are given, and key. The first
    part takes every so-manyth of them: the row at place p (from 0) of n belongs to it if
    ``(p + 1) * count // n > p * count // n``. The next part takes its rows of those that are left in the same way, and
    so on. So the counts are exact, and with labels every class is spread over the first part as evenly as whole rows
    allow: the number of its rows is less than 1 from its exact share (and less than 2 for the second part, and so on).

    Parameters
    ----------
    counts : sequence of int
        Rows of each part; no more than `size` in all.
    size : int
        Number of rows.
    seed : int
        From 0 to 2**64 - 1.
    labels : ndarray of int64, shape (size,), optional

    Returns
    -------
    list of ndarray of int64
        Rows of each part, in rising order, no row twice.
    """
    keys = np.array([xxhash.xxh3_64_intdigest(row.to_bytes(8, "little"), seed) for row in range(size)], np.uint64)
    left = np.lexsort((keys, np.zeros(size, np.int64) if labels is None else labels))
    parts = []
    for count in counts:
        places = np.arange(len(left))
        taken = (places + 1) * count // len(left) > places * count // len(left)
        parts.append(np.sort(left[taken]))
        left = left[~taken]
    return parts


def split(
    path: Path,
    outputs: Sequence[Output],
    shares: Shares,
    *,
    seed: int,
    by_label: bool,
    jobs: int,
    progress: Progress,
) -> list[Assembled]:
    """Write every row of a pyramid into one of several new ones, or into none if the shares leave some over.

    Rows keep their order. A part that is there already and is exactly what would be written, as after an interrupted
    command, is left as it is.

    Parameters
    ----------
    path : Path
    outputs : sequence of Output
        One for each share.
    shares : Shares
    seed : int
        Chooses the rows, see `membership`.
    by_label : bool
        Spread every class evenly.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Returns
    -------
    list of Assembled
        What was made, or was there already.

    Raises
    ------
    InputError
        If the shares do not fit, labels are missing, the pyramid is damaged, or an output cannot be written.
    """
    _check_distinct([output.path for output in outputs])
    reader = open_pyramid(path)
    size = reader.manifest.num_images
    counts = shares.of(size)
    labels = reader.labels() if by_label else None
    if by_label and labels is None:
        raise InputError(f"{path} has no labels to split by; leave --by-label out")
    how = {"seed": seed, "by_label": by_label, "counts": counts}
    work = []
    for number, (rows, output) in enumerate(zip(membership(counts, size, seed, labels), outputs, strict=True)):
        part = Part(reader, rows)
        numbers, names = labels_of([part])
        description = Description(
            labels=numbers,
            label_names=names,
            options=reader.manifest.options,
            provenance=part_of(reader, {"split": {**how, "part": number}}),
            ledger=ledger_lines([part], names),
        )
        found = _found(output, description)
        if found is None:
            check_output(output, [reader])
        work.append((part, output, description, found))
    top = reader.manifest.top_level
    return [
        found or assemble([part], output, description, top=top, jobs=jobs, progress=progress)
        for part, output, description, found in work
    ]


def _found(output: Output, description: Description) -> Assembled | None:
    """The part, if the same command wrote it before."""
    if not formats.is_pyramid(output.path):
        return None
    reader = open_pyramid(output.path)
    provenance = dict(reader.manifest.provenance)
    provenance.pop("ledger_sha256", None)
    if provenance != dict(description.provenance):
        return None
    return Assembled.of(reader, copied=0, resumed=reader.manifest.num_images, seconds=0)


def _check_distinct(paths: Sequence[Path]) -> None:
    """Refuse outputs of which two are the same file."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path in resolved if resolved.count(path) > 1)
        raise InputError(f"{twice} is named twice; every output needs a name of its own")
