"""Add rows to a pyramid that is there: those of another pyramid, or of new images built like the old ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from PIL import ImageColor

from datasets.errors import InputError
from datasets.formats import PyramidReader, is_pyramid, open_pyramid, suffixes
from datasets.manifest import Manifest
from toolkit.build import build
from toolkit.derived.assembly import Assembled
from toolkit.derived.merging import join
from toolkit.engine.output import Output
from toolkit.engine.progress import Progress
from toolkit.inspection import format_of, num_shards
from toolkit.options import Options
from toolkit.selection import Criteria
from toolkit.sources import open_source, recognise
from toolkit.transforms import Crop


def append(
    path: Path,
    more: Path,
    *,
    labels: bool,
    kind: str | None,
    skip_bad: bool,
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
) -> Assembled:
    """Add rows behind those of a pyramid, which is replaced when the new file is whole.

    Parameters
    ----------
    path : Path
        A pyramid of any format.
    more : Path
        Another pyramid, of the same resolution; or any source of images, which are then built with the options that
        the manifest of `path` records. (Images that the options leave out as near-duplicates are compared with each
        other, not with those that are there.)
    labels : bool
        Keep the labels, see `toolkit.derived.lineage.labels_of`: of both or, if neither has any, of none.
    kind : str or None
        Name of the source module that opens `more`; None: it is recognised.
    skip_bad : bool
        Leave bad images of the source out.
    jobs : int
        Number of threads, at least 1; changes no byte.
    progress : callable
        Makes progress bars.
    say : callable
        Told, in one line, if a build goes on with an interrupted one.

    Raises
    ------
    InputError
        If the two do not fit each other, one is damaged, or the system refuses. `path` is then as it was before.
    """
    reader = open_pyramid(path)
    output = _place_of(reader)
    output.check_place()
    if not more.exists():
        raise InputError(f"{more} does not exist; name a pyramid or a source of images")
    if (recognise(more) if kind is None else [kind]) == ["pyramid"]:
        return join([reader, open_pyramid(more)], output, labels=labels, jobs=jobs, progress=progress)
    side = reader.manifest.resolution
    labels = labels and _both_have_labels(path, reader.manifest.labels_digest is not None, more, kind)
    options = dataclasses.replace(options_of(reader.manifest, path), kind=kind, labels=labels, skip_bad=skip_bad)
    built = path.with_name(f".{path.name}.more.h5")
    if (done := _done_before(reader, built)) is not None:
        return done
    build(more, Output(path=built, overwrite=True), options, jobs=jobs, progress=progress, say=say)
    new = open_pyramid(built)
    names = [path.resolve().name, new.manifest.provenance["source"]]
    done = join([reader, new], output, resolution=side, names=names, labels=labels, jobs=jobs, progress=progress)
    _remove(built)
    return done


def _both_have_labels(path: Path, labelled: bool, more: Path, kind: str | None) -> bool:
    """Whether the rows and the new images have labels; an InputError if only the ones or the others have."""
    if labelled == (open_source(more, kind).label_names is not None):
        return labelled
    without, having = (more, path) if labelled else (path, more)
    raise InputError(f"{without} has no labels, but {having} has; pass --no-labels to make a data set without any")


def _done_before(reader: PyramidReader, built: Path) -> Assembled | None:
    """The result, if the same command was killed after it had replaced the pyramid: it must not be appended twice."""
    parts = reader.manifest.provenance.get("parts")
    if not parts or not is_pyramid(built):
        return None
    size = open_pyramid(built).manifest.num_images
    if parts[-1]["content_digest"] != open_pyramid(built).manifest.content_digest:
        return None
    _remove(built)
    return Assembled.of(reader, copied=0, resumed=size, seconds=0)


def _remove(built: Path) -> None:
    """Remove the rows that were built, and what the build put beside them."""
    for file in built.parent.iterdir():
        if file.name.startswith(built.name):
            file.unlink()


def options_of(manifest: Manifest, path: Path) -> Options:
    """Options with which a pyramid was built, as far as they say what is done to an image.

    Parameters
    ----------
    manifest : Manifest
    path : Path
        Of the pyramid, for error messages.

    Raises
    ------
    InputError
        If the manifest does not record them, as that of a pyramid merged from others with different options.
    """
    recorded = manifest.options
    needed = ("crop", "filter", "allow_upscale", "background", "shuffle")
    missing = [name for name in needed if name not in recorded]
    if missing:
        raise InputError(
            f"{path} does not say how its images were made (no {missing[0]} in its manifest), so new ones cannot be "
            "made alike; build a pyramid of them with toolkit make-pyramid and append that"
        )
    left, top, side = recorded.get("box") or (0, 0, 0)
    tile, stride = recorded.get("tile") or 0, recorded.get("stride") or 0
    limits = [field.name for field in dataclasses.fields(Criteria)]
    return Options(
        resolution=_built_resolution(manifest),
        crop=Crop(recorded["crop"], tile=tile, stride=stride, left=left, top=top, side=side),
        resample=recorded["filter"],
        allow_upscale=recorded["allow_upscale"],
        background=ImageColor.getrgb(recorded["background"])[:3],
        shuffle=recorded["shuffle"],
        criteria=Criteria(**{name: recorded.get(name) for name in limits}),
    )


def _built_resolution(manifest: Manifest) -> int:
    """Side of the images when they were built; a conversion may have left the finest levels out since."""
    for step in manifest.provenance.get("conversions", []):
        if "of" in step:
            return int(step["of"]["resolution"])
    return manifest.resolution


def _place_of(reader: PyramidReader) -> Output:
    """The pyramid itself as an output, stored as it is now."""
    suffix = next(suffix for suffix, name in suffixes().items() if name == format_of(reader))
    if reader.path.suffix.lower() != suffix:
        raise InputError(f"{reader.path}: rename it so that it ends in {suffix}, as its format asks for")
    path = reader.path.resolve() if reader.path.is_symlink() else reader.path  # the link stays
    return Output(path=path, shards=num_shards(reader), encoding=reader.encoding, overwrite=True)
