"""Archives of images, read in place: zip and tar. Nothing is ever extracted under the name of a member.

`open_archive` gives the image members (by suffix, as in a folder), sorted by name, code point by code point: an archive
of a folder holds the same images in the same order as the folder. Folders, symbolic links, devices, hidden files and
folders (``.git``, ``._photo.jpg``) and the ``__MACOSX/`` of Apple's archiver are passed over.

What an archive can do to its reader, and the answer:

- Names: a leading ``/`` and ``./`` are dropped, ``..`` is refused, two images of one name are refused, and control
  characters are escaped. A name is never used as a path.
- Decompression bombs: a member of more than `MAX_MEMBER_BYTES` is refused by the size it states and, while it is being
  decompressed, by the size it has; a compressed tar by its growth (`datasets.archives.unpacking`).
- Damage: a member that does not match its checksum or size, that is encrypted, or stored in a way not known here is one
  bad image. A directory that cannot be read, or an archive that is cut short, is an error when it is opened.
"""

from __future__ import annotations

import functools
from pathlib import Path

from datasets.archives.archive import MAX_MEMBER_BYTES, Archive
from datasets.archives.names import plain_text
from datasets.archives.tar import TarArchive, is_tar
from datasets.archives.zip import ZipArchive, is_zip

__all__ = ["MAX_MEMBER_BYTES", "Archive", "TarArchive", "ZipArchive", "is_tar", "is_zip", "open_archive", "plain_text"]


def open_archive(path: Path) -> Archive | None:
    """Open the zip or tar archive at `path`; None if it is neither.

    The last one stays open, so that whoever asks what an archive holds and then reads it lists it once.

    Raises
    ------
    InputError
        If the archive is damaged or holds no image.
    """
    if not path.is_file():
        return None
    state = path.stat()
    return _opened(path, (state.st_ino, state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _opened(path: Path, state: tuple[int, int, int]) -> Archive | None:  # noqa: ARG001  another state, another archive
    if is_zip(path):
        return ZipArchive(path)
    return TarArchive(path) if is_tar(path) else None
