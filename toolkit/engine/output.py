"""Where a build writes to: checks that are made before any work is done."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from datasets.atomic import check_writable, partial_path, system_errors
from datasets.errors import InputError
from datasets.formats import is_pyramid, suffixes
from datasets.levels import level_of, levels_up_to, resolution_of
from datasets.manifest import ROW_DIGEST_BYTES
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

    def check_space(self, num_rows: int, resolution: int) -> None:
        """Refuse a build that would fill the disk.

        Raises
        ------
        InputError
            If raw pixels need more than is free; how small encoded ones become is known only afterwards.
        """
        levels = levels_up_to(level_of(resolution))
        needed = num_rows * sum(3 * resolution_of(level) ** 2 + ROW_DIGEST_BYTES for level in levels)
        free = shutil.disk_usage(self.path.parent).free + _used(partial_path(self.path))
        if needed > free and self.encoding in (None, "raw"):
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


def _used(path: Path) -> int:
    """Bytes that a file, or the files of a folder, take up on disk; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return sum(file.stat().st_blocks * 512 for file in files)
