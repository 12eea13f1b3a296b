"""What long work needs of a progress bar, so that only commands know how it is drawn."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: int, /) -> object:
        """Say that `n` more are done."""
        ...

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show `s` behind the bar."""
        ...


class Progress(Protocol):
    """Makes progress bars."""

    def __call__(self, total: int, what: str, *, initial: int = 0) -> AbstractContextManager[Bar]:
        """Give a bar for `what`, of which `initial` of `total` images are done already."""
        ...
