"""A moment of a run: the checkpoint at a number of images shown, or the last one of a resolution."""

from __future__ import annotations

from pathlib import Path

from datasets.errors import InputError
from training import checkpoint


def checkpoint_at(path: Path, images: int | None = None, resolution: int | None = None) -> Path:
    """Find a checkpoint of a run.

    Parameters
    ----------
    path : Path
        A run directory, or one checkpoint if nothing else is asked for.
    images : int, optional
        Images shown when it was written.
    resolution : int, optional
        The newest checkpoint that was written at this resolution; among those until `images`, if given.

    Returns
    -------
    Path
        The checkpoint, or `path` if nothing was asked for.

    Raises
    ------
    InputError
        If there is no such checkpoint; the message names those that there are.
    """
    if images is None and resolution is None:
        return path
    option = "--at" if resolution is None else "--resolution"
    if path.is_file():
        raise InputError(f"{path} is one checkpoint; {option} chooses among those of a run directory")
    there = checkpoint.listed(path / "checkpoints")
    if not there:
        raise InputError(f"{path} holds no checkpoints/checkpoint-*.safetensors; name a run directory or a checkpoint")
    if resolution is None:
        for file in there:
            if checkpoint.images_of(file) == images:
                return file
        known = ", ".join(str(checkpoint.images_of(file)) for file in reversed(there))
        raise InputError(f"{path} has no checkpoint at {images} images shown; there are {known}")
    found = []
    for file in there:
        try:
            level = checkpoint.load(file, groups=[]).facts["level"]
        except InputError:
            continue  # damaged: another one of the level may be whole
        found.append(1 << level)
        if 1 << level == resolution and (images is None or checkpoint.images_of(file) <= images):
            return file
    known = ", ".join(f"{side}x{side}" for side in sorted(set(found))) or "none that is whole"
    raise InputError(
        f"{path} has no checkpoint at {resolution}x{resolution}"
        f"{'' if images is None else f' until {images} images shown'}; there are {known} "
        "(snapshots.keep_levels keeps the last one of every level)"
    )
