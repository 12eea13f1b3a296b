"""Names of the members of archives: cleaned, and which of them are images."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from datasets.decode import SUFFIXES
from datasets.errors import InputError

_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # control, line ends, bytes that are no UTF-8


def plain_text(name: str) -> str:
    r"""Name of a file as text that fits on one line and into UTF-8; anything else is escaped: ``\n``, ``\udce9``."""
    return _NOT_PLAIN.sub(lambda match: ascii(match[0])[1:-1], name)


def clean_name(name: str, archive: Path) -> str:
    """Name of a member as plain text with ``/`` between its parts, none of which is empty or ``.``.

    Raises
    ------
    InputError
        If a part is ``..``.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InputError(
            f"{archive} holds a member called {plain_text(name)!r}, which lies outside of the archive; pack it again"
        )
    return plain_text("/".join(parts))


def is_image_name(name: str) -> bool:
    """True for the name of an image that is neither hidden nor a leftover of Apple's archiver."""
    if not name.lower().endswith(SUFFIXES):
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def suffix_of(name: str) -> str:
    """Suffix of a name, for counting what an archive holds if not images."""
    return plain_text(PurePosixPath(name).suffix) or "(no suffix)"
