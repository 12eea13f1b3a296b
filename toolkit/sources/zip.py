"""A zip archive of images, read in place, as StyleGAN's tools make it (dataset.json) or any other.

See `datasets.archives` for what is passed over and what is refused, and `toolkit.layouts.labels` for labels.
"""

from __future__ import annotations

from pathlib import Path

from datasets.archives import is_zip
from toolkit.layouts.archived import ArchivedImages

GENERAL = True


def recognises(path: Path) -> bool:
    """True for a file that begins as zip archives do, whatever is in it."""
    return is_zip(path)


class Source(ArchivedImages):
    """The images of a zip archive."""
