"""Where a build writes to: checks that are made before any work is done."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from datasets.atomic import check_writable, partial_path, system_errors
from datasets.codecs import ENCODERS
from datasets.errors import InputError
from datasets.formats import is_pyramid, suffixes
from datasets.levels import level_of, levels_up_to, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES
from datasets.packing import Packed, Packer
from toolkit import ledger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """How a data set is stored; none of this changes its content digest.

    Attributes
    ----------
    path : Path
        Data set to write; its suffix names the format.
    shards : int
        Number of files; more than 1: `path` becomes a folder.
    encoding : str or None
        How pixels are stored, see `datasets.formats.create`.
    overwrite : bool
        Replace an existing data set; it stays until the new one is whole.
    """

    path: Path
    shards: int = 1
    encoding: str | None = None
    overwrite: bool = False

    def check_place(self, *, may_exist: bool = False) -> None:
        """Refuse a place where the data set cannot be.

        Raises
        ------
        InputError
            If the suffix names no format, something is there and may not be replaced, or the folder is missing or
            read-only.
        """
        path = self.path
        if path.suffix.lower() not in suffixes():
            allowed = ", ".join(sorted(suffixes()))
            raise InputError(f"{path}: the suffix {path.suffix or '(none)'} names no format; use one of {allowed}")
        overwrite = self.overwrite or may_exist
        if not (path.is_dir() and is_pyramid(path)):
            check_writable(path, overwrite=overwrite)
        elif not overwrite:
            raise InputError(f"{path} exists already; choose another name, remove it, or pass --overwrite")
        check_writable(ledger.path_of(path), overwrite=True)  # without its data set it describes nothing

    def check_read(self, path: Path) -> None:
        """Refuse an output that is what would be read, a folder of shards around it, or a shard of it.

        Raises
        ------
        InputError
        """
        out = self.path
        if not (out.exists() and path.exists()):
            return
        around = any(out.samefile(place) for place in (path, *path.resolve().parents))
        if around or (path.is_dir() and out.parent.samefile(path) and is_pyramid(path)):
            raise InputError(f"{out} is what would be read; choose another name for the output")

    def check_space(self, num_rows: int, resolution: int, sample: Callable[[Packer], Packed]) -> None:
        """Refuse a build that would fill the disk.

        Parameters
        ----------
        num_rows, resolution : int
        sample : callable
            ``sample(packer)`` gives some of the rows. Called only if pixels are encoded: how small they become depends
            on what they show. A sample can be wrong, so only what is too large by a tenth is refused.

        Raises
        ------
        InputError
            If the rows need more than is free.
        """
        lmdb = self.path.suffix.lower() == ".lmdb"
        encode = ENCODERS.get(self.encoding or "raw")
        if encode is None:
            levels = levels_up_to(level_of(resolution))
            lengths = [*(3 * resolution_of(level) ** 2 for level in levels), ROW_DIGEST_BYTES * len(levels)]
            needed = num_rows * stored_bytes(lengths, lmdb=lmdb)
        else:
            rows = sample(Packer(resolution, encode))
            needed = round(0.9 * num_rows * packed_bytes(rows, lmdb=lmdb) / len(rows))
        free = shutil.disk_usage(self.path.parent).free + _used(partial_path(self.path))
        if needed > free:
            raise InputError(
                f"cannot write {self.path}: its {num_rows} rows need {needed / 1e6:.1f} MB, but {self.path.parent} has "
                f"{free / 1e6:.1f} MB free; free space, choose another disk or a smaller --resolution"
            )

    def clear_leftover(self) -> None:
        """Remove what an interrupted build left, if it is a folder where a file will grow, or the reverse."""
        leftover = partial_path(self.path)
        with system_errors(self.path):
            if leftover.is_dir() and self.shards == 1:
                shutil.rmtree(leftover)
            elif leftover.is_file() and self.shards > 1:
                leftover.unlink()


def stored_bytes(lengths: list[int], *, lmdb: bool) -> int:
    """Bytes that values of these lengths take up in a file.

    LMDB gives a value of more than half a page whole pages of its own, and packs several smaller ones into a page,
    which is then never quite full.
    """
    if not lmdb:
        return sum(lengths)
    return sum(
        -(-(length + 16) // _PAGE) * _PAGE if 2 * length > _PAGE else round((length + 30) / _FULL) for length in lengths
    )


_PAGE, _FULL = 4096, 0.7  # bytes of a page of LMDB; how full pages are that hold several values


def packed_bytes(rows: Packed, *, lmdb: bool) -> int:
    """Bytes that rows take up in a file."""
    values = [value if isinstance(value, bytes) else value.data for row in rows.values.values() for value in row]
    return stored_bytes([memoryview(value).nbytes for value in (*values, *rows.digests)], lmdb=lmdb)


def to_be_continued(error: InputError) -> InputError:
    """The error with what to do next, if what is done is kept."""
    text = str(error).removesuffix("; run the same command again")
    return InputError(f"{text}; what is done is kept, and the same command goes on with it")


def _used(path: Path) -> int:
    """Bytes that a file, or the files of a folder, take up on disk; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return sum(file.stat().st_blocks * 512 for file in files)
