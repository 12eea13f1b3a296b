"""A JSONL log as a CSV table, for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from datasets.atomic import write_text
from training.harmless import Harmless


def write_csv(log: Path, out: Path) -> None:
    """Write a log of JSON lines as a table, atomically; nothing if there is no log.

    Every plain field (number, text, truth value) is a column, in the order in which fields first appear; a field that
    is missing or null is empty. The table follows from the log alone, so a run that steps back rewrites it.

    Parameters
    ----------
    log : Path
        ``log.jsonl`` or ``metrics.jsonl`` of a run. A last line that a kill tore is left out.
    out : Path
        The CSV file.
    """
    if not log.is_file():
        return
    rows = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        rows.append({key: value for key, value in record.items() if not isinstance(value, dict | list)})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())


class LiveTable:
    """Keeps the table of a log up to date; whatever goes wrong with it is a line for the user, no more.

    Parameters
    ----------
    log, out : Path
        As of `write_csv`.
    wanted : bool
        False: writes nothing.
    say : callable
        Takes a line for the user.
    """

    def __init__(self, log: Path, out: Path, *, wanted: bool, say: Callable[[str], None]) -> None:
        self._log, self._out, self._wanted = log, out, wanted
        self._try = Harmless(out.name, say)

    def write(self) -> None:
        """Write the table as the log stands."""
        if self._wanted:
            self._try(lambda: write_csv(self._log, self._out))
