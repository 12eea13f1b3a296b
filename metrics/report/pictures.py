"""Sample grids of a run, cut down to what a page needs and inlined as data URIs.

A grid keeps its first columns and rows, and cells larger than needed are reduced by the box filter. Cells of up to 32
pixels, of which the page shows every pixel, are stored without loss (PNG); larger ones as JPEG.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from metrics.report import KeptPictures
from metrics.report.run_directory import Grid, Run

MAX_SNAPSHOTS = 12
_MOST_KEPT = 256  # pictures of up to about 100 KB each, for the next report of the same run
_MAX_PIXELS = 50_000_000  # of one grid picture; larger ones are refused before they are decoded
_LOSSLESS_CELL = 32
_JPEG_QUALITY = 88


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What is kept of a grid: at most `columns` x `rows` cells, each reduced to at most `cell` pixels a side."""

    columns: int
    rows: int
    cell: int


# A column of the page is about 560 pixels wide: 8 cells of 64, 128 on a screen of twice the density.
GRID_EXTENT = Extent(columns=8, rows=8, cell=128)
SNAPSHOT_EXTENT = Extent(columns=6, rows=4, cell=64)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An inlined picture: `columns` x `rows` cells, stored at `cell` pixels each; `source_cell` is the size before."""

    uri: str
    columns: int
    rows: int
    cell: int
    source_cell: int

    @property
    def width(self) -> int:
        """Stored width in pixels."""
        return self.columns * self.cell

    @property
    def height(self) -> int:
        """Stored height in pixels."""
        return self.rows * self.cell

    def shown_width(self, space: int) -> int:
        """Width in CSS pixels at which to show it within `space`: a whole multiple of its pixels if one fits."""
        return self.width * max(1, space // self.width) if self.width <= space else space


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Samples of the fixed latents after `images` images; `stage` is (level, alpha) if known."""

    images: int
    stage: tuple[int, float] | None
    picture: Picture


@dataclass
class Gallery:
    """The pictures of a report. `notes` says of each file that was left out why."""

    reals: Picture | None = None
    latest: Snapshot | None = None
    development: list[Snapshot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_gallery(run: Run, kept: KeptPictures | None = None) -> Gallery:
    """Read the pictures of a run; one that cannot be read is left out and noted.

    Parameters
    ----------
    run : Run
    kept : dict, optional
        Pictures that were read before, by file; those read now are added.
    """
    gallery, kept = Gallery(), {} if kept is None else kept
    if run.grid is None:
        if run.snapshots or run.reals:
            gallery.notes.append("run.json does not say how the sample grids are laid out, so they are not shown")
        return gallery
    if run.reals:
        gallery.reals = _recall(run.reals, run.grid, GRID_EXTENT, gallery.notes, kept)
    for images, path in reversed(run.snapshots):
        if picture := _recall(path, run.grid, GRID_EXTENT, gallery.notes, kept):
            gallery.latest = Snapshot(images=images, stage=run.stage(images), picture=picture)
            break
    # Beyond the latest readable one lie only files already noted.
    readable = [entry for entry in run.snapshots if gallery.latest and entry[0] <= gallery.latest.images]
    for images, path in evenly(readable, MAX_SNAPSHOTS):
        if picture := _recall(path, run.grid, SNAPSHOT_EXTENT, gallery.notes, kept):
            gallery.development.append(Snapshot(images=images, stage=run.stage(images), picture=picture))
    return gallery


def evenly(snapshots: Sequence[tuple[int, Path]], count: int) -> list[tuple[int, Path]]:
    """At most `count` of the snapshots, spread evenly over the images shown; the first and the last are among them."""
    if len(snapshots) <= count:
        return list(snapshots)
    first, last = snapshots[0][0], snapshots[-1][0]
    targets = [first + (last - first) * k / (count - 1) for k in range(count)]
    return sorted({_nearest(snapshots, target) for target in targets})


def _nearest(snapshots: Sequence[tuple[int, Path]], images: float) -> tuple[int, Path]:
    return min(snapshots, key=lambda entry: abs(entry[0] - images))


def reduce_grid(image: Image.Image, grid: Grid, extent: Extent) -> Picture:
    """Cut an RGB grid picture down to `extent` and inline it.

    Parameters
    ----------
    image : Image
        Mode RGB, ``grid.columns * grid.cell`` x ``grid.rows * grid.cell`` pixels.
    grid : Grid
        Its layout.
    extent : Extent
        What to keep of it.
    """
    columns, rows = min(grid.columns, extent.columns), min(grid.rows, extent.rows)
    factor = -(-grid.cell // extent.cell)  # cells are powers of two, so this divides them
    while grid.cell % factor:
        factor += 1
    image = image.crop((0, 0, columns * grid.cell, rows * grid.cell))
    if factor > 1:
        image = image.reduce(factor)
    stream = io.BytesIO()
    if grid.cell <= _LOSSLESS_CELL:
        image.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)  # optimizing fails on noise
        kind = "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
    return Picture(uri=uri, columns=columns, rows=rows, cell=grid.cell // factor, source_cell=grid.cell)


def _recall(path: Path, grid: Grid, extent: Extent, notes: list[str], kept: KeptPictures) -> Picture | None:
    """`_read`, unless the same file was read before."""
    found = path.stat()
    key = path, found.st_mtime_ns, found.st_size, grid, extent
    if key not in kept:
        kept[key] = _read(path, grid, extent, notes)
        while len(kept) > _MOST_KEPT:
            del kept[next(iter(kept))]
    picture: Picture | None = kept[key]
    return picture


def _read(path: Path, grid: Grid, extent: Extent, notes: list[str]) -> Picture | None:
    width, height = grid.columns * grid.cell, grid.rows * grid.cell
    if width * height > _MAX_PIXELS:
        notes.append(f"{path.name} is left out: a grid of {width}x{height} pixels is beyond what a report opens")
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            # A data set smaller than the grid fills only its first rows.
            if image.width != width or image.height % grid.cell or not 0 < image.height <= height:
                found = f"{image.width}x{image.height} pixels where the grid of run.json makes {width}x{height}"
                notes.append(f"{path.name} is left out: {found}")
                return None
            return reduce_grid(image.convert("RGB"), replace(grid, rows=image.height // grid.cell), extent)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow at damaged files
        notes.append(f"{path.name} is left out: it cannot be read as PNG ({error})")
        return None
