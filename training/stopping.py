"""Ctrl-C and SIGTERM as a wish to stop at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """True once a stop signal has come; a second signal, or one inside `at_once`, interrupts immediately.

    Attributes
    ----------
    reason : str
        Name of the signal, empty before.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._at_once = False

    def __bool__(self) -> bool:
        return bool(self.reason)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Block that may be broken off anywhere, since it will be done again: a signal ends it early."""
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            if not self:
                raise
        finally:
            self._at_once = False

    def note(self, number: int, _: FrameType | None) -> None:
        """Signal handler."""
        again = bool(self)
        self.reason = signal.Signals(number).name
        if again or self._at_once:
            raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch the stop signals for the length of the block; one that the caller's shell ignores stays ignored."""
    stop = Stop()
    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop.note) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
