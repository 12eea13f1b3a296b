"""Image sets made of image files: a folder or an archive, of one size or of many."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from datasets import decode
from datasets.archives import open_archive
from datasets.errors import InputError
from metrics.images import ImageSet
from metrics.scores import Progress, no_progress
from metrics.workers import parallel_map

_CHECKED_AT_ONCE = 1024


class FileImageSet(ImageSet):
    """Images that are files, in the order of their paths.

    Images of several sizes, or that are not square, serve the metrics on features, whose networks resize each image by
    itself; then `resolution` is None and `read` refuses.

    Parameters
    ----------
    name, kind : str
        How results call it.
    wheres : list of str
        Name of every image for error messages.
    load : callable
        ``load(k)`` gives the content of file number k, or its path.
    size : callable
        ``size(k)`` gives width and height of the upright image by its header.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        wheres: list[str],
        load: Callable[[int], bytes | Path],
        size: Callable[[int], tuple[int, int]],
    ) -> None:
        self.name, self.kind, self.num_images = name, kind, len(wheres)
        self._wheres, self._load = wheres, load
        first, others = size(0), range(1, len(wheres))
        self._odd = ""
        if first[0] != first[1]:
            self._odd = f"{wheres[0]} is {first[0]}x{first[1]} pixels"
        for k, found in zip(others, parallel_map(size, others), strict=True):
            if found != first and not self._odd:
                self._odd = f"{wheres[0]} is {first[0]}x{first[1]} pixels but {wheres[k]} is {found[0]}x{found[1]}"
        self.resolution = None if self._odd else first[0]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the XXH3-128 of every file, in order."""

        def of_file(k: int) -> bytes:
            content = self._load(k)
            return xxhash.xxh3_128_digest(content.read_bytes() if isinstance(content, Path) else content)

        return hashlib.sha256(b"".join(parallel_map(of_file, range(len(self._wheres))))).hexdigest()

    def read_each(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Decode the given images, each of shape (3, h, w), on all cores."""

        def pixels(k: int) -> NDArray[np.uint8]:
            try:
                return decode.decode(self._load(k), self._wheres[k]).transpose(2, 0, 1)
            except InputError as error:
                raise InputError(f"{error}, or leave out such images with --skip-bad") from None

        return parallel_map(pixels, (int(row) for row in rows))

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode the given images, shape (n, 3, resolution, resolution)."""
        self.check_uniform()
        return np.stack(self.read_each(rows))

    def check_uniform(self) -> int:
        """Give the side of the images; refuse them if they differ in size or are not square."""
        if self.resolution is None:
            raise InputError(
                f"{self._odd}; this metric needs square images of one size; make them with: "
                f"toolkit make-pyramid {self.name} OUT.h5"
            )
        return self.resolution


def open_image_files(path: Path, *, skip_bad: bool = False, progress: Progress = no_progress) -> FileImageSet | None:
    """Image set of a folder, or of a zip or tar archive; None if `path` is neither.

    Parameters
    ----------
    path : Path
    skip_bad : bool
        Decode every image now, and leave out those that cannot be; otherwise the first one is an error.
    progress : Progress
        Shows that.

    Raises
    ------
    InputError
        If it holds no images, or one of them has a damaged header.
    """
    load: Callable[[int], bytes | Path]
    if path.is_dir():
        files = decode.list_images(path)
        wheres, kind = [str(file) for file in files], "folder"
        load, size = files.__getitem__, _size_of_file(files)
    elif (archive := open_archive(path)) is not None:
        wheres, kind = [archive.where(k) for k in range(len(archive))], "archive"
        load, size = archive.read, archive.image_size
    else:
        return None
    if not skip_bad:
        return FileImageSet(str(path), kind, wheres, load, size)
    sizes, faults = _decode_all(wheres, load, progress)
    good = [k for k, found in enumerate(sizes) if found is not None]
    if not good:
        raise InputError(f"{path}: none of its {len(wheres)} images can be decoded; {next(iter(faults.values()))}")
    images = FileImageSet(
        str(path), kind, [wheres[k] for k in good], lambda k: load(good[k]), lambda k: sizes[good[k]] or (0, 0)
    )
    images.details = {"skipped": faults}
    if faults:
        images.warnings = (
            f"{len(faults)} of {len(wheres)} images of {path} cannot be decoded and were left out, "
            f"such as {next(iter(faults))}",
        )
    return images


def _size_of_file(files: list[Path]) -> Callable[[int], tuple[int, int]]:
    return lambda k: decode.upright_size(files[k], str(files[k]))


def _decode_all(
    wheres: list[str], load: Callable[[int], bytes | Path], progress: Progress
) -> tuple[list[tuple[int, int] | None], dict[str, str]]:
    """Width and height of every image, None for those that cannot be decoded, and why, by name."""

    def check(k: int) -> tuple[int, int] | str:
        try:
            height, width, _ = decode.decode(load(k), wheres[k]).shape
        except InputError as error:
            return str(error)
        return width, height

    found: list[tuple[int, int] | str] = []
    with progress(len(wheres), "checking images") as bar:
        for start in range(0, len(wheres), _CHECKED_AT_ONCE):
            some = range(start, min(start + _CHECKED_AT_ONCE, len(wheres)))
            found += parallel_map(check, some)
            bar.update(len(some))
    faults = {where: size for where, size in zip(wheres, found, strict=True) if isinstance(size, str)}
    return [None if isinstance(size, str) else size for size in found], faults
