"""Opens whatever holds images: each kind of set is recognised by its content.

A plug-in is a function ``open_image_set(path, *, num_images, seed) -> ImageSet | None`` registered under the entry-
point group ``metrics.image_sets``; it returns None if the path is not of its kind. So the trainer teaches this package
to read its runs and checkpoints, and this package never imports the trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from datasets import formats
from datasets.errors import InputError
from metrics.feature_sets import FeatureSet, feature_set
from metrics.image_arrays import image_array, open_arrays
from metrics.image_files import open_image_files
from metrics.images import BoxFiltered, ImageSet, PyramidImageSet
from metrics.pickled_statistics import open_pickled_statistics

PLUG_IN_GROUP = "metrics.image_sets"
_KNOWN = (
    "a folder or archive of images, a pyramid, a .npy or .npz file of images, features or statistics, "
    "a run directory or a checkpoint"
)


def open_image_set(
    path: Path | str, *, num_images: int | None = None, seed: int = 0, resolution: int | None = None
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

    Raises
    ------
    InputError
        If there is nothing at `path`, or nothing that can be opened.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; name {_KNOWN}")
    if formats.is_pyramid(path):
        return PyramidImageSet(formats.open_pyramid(path), resolution)
    image_set = _open_unfiltered(path, num_images, seed)
    if resolution is None or resolution == image_set.resolution or isinstance(image_set, FeatureSet):
        return image_set
    return BoxFiltered(image_set, resolution)


def _open_unfiltered(path: Path, num_images: int | None, seed: int) -> ImageSet:
    failures: list[str] = []
    for image_set in _ask_plug_ins(path, num_images, seed, failures):
        return image_set
    reason = f" (the plug-in {'; '.join(failures)})" if failures else ""
    # The folder of a run holds sample grids: without the plug-in they would be taken for its images, silently.
    if path.is_dir() and (path / "run.json").exists():
        raise InputError(f"{path} is a run directory that cannot be opened{reason}")
    if (arrays := open_arrays(path)) is not None:
        return feature_set(arrays, path) or image_array(arrays, path)
    if (pickled := open_pickled_statistics(path)) is not None:
        return pickled
    files = open_image_files(path)
    if files is None:
        raise InputError(f"{path} cannot be opened{reason}; name {_KNOWN}")
    return files


def _ask_plug_ins(path: Path, num_images: int | None, seed: int, failures: list[str]) -> Iterator[ImageSet]:
    """Sets that plug-ins open at `path`; a plug-in that cannot be imported is noted, since it may not be needed."""
    for entry in entry_points(group=PLUG_IN_GROUP):
        try:
            opener = entry.load()
        except Exception as error:  # noqa: BLE001 - the import of foreign code may fail in any way
            failures.append(f"{entry.name} cannot be loaded: {type(error).__name__}: {error}")
            continue
        image_set: ImageSet | None = opener(path, num_images=num_images, seed=seed)
        if image_set is not None:
            yield image_set
