"""Opens whatever holds images: each kind of set is recognised by its content.

A plug-in is a function ``open_image_set(path, *, num_images, seed) -> ImageSet | None`` registered under the entry-
point group ``metrics.image_sets``; it returns None if the path is not of its kind. So the trainer teaches this package
to read its runs and checkpoints, and this package never imports the trainer. Options of generators, such as
``truncation``, are further keywords, and are handed over only if a user gives them: a plug-in without them need not
know them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from datasets import formats
from datasets.errors import InputError
from metrics.feature_sets import FeatureSet, feature_set
from metrics.image_arrays import image_array, open_arrays
from metrics.image_files import open_image_files
from metrics.images import BoxFiltered, ImageSet, PyramidImageSet
from metrics.pickled_statistics import open_pickled_statistics
from metrics.scores import Progress, no_progress

PLUG_IN_GROUP = "metrics.image_sets"
_KNOWN = (
    "a folder or archive of images, a pyramid, a .npy or .npz file of images, features or statistics, "
    "a run directory or a checkpoint"
)


def open_image_set(
    path: Path | str,
    *,
    num_images: int | None = None,
    seed: int = 0,
    resolution: int | None = None,
    skip_bad: bool = False,
    progress: Progress = no_progress,
    **generator_options: Any,
) -> ImageSet:
    """Open whatever is at `path`.

    Parameters
    ----------
    path : Path or str
        A pyramid, something a plug-in knows (a run directory, a checkpoint), a folder or a zip or tar archive of
        images, a ``.npy`` or ``.npz`` file of images, of features or of their statistics, pickled statistics.
    num_images : int, optional
        How many images will be asked for; a hint for plug-ins. Which images of a set are measured is not chosen here.
    seed : int
        Seed of the images, for sets that generate them.
    resolution : int, optional
        Side to measure at: a level of a pyramid, or the box-filtered images of any other set.
    skip_bad : bool
        Leave out image files that cannot be decoded, which takes one more pass over them; the result names them.
    progress : Progress
        Shows that pass.
    generator_options
        For sets that generate their images, such as ``truncation=0.7``; those that are None were not given.

    Raises
    ------
    InputError
        If there is nothing at `path`, nothing that can be opened, or nothing that takes the options given.
    """
    given = {name: value for name, value in generator_options.items() if value is not None}
    image_set = _open(Path(path), num_images, seed, resolution, given, skip_bad, progress)
    if given and image_set.num_images is not None:
        raise InputError(f"{path} holds images that are there already; --{next(iter(given))} is for generators")
    return image_set


def _open(
    path: Path,
    num_images: int | None,
    seed: int,
    resolution: int | None,
    options: Mapping[str, Any],
    skip_bad: bool,
    progress: Progress,
) -> ImageSet:
    if not path.exists():
        raise InputError(f"{path} does not exist; name {_KNOWN}")
    if formats.is_pyramid(path):
        return PyramidImageSet(formats.open_pyramid(path), resolution)
    image_set = _open_unfiltered(path, num_images, seed, options, skip_bad, progress)
    if resolution is None or resolution == image_set.resolution or isinstance(image_set, FeatureSet):
        return image_set
    return BoxFiltered(image_set, resolution)


def _open_unfiltered(
    path: Path, num_images: int | None, seed: int, options: Mapping[str, Any], skip_bad: bool, progress: Progress
) -> ImageSet:
    failures: list[str] = []
    for image_set in _ask_plug_ins(path, num_images, seed, options, failures):
        return image_set
    reason = f" (the plug-in {'; '.join(failures)})" if failures else ""
    # The folder of a run holds sample grids: without the plug-in they would be taken for its images, silently.
    if path.is_dir() and (path / "run.json").exists():
        raise InputError(f"{path} is a run directory that cannot be opened{reason}")
    if (arrays := open_arrays(path)) is not None:
        return feature_set(arrays, path) or image_array(arrays, path)
    if (pickled := open_pickled_statistics(path)) is not None:
        return pickled
    files = open_image_files(path, skip_bad=skip_bad, progress=progress)
    if files is None:
        raise InputError(f"{path} cannot be opened{reason}; name {_KNOWN}")
    return files


def _ask_plug_ins(
    path: Path, num_images: int | None, seed: int, options: Mapping[str, Any], failures: list[str]
) -> Iterator[ImageSet]:
    """Sets that plug-ins open at `path`; a plug-in that cannot be imported is noted, since it may not be needed."""
    for entry in entry_points(group=PLUG_IN_GROUP):
        try:
            opener = entry.load()
        except Exception as error:  # noqa: BLE001 - the import of foreign code may fail in any way
            failures.append(f"{entry.name} cannot be loaded: {type(error).__name__}: {error}")
            continue
        known = {name: value for name, value in options.items() if _takes(opener, name)}
        image_set: ImageSet | None = opener(path, num_images=num_images, seed=seed, **known)
        if image_set is None:
            continue
        if missing := sorted(options.keys() - known.keys()):
            raise InputError(f"{path}: the plug-in {entry.name}, which opens it, has no option {missing[0]}")
        yield image_set


def _takes(function: Callable[..., Any], keyword: str) -> bool:
    parameters = inspect.signature(function).parameters
    return keyword in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())
