"""Files that are either whole or not there: write beside, flush to disk, rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from datasets.errors import InputError


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; publish it under `path` when the block ends without an exception.

    The temporary file lies in the same folder (a rename across file systems would copy), is flushed to disk before the
    rename and is removed if the block raises, so `path` is at every instant what it was before or wholly the new file.

    Examples
    --------
    >>> with replacing("report.html") as temporary:      # doctest: +SKIP
    ...     temporary.write_text(page)
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def claim(path: Path) -> tuple[Path, int]:
    """Open the temporary file in which `path` grows, for this process alone.

    For files that take long to write. The name is always the same, so that what a killed process left behind is used
    again instead of filling the disk; the lock goes with the process. Keep the descriptor open until the file has been
    published or removed.

    Returns
    -------
    tuple of (Path, int)
        The temporary file, now empty, and its descriptor.

    Raises
    ------
    InputError
        If another process is writing the same file.
    """
    temporary = path.with_name(f".{path.name}.partial")
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(f"another process is writing {path}; wait for it or choose another name") from None
        # Whoever held the lock may have published or removed the file between our two calls: then it is not ours.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                os.ftruncate(descriptor, 0)
                return temporary, descriptor
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Flush `temporary` to disk and rename it to `path`."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` durable, on systems where a folder can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(path: Path | str, *, overwrite: bool = False, option: str = "--overwrite") -> Path:
    """Check, before any work is done, that a file can be created at `path`.

    Raises
    ------
    InputError
        If `path` exists and may not be overwritten, is a folder, or its folder is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file to write")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, remove it, or pass {option}")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write into {folder}")
    return path
