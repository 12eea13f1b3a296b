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
from metrics.workers import parallel_map


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
        return parallel_map(
            lambda k: decode.decode(self._load(k), self._wheres[k]).transpose(2, 0, 1), (int(row) for row in rows)
        )

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


def open_image_files(path: Path) -> FileImageSet | None:
    """Image set of a folder, or of a zip or tar archive; None if `path` is neither.

    Raises
    ------
    InputError
        If it holds no images, or one of them has a damaged header.
    """
    if path.is_dir():
        files = decode.list_images(path)
        return FileImageSet(
            str(path),
            "folder",
            [str(file) for file in files],
            lambda k: files[k],
            lambda k: decode.upright_size(files[k], str(files[k])),
        )
    archive = open_archive(path)
    if archive is None:
        return None
    wheres = [archive.where(k) for k in range(len(archive))]
    return FileImageSet(str(path), "archive", wheres, archive.read, archive.image_size)
