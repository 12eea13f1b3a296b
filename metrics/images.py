"""What a metric measures: a set of square RGB images of one size, read by number.

An image set is a pyramid, a folder of images, an array in memory, or whatever a plug-in opens. A plug-in is a function
``open_image_set(path, *, num_images, seed) -> ImageSet | None`` registered under the entry-point group
``metrics.image_sets``; it returns None if the path is not of its kind. So the trainer teaches this package to read its
runs and checkpoints, and this package never imports the trainer.
"""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets import decode, formats, levels, manifest
from datasets.errors import InputError
from metrics.workers import parallel_map

PLUG_IN_GROUP = "metrics.image_sets"


class ImageSet(abc.ABC):
    """Square RGB images of one size, each known by its number.

    Attributes
    ----------
    name : str
        What the user calls it, as a rule the path.
    kind : str
        ``"pyramid"``, ``"folder"``, ``"array"``, ``"run"``, ...
    num_images : int or None
        How many there are; None if there are as many as are asked for (a generator).
    resolution : int
        Side length in pixels.
    """

    name: str
    kind: str
    num_images: int | None
    resolution: int

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of the content: equal images (or generators and seeds) have equal digests."""

    @abc.abstractmethod
    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of the given numbers.

        What image number k is must not depend on the other numbers of the call, nor on earlier calls.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Numbers in [0, num_images), in any order.

        Returns
        -------
        ndarray of uint8, shape (n, 3, resolution, resolution)
        """


class ArrayImageSet(ImageSet):
    """Images in memory.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, r, r)
        RGB in [0, 255]; not copied, so do not change it while it is in use.
    name, kind : str
        How results call it.

    Raises
    ------
    InputError
        If the array is of another shape or type, or empty.
    """

    def __init__(self, images: NDArray[np.uint8], name: str = "array", kind: str = "array") -> None:
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[1] != 3
            or images.shape[2] != images.shape[3]
            or images.size == 0
        ):
            raise InputError(
                f"{name}: images must be uint8 in 0..255 of shape (n, 3, r, r), got {images.dtype} {images.shape}; "
                "turn floats in [-1, 1] into uint8 first"
            )
        self.name, self.kind = name, kind
        self.num_images, self.resolution = len(images), images.shape[-1]
        self._images = images

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self._images.tobytes()).hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy of the given images."""
        return self._images[rows]


class PyramidImageSet(ImageSet):
    """One level of a finished pyramid; every image read is checked against the digest stored beside it.

    Parameters
    ----------
    reader : PyramidReader
        From `datasets.formats.open_pyramid`.
    resolution : int, optional
        Side of the level; the finest one if not given.
    """

    def __init__(self, reader: formats.PyramidReader, resolution: int | None = None) -> None:
        self._level = levels.level_of(resolution or reader.manifest.resolution)
        self._pixels = reader.level(self._level)  # refuses a level that is not there
        self._row_digests = reader.row_digests(self._level)
        self._digest = reader.manifest.level_digests[levels.name_of(self._level)]
        self.name, self.kind = str(reader.path), "pyramid"
        self.num_images, self.resolution = len(self._pixels), levels.resolution_of(self._level)

    @property
    def digest(self) -> str:
        """Digest of the level, from the manifest: equal for all file formats."""
        return self._digest

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the given images.

        Raises
        ------
        InputError
            If the pixels of an image are not the ones that were written.
        """
        images = np.asarray(self._pixels[rows])
        for row, image in zip(rows, images, strict=True):
            if manifest.row_digest(image) != self._row_digests[row].tobytes():
                raise InputError(
                    f"{self.name}: image {row} of {levels.name_of(self._level)} is damaged; build the file again"
                )
        return images


class FolderImageSet(ImageSet):
    """All images below a folder, in the order of their paths. They must be square and of one size.

    Raises
    ------
    InputError
        If the folder holds no images, or an image is damaged, not square, or of another size than the first.
    """

    def __init__(self, folder: Path) -> None:
        self._files = decode.list_images(folder)
        self.name, self.kind = str(folder), "folder"
        self.num_images = len(self._files)
        height, width = decode.decode(self._files[0], str(self._files[0])).shape[:2]
        remedy = f"a metric needs square images of one size; make them with: toolkit make-pyramid {folder} OUT.h5"
        if height != width:
            raise InputError(f"{self._files[0]} is {width}x{height} pixels; {remedy}")
        for file in self._files:
            found = decode.stored_size(file, str(file))  # a turn by its orientation tag leaves a square a square
            if found != (width, height):
                raise InputError(
                    f"{self._files[0]} is {width}x{height} pixels but {file} is {found[0]}x{found[1]}; {remedy}"
                )
        self.resolution = width

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the XXH3-128 of every file, in order."""
        parts = parallel_map(lambda file: xxhash.xxh3_128_digest(file.read_bytes()), self._files)
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode the given images, on all cores."""
        images = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)

        def load(item: tuple[int, int]) -> None:
            place, row = item
            pixels = decode.decode(self._files[row], str(self._files[row]))
            images[place] = pixels.transpose(2, 0, 1)

        parallel_map(load, enumerate(rows.tolist()))
        return images


class BoxFiltered(ImageSet):
    """Another set at a coarser resolution, by the box filter of `datasets.levels` (the one pyramids are made with)."""

    def __init__(self, source: ImageSet, resolution: int) -> None:
        self._level = levels.level_of(resolution)
        if levels.level_of(source.resolution, f"{source.name}: side") < self._level:
            raise InputError(
                f"{source.name} has {source.resolution} pixels a side; resolution {resolution} would enlarge it"
            )
        self._source = source
        self.name, self.kind, self.num_images, self.resolution = source.name, source.kind, source.num_images, resolution

    @property
    def digest(self) -> str:
        """Digest of the images before the filter."""
        return self._source.digest

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the given images and shrink them."""
        return levels.pyramid(self._source.read(rows))[self._level]


def open_image_set(
    path: Path | str, *, num_images: int | None = None, seed: int = 0, resolution: int | None = None
) -> ImageSet:
    """Open whatever is at `path`.

    Parameters
    ----------
    path : Path or str
        A pyramid, something a plug-in knows (a run directory, a checkpoint), or a folder of images.
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
        raise InputError(f"{path} does not exist; name a folder of images, a pyramid, a run directory or a checkpoint")
    if formats.is_pyramid(path):
        return PyramidImageSet(formats.open_pyramid(path), resolution)
    image_set = _open_unfiltered(path, num_images, seed)
    if resolution is None or resolution == image_set.resolution:
        return image_set
    return BoxFiltered(image_set, resolution)


def _open_unfiltered(path: Path, num_images: int | None, seed: int) -> ImageSet:
    failures: list[str] = []
    for image_set in _ask_plug_ins(path, num_images, seed, failures):
        return image_set
    reason = f" (the plug-in {'; '.join(failures)})" if failures else ""
    # The folder of a run holds sample grids: without the plug-in they would be taken for its images, silently.
    if path.is_dir() and not (path / "run.json").exists():
        return FolderImageSet(path)
    raise InputError(
        f"{path} is not a folder of images, a pyramid, a run directory or a checkpoint that can be opened{reason}"
    )


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
