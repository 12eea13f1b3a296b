"""Options that the commands around a generator share: which checkpoint, which images, which classes, which layout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from training.sampler import Sampler

_MOST = 10_000_000  # numbers in a list; more would be a slip of the finger
_Function = TypeVar("_Function", bound=Callable[..., Any])


class NumberList(click.ParamType[list[int]]):
    """Numbers and ranges of them, ``3,17,85-90``, in the order given."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Parse; wrong usage otherwise."""
        if isinstance(value, list):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,15})\s*(?:-\s*(\d{1,15})\s*)?", part, re.ASCII)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last or last - first >= _MOST:
                self.fail(f"{value!r} is not a list of numbers and ranges such as 3,17,85-90", param, ctx)
            numbers.extend(range(first, last + 1))
        return numbers


class LimitList(click.ParamType[list[float | None]]):
    """Limits of truncation, ``none,2,0.5``; None is without."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float | None]:
        """Parse; wrong usage otherwise."""
        if isinstance(value, list):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if any(
            part != "none" and not re.fullmatch(r"(?=.*[1-9])\d{1,9}(\.\d{1,9})?", part, re.ASCII) for part in parts
        ):
            self.fail(f"{value!r} is not a list of limits above 0 such as none,2,0.5", param, ctx)
        return [None if part == "none" else float(part) for part in parts]


class Layout(NamedTuple):
    """A grid; `rows` is None for as many as are needed."""

    columns: int
    rows: int | None


class LayoutType(click.ParamType[Layout]):
    """A grid as ``8x4`` (columns x rows) or ``8`` (columns)."""

    name = "layout"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Layout:
        """Parse; wrong usage otherwise."""
        if isinstance(value, Layout):
            return value
        match = re.fullmatch(r"(\d{1,3})(?:x(\d{1,3}))?", str(value), re.ASCII)
        if match is None or int(match[1]) == 0 or (match[2] is not None and int(match[2]) == 0):
            self.fail(f"{value!r} is not a layout such as 8x4 (columns x rows, up to 999 each)", param, ctx)
        return Layout(int(match[1]), None if match[2] is None else int(match[2]))


def generator_options(function: _Function) -> _Function:
    """Options that say which generator draws, and how: at, resolution, seed, truncation, labels."""
    options = [
        click.option(
            "--at",
            type=click.IntRange(min=0),
            metavar="IMAGES",
            help="Take the run's checkpoint at so many images shown, instead of the newest.",
        ),
        click.option(
            "--resolution",
            type=click.IntRange(min=4),
            metavar="R",
            help="Take the run's last checkpoint at RxR.",
        ),
        click.option("--seed", default=0, show_default=True, help="Image k of a seed is always the same image."),
        click.option(
            "--truncation",
            type=click.FloatRange(min=0, min_open=True),
            metavar="PSI",
            help="Draw latents from a normal distribution cut off at PSI deviations.",
        ),
        click.option(
            "--label",
            "labels",
            type=NumberList(),
            metavar="LIST",
            help="Class of the images, for a generator that is told it; of several, one after the other in turn.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


class Cells(NamedTuple):
    """What the cells of a picture show, row by row.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n,)
        Numbers of the images within their seed.
    classes : ndarray of int64, shape (n,), or None
        Their classes; None: as they are drawn, or no classes.
    columns : int
        Cells in a row.
    """

    numbers: NDArray[np.int64]
    classes: NDArray[np.int64] | None
    columns: int


def arrange(
    sampler: Sampler,
    *,
    numbers: list[int] | None,
    num: int,
    layout: Layout | None,
    labels: list[int] | None,
    class_rows: bool,
) -> Cells:
    """Arrange images in a grid.

    Parameters
    ----------
    sampler : Sampler
        That will draw them.
    numbers : list of int, optional
        Of the images; the first ones by default.
    num : int
        How many images, if neither numbers nor a layout say it.
    layout : Layout, optional
        Of the grid; nearly square by default.
    labels : list of int, optional
        Classes, all of them by default for `class_rows`.
    class_rows : bool
        Every row shows one class, every column one latent.

    Raises
    ------
    InputError
        If the options do not fit each other or the generator.
    """
    _check_labels(sampler, labels, class_rows=class_rows)
    per_row = None if layout is None else layout.columns
    if class_rows:
        rows = labels or list(range(sampler.num_classes))
        if layout is not None and layout.rows is not None:
            if layout.rows > len(rows):
                raise InputError(f"--grid has {layout.rows} rows, and there are {len(rows)} classes to show; use fewer")
            rows = rows[: layout.rows]
        once = numbers or list(range(per_row or 8))
        if per_row is not None and len(once) != per_row:
            raise InputError(f"--grid has {per_row} columns for {len(once)} numbers; with class rows they must agree")
        return Cells(np.tile(np.array(once), len(rows)), np.repeat(np.array(rows), len(once)), len(once))
    cells = None if layout is None or layout.rows is None else layout.columns * layout.rows
    chosen = numbers or list(range(cells or num))
    if cells is not None and len(chosen) > cells:
        raise InputError(f"--grid has {cells} cells for {len(chosen)} numbers; enlarge it")
    classes = None if not labels else np.resize(np.array(labels), len(chosen))
    return Cells(np.array(chosen), classes, per_row or int(np.ceil(np.sqrt(len(chosen)))))


def check_creatable(out: Path) -> None:
    """Check, before any work is done, that a file or folder can be created at `out`, by creating one beside it.

    Permissions do not tell everything: not of the system's own folders, of a full disk, or of a name that is too long.

    Raises
    ------
    InputError
        If it cannot.
    """
    probe = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = f"no file can be created there ({error.strerror})"
        raise InputError(f"cannot write {out}: {reason}; choose another name or folder") from None


def _check_labels(sampler: Sampler, labels: list[int] | None, *, class_rows: bool) -> None:
    if sampler.num_classes:
        if wrong := [label for label in labels or [] if label >= sampler.num_classes]:
            raise InputError(f"--label {wrong[0]}: the generator knows the classes 0 to {sampler.num_classes - 1}")
    elif labels or class_rows:
        option = "--label" if labels else "--class-rows"
        raise InputError(f"{option} needs a generator that is told the class (conditioning.kind), and this one is not")
