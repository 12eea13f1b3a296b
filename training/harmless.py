"""Work beside a run that must not cost it."""

from __future__ import annotations

from collections.abc import Callable

from datasets.errors import InputError


class Harmless:
    """Does such work: whatever goes wrong is a line for the user, said once until it succeeds again.

    Parameters
    ----------
    what : str
        What there is none of if it fails.
    say : callable
        Takes a line for the user.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._failed = False

    def __call__(self, work: Callable[[], object]) -> bool:
        """Whether the work was done."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever it is
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            if not self._failed:
                self._say(f"warning: no {self._what} for now ({' '.join(reason.split())}); the run goes on")
            self._failed = True
        else:
            self._failed = False
        return not self._failed
