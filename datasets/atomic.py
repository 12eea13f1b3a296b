"""Files and folders that are either whole or not there: write beside, flush to disk, rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
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


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out`; it becomes `out` when the block ends without an exception.

    What a killed process left behind is removed by the next one; two cannot write at once.

    Raises
    ------
    InputError
        If another process is writing `out`, if something stands there at the end, or if the system refuses.
    """
    with system_errors(out):
        temporary, descriptor = claim_folder(out)
        try:
            empty_folder(temporary)
            yield temporary
            os.sync()  # one call for many files; the rename must not reach the disk before them
            temporary.rename(out)
            flush_folder(out.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            os.close(descriptor)


def partial_path(path: Path) -> Path:
    """Hidden name under which a file or folder that takes long to write grows, beside `path`."""
    return path.with_name(f".{path.name}.partial")


def claim(path: Path, *, empty: bool = True) -> tuple[Path, int]:
    """Open the temporary file in which `path` grows, for this process alone.

    For files that take long to write. The name is always the same, so that what a killed process left behind is used
    again instead of filling the disk; the lock goes with the process. Keep the descriptor open until the file has been
    published or removed.

    Parameters
    ----------
    path : Path
        The file to be.
    empty : bool
        Remove what a killed process left in the temporary file; False keeps it, so that the work can go on.

    Returns
    -------
    tuple of (Path, int)
        The temporary file and its descriptor.

    Raises
    ------
    InputError
        If another process is writing the same file.
    """
    temporary = partial_path(path)
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path)
            # Whoever held the lock may have published or removed the file between our two calls: then it is not ours.
            if _is_still(temporary, descriptor):
                if empty:
                    os.ftruncate(descriptor, 0)
                flush_folder(path.parent)
                return temporary, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def claim_folder(path: Path) -> tuple[Path, int]:
    """Open the temporary folder in which `path` grows, for this process alone; what it holds stays. See `claim`."""
    temporary = partial_path(path)
    while True:
        temporary.mkdir(exist_ok=True)
        descriptor = -1
        try:
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
            _lock(descriptor, path)
            if _is_still(temporary, descriptor):
                flush_folder(path.parent)
                return temporary, descriptor
        except FileNotFoundError:
            pass  # published or removed after it was seen
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        if descriptor >= 0:
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process is writing {path}; wait for it or choose another name") from None


def _is_still(temporary: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), temporary.stat())
    return False


def publish(temporary: Path, path: Path) -> None:
    """Flush the file `temporary` to disk and rename it to `path`."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    flush_folder(path.parent)


def publish_folder(temporary: Path, path: Path) -> None:
    """Rename the folder `temporary`, whose files are on disk, to `path`, in place of what is there.

    A folder cannot be put in place of another in one step: what was there is moved aside first, to ``.NAME.replaced``.
    """
    flush_folder(temporary)
    aside = path.with_name(f".{path.name}.replaced")
    there = os.path.lexists(path)
    if there:
        _remove(aside)
        path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if there:
            aside.rename(path)
        raise
    flush_folder(path.parent)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_all(descriptor: int, view: memoryview, offset: int) -> None:
    """``pwrite`` until everything is written."""
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def flush_data(descriptor: int) -> None:
    """Bring the content of an open file to disk, and of what is known about it only what is needed to read it."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def flush_folder(folder: Path) -> None:
    """Make new and changed names in `folder` durable, on systems where a folder can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def empty_folder(folder: Path, keep: frozenset[str] = frozenset()) -> None:
    """Remove what a folder holds, except the names to keep."""
    for entry in folder.iterdir():
        if entry.name not in keep:
            _remove(entry)


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system, such as a full disk, into one line; also one that LMDB knows by its text alone."""
    try:
        yield
    except OSError as error:
        reason = _reason(error.errno, path) if error.errno else str(error)
        raise InputError(f"cannot write {path}: {reason}") from None
    except Exception as error:
        number = _NUMBER_OF_TEXT.get(str(error).rsplit(": ", 1)[-1])
        if number is None:
            raise
        raise InputError(f"cannot write {path}: {_reason(number, path)}") from None


_NUMBER_OF_TEXT = {os.strerror(number): number for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
_FULL_BYTES = 1 << 20  # a disk with less is full


def _reason(number: int, path: Path) -> str:
    """What the system says, and what to do about it."""
    if number == errno.EIO:  # what LMDB calls a write that was cut short, for whatever reason
        number = _reason_of_a_short_write(path)
    advice = {
        errno.EEXIST: "; choose another name or remove it",
        errno.ENOTEMPTY: "; choose another name or remove it",
        errno.ENOSPC: f" ({path.parent}); free space or choose another disk",
        errno.EDQUOT: f" ({path.parent}); free space or choose another disk",
        errno.EFBIG: ": a limit of this process (ulimit -f) or of the file system; raise it or choose another disk",
    }
    return os.strerror(number) + advice.get(number, "")


def _reason_of_a_short_write(path: Path) -> int:
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < _FULL_BYTES:
            return errno.ENOSPC
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        growing = partial_path(path)
        if limit != resource.RLIM_INFINITY and growing.is_file() and growing.stat().st_size > limit - _FULL_BYTES:
            return errno.EFBIG
    return errno.EIO


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
