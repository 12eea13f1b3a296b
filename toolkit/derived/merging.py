"""Join several pyramids into a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.errors import InputError
from datasets.formats import PyramidReader, open_pyramid
from datasets.levels import level_of
from toolkit.derived.assembly import Assembled, Description, Part, assemble, check_output
from toolkit.derived.lineage import common_options, joined, labels_of, ledger_lines
from toolkit.engine.output import Output
from toolkit.engine.progress import Progress


def merge(
    paths: Sequence[Path],
    output: Output,
    *,
    resolution: int | None,
    labels: bool,
    jobs: int,
    progress: Progress,
) -> Assembled:
    """Write all rows of several pyramids, in the order in which they are given, into a new one.

    Parameters
    ----------
    paths : sequence of Path
        At least one; the same one twice is allowed.
    output : Output
    resolution : int or None
        Side of the finest level; None: that of all, which must be equal.
    labels : bool
        Keep the labels, see `toolkit.derived.lineage.labels_of`.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If the pyramids do not fit each other, one of them is damaged, or the output cannot be written.
    """
    readers = [open_pyramid(path) for path in paths]
    check_output(output, readers)
    return join(readers, output, resolution=resolution, labels=labels, jobs=jobs, progress=progress)


def join(
    readers: Sequence[PyramidReader],
    output: Output,
    *,
    resolution: int | None = None,
    names: Sequence[str] | None = None,
    labels: bool,
    jobs: int,
    progress: Progress,
) -> Assembled:
    """Do what `merge` does, with pyramids that are open and an output that was checked.

    Parameters
    ----------
    readers, output, resolution, labels, jobs, progress
        As for `merge`.
    names : sequence of str, optional
        What the provenance calls the pyramids; by default the names of their files.

    Raises
    ------
    InputError
        As for `merge`.
    """
    top = _common_top(readers, resolution)
    parts = [Part.whole(reader) for reader in readers]
    numbers, classes = labels_of(parts, keep=labels)
    description = Description(
        labels=numbers,
        label_names=classes,
        options=common_options(readers),
        provenance=joined(readers, names),
        ledger=ledger_lines(parts, classes),
    )
    return assemble(parts, output, description, top=top, jobs=jobs, progress=progress)


def _common_top(readers: Sequence[PyramidReader], resolution: int | None) -> int:
    """Finest level of the new pyramid."""
    smallest = min(readers, key=lambda reader: reader.manifest.resolution)
    if resolution is not None:
        top = level_of(resolution, "--resolution")
        smallest.level(top)
        return top
    for reader in readers:
        if reader.manifest.resolution != smallest.manifest.resolution:
            side, other = smallest.manifest.resolution, reader.manifest.resolution
            raise InputError(
                f"{smallest.path} has images of {side}x{side}, {reader.path} of {other}x{other}; "
                f"make both equal with --resolution {side} (of toolkit merge, or of toolkit convert)"
            )
    return smallest.manifest.top_level
