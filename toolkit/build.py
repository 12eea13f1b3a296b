"""Build a data set: source -> decode -> crop -> levels -> writer, in parallel, with one ledger line per image.

The bytes of the data set and of its ledger depend on the source's content, the options and the library versions (all in
the manifest) alone: not on the number of jobs, the time, or the machine's folders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from PIL import features

from datasets.atomic import check_writable, replacing
from datasets.decode import Decoded
from datasets.errors import InputError
from datasets.formats import PyramidWriter, writer_for
from datasets.levels import level_of, levels_up_to, pyramid, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES, Manifest
from growgan import __version__
from toolkit import ledger
from toolkit.ledger import Entry
from toolkit.plan import Options, Plan, PlannedImage, Progress, decode_item, make_plan, read, with_advice
from toolkit.sources import Source, open_source
from toolkit.transforms import cut
from toolkit.workers import StoppedError, in_order

_BATCH_BYTES = 1 << 22  # pixels of the finest level that a thread holds at a time
_IMAGES_PER_TASK = 16  # so that handing out work costs nothing even for the smallest images


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a build did.

    Attributes
    ----------
    path, ledger : Path
        The data set and the ledger beside it.
    manifest : Manifest
        As it is in the data set.
    images : int
        Images of the source that gave rows.
    skipped : int
        Images of the source that were left out.
    applied : dict of str to int
        What was done -> to how many images.
    bytes : int
        Size of the data set.
    seconds : float
        Wall time.
    """

    path: Path
    ledger: Path
    manifest: Manifest
    images: int
    skipped: int
    applied: dict[str, int]
    bytes: int
    seconds: float

    @property
    def rows_per_sec(self) -> float:
        """Rows written per second of wall time."""
        return self.manifest.num_images / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "ledger": str(self.ledger),
            "images": self.images,
            "skipped": self.skipped,
            "rows": manifest.num_images,
            "resolution": manifest.resolution,
            "levels": [resolution_of(level) for level in levels_up_to(manifest.top_level)],
            "applied": self.applied,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "rows_per_sec": round(self.rows_per_sec, 3),
            "content_digest": manifest.content_digest,
            "options": dict(manifest.options),
            "provenance": dict(manifest.provenance),
        }


def build(source_path: Path, out: Path, options: Options, *, jobs: int, overwrite: bool, progress: Progress) -> Summary:
    """Build a data set, and its ledger beside it; both appear under their names when they are whole, or not at all.

    Parameters
    ----------
    source_path : Path
        Anything that `toolkit.sources.open_source` opens.
    out : Path
        Data set to write; its suffix names the format.
    options : Options
        What decides the pixels.
    jobs : int
        Number of threads, at least 1.
    overwrite : bool
        Replace an existing data set; it stays until the new one is whole.
    progress : callable
        ``progress(total, what)`` gives a progress bar.

    Raises
    ------
    InputError
        If an argument is at fault, an image is bad (see `Options.skip_bad`), or the disk is full.
    """
    started = time.monotonic()
    writer_class = writer_for(out)
    check_writable(out, overwrite=overwrite)
    ledger_path = check_writable(ledger.path_of(out), overwrite=True)  # without its data set it describes nothing
    source = open_source(source_path)
    plan = make_plan(source, options, jobs, progress)
    _check_space(out, plan)
    applied: Counter[str] = Counter()
    with writer_class(out, len(plan.rows), plan.resolution) as writer:
        entries = _entries(source, plan, options, writer, jobs, progress, applied)
        with contextlib.closing(entries), _naming(ledger_path), replacing(ledger_path) as temporary:
            ledger_digest = ledger.write(temporary, entries)
        try:
            manifest = writer.finish(options.for_manifest(), _provenance(source, plan, ledger_digest))
        except BaseException:
            ledger_path.unlink(missing_ok=True)  # a ledger of nothing is worse than none
            raise
    return Summary(
        path=out,
        ledger=ledger_path,
        manifest=manifest,
        images=len(plan.images) - plan.num_skipped,
        skipped=plan.num_skipped,
        applied=dict(sorted(applied.items())),
        bytes=out.stat().st_size,
        seconds=time.monotonic() - started,
    )


