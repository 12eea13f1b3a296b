"""A tar archive of images, read in place; .tar.gz, .tar.bz2 and .tar.xz take space in TMPDIR.

See `datasets.archives` for what is passed over and what is refused, and `toolkit.layouts.labels` for labels.
"""

from __future__ import annotations

from pathlib import Path

from datasets.archives import is_tar
from toolkit.layouts.archived import ArchivedImages

GENERAL = True


def recognises(path: Path) -> bool:
    """True for a file that begins as tar archives do, whatever is in it."""
    return is_tar(path)


class Source(ArchivedImages):
    """The images of a tar archive."""
