"""The report of a run, rewritten while the run goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from metrics.report import KeptPictures, write_report
from metrics.report.standing import Standing
from training.harmless import Harmless

_MOST_OF_TIME = 0.02  # share of a run's time that its reports may take
_LONGEST_PAUSE = 60.0  # seconds: whoever looks at a run should see how it stands


class LiveReport:
    """Keeps report.html of a run directory up to date; whatever goes wrong with it is a line for the user, no more.

    Parameters
    ----------
    run : Path
        The run directory.
    wanted : bool
        False: writes nothing.
    say : callable
        Takes a line for the user.
    """

    def __init__(self, run: Path, *, wanted: bool, say: Callable[[str], None]) -> None:
        self._run, self._wanted = run, wanted
        self._try = Harmless("report of the run", say)
        self._kept: KeptPictures = {}  # a grid of samples is read once
        self._not_before = 0.0
        self._measured = False  # whether a report has shown measurements

    def write(self, standing: Standing, *, at_once: bool = False) -> None:
        """Write the report, unless the one before has taken so long that this one comes too soon.

        What it takes is this thread's own time on a processor: on a busy machine waiting is not work. The first report
        with measurements is always written.

        Parameters
        ----------
        standing : str
            ``going`` or ``stopped``; that a run is finished is seen from its log.
        at_once : bool
            Write it in any case, and without a pause after it: the first report of a run imports what all of them need.
        """
        if not self._wanted:
            return
        measured = (self._run / "metrics.jsonl").is_file()
        if time.monotonic() < self._not_before and not at_once and measured <= self._measured:
            return
        begun = time.thread_time()
        if self._try(lambda: write_report(self._run, standing=standing, kept=self._kept)):
            self._measured = measured
        if not at_once:
            pause = min((time.thread_time() - begun) / _MOST_OF_TIME, _LONGEST_PAUSE)
            self._not_before = time.monotonic() + pause