def _entries(
    source: Source,
    plan: Plan,
    options: Options,
    writer: PyramidWriter,
    jobs: int,
    progress: Progress,
    applied: Counter[str],
) -> Generator[Entry, None, None]:
    """Write all rows; yield the ledger entry of every image, the skipped ones included, in source order."""
    stop = threading.Event()
    lock = threading.Lock()
    per_task = max(1, min(_IMAGES_PER_TASK, len(plan.images) // (8 * jobs)))
    tasks = (plan.images[start : start + per_task] for start in range(0, len(plan.images), per_task))
    with progress(len(plan.rows), "writing rows") as bar:

        def advance(number: int) -> None:
            with lock:
                bar.update(number)
            if stop.is_set():
                raise StoppedError

        def run(task: list[PlannedImage]) -> list[Entry]:
            return [image.skipped or _write_image(source, image, plan, options, writer, advance) for image in task]

        with contextlib.closing(in_order(run, tasks, jobs, stop)) as results:
            for entries in results:
                for entry in entries:
                    if entry.skipped is None:
                        applied.update(entry.applied)
                    yield entry


def _write_image(
    source: Source,
    image: PlannedImage,
    plan: Plan,
    options: Options,
    writer: PyramidWriter,
    advance: Callable[[int], None],
) -> Entry:
    """Write the rows of one image and give its line in the ledger."""
    item = source[image.index]
    try:
        data = read(item)
        pixels, found = decode_item(item, data, options)
    except InputError as error:
        raise with_advice(error) from None
    boxes = options.crop.boxes(found.width, found.height, item.where)
    if len(boxes) != image.count:
        raise InputError(f"{item.where} has changed since the build began; run the same command again")
    rows = plan.rows[image.first : image.first + image.count].tolist()
    batch = max(1, _BATCH_BYTES // (3 * plan.resolution**2))
    for start in range(0, len(boxes), batch):
        part = slice(start, start + batch)
        levels = pyramid(np.stack([cut(pixels, box, plan.resolution, options.resample) for box in boxes[part]]))
        for offset, (row, box) in enumerate(zip(rows[part], boxes[part], strict=True)):
            name = f"{item.name}@{box[0]},{box[1]}" if options.crop.name == "tile" else item.name
            writer.write(row, {level: batch_of[offset] for level, batch_of in levels.items()}, name)
        advance(len(rows[part]))
    return Entry(
        path=item.name,
        label=item.label,
        bytes=len(data),
        xxh3=xxhash.xxh3_128_hexdigest(data),
        format=found.format,
        mode=found.mode,
        width=found.width,
        height=found.height,
        applied=(*found.applied, *_applied(found, boxes[0][2], plan.resolution, options)),
        rows=tuple(rows),
    )


def _applied(found: Decoded, side: int, resolution: int, options: Options) -> Iterator[str]:
    """Names of what was done to the geometry of an image."""
    if options.crop.name == "tile":
        yield "tiled"
    elif found.width != found.height:
        yield "cropped"
    if side != resolution:
        yield "reduced" if side > resolution else "enlarged"


def _check_space(out: Path, plan: Plan) -> None:
    """Refuse a build that would fill the disk."""
    levels = levels_up_to(level_of(plan.resolution))
    needed = len(plan.rows) * sum(3 * resolution_of(level) ** 2 + ROW_DIGEST_BYTES for level in levels)
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise InputError(
            f"cannot write {out}: its {len(plan.rows)} rows need {needed / 1e6:.1f} MB, but {out.parent} has "
            f"{free / 1e6:.1f} MB free; free space, choose another disk or a smaller --resolution"
        )


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in the system's errors, such as a full disk, that come without one."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _provenance(source: Source, plan: Plan, ledger_digest: str) -> dict[str, Any]:
    """Where the data set came from; no time and no folder, so that equal builds are equal."""
    libraries = {name: importlib.metadata.version(name) for name in ("h5py", "numpy", "pillow")}
    for name in ("libjpeg_turbo", "webp", "libtiff", "littlecms2"):  # what decides the pixels inside Pillow
        if version := features.version(name):
            libraries[name] = version
    return {
        "tool": f"growgan {__version__}",
        "libraries": libraries,
        "source": source.name,
        "source_images": len(plan.images),
        "skipped": plan.num_skipped,
        "ledger_sha256": ledger_digest,
    }
