"""What the guards of a run found and did, from events.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import InputError
from metrics.report.fields import Row, check_number, read_lines, whole_number


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a guard found.

    Attributes
    ----------
    number : int
        From 1, in the order of time.
    images : int
        Images shown when it was found.
    back_to : int or None
        Images shown at the checkpoint that the run went back to, if it did.
    seconds : float or None
        Training time.
    found, done : str
        What, and what was done about it.
    """

    number: int
    images: int
    back_to: int | None
    seconds: float | None
    found: str
    done: str

    @property
    def place(self) -> int:
        """Where it belongs on an axis of images shown: what came after a checkpoint it went back to was forgotten."""
        return self.images if self.back_to is None else self.back_to


def read_events(path: Path) -> list[Event]:
    """Read events.jsonl; an absent file has none.

    Raises
    ------
    InputError
        If a line is damaged.
    """
    return [_event(number, row, path) for number, row in enumerate(read_lines(path), start=1)]


def marks(events: Sequence[Event], end: float, apart: float = 7.0, least: float = 0.8) -> list[tuple[float, str]]:
    """Places of events in percent of an axis that ends at `end`, with their numbers.

    Of events within `least` percent the first is marked; a number is left out where it would lie within `apart`
    percent of the one before.
    """
    made: list[tuple[float, str]] = []
    labelled = -apart
    for event in sorted(events, key=lambda event: (event.place, event.number)):
        left = min(100.0, 100 * event.place / end) if end > 0 else 0.0
        if made and left - made[-1][0] < least:
            continue
        label = str(event.number) if left - labelled >= apart else ""
        labelled = left if label else labelled
        made.append((round(left, 2), label))
    return made


def _event(number: int, row: Row, path: Path) -> Event:
    where = f"{path}, line {number}"
    for field in ("found", "done"):
        if not isinstance(row.get(field), str):
            raise InputError(f"{where}: {field} is {row.get(field)!r}, not text; correct or remove the line")
    check_number(row.get("seconds"), "seconds", where)
    return Event(
        number=number,
        images=row["images"],
        back_to=None if row.get("back_to") is None else whole_number(row, "back_to", where),
        seconds=row.get("seconds"),
        found=row["found"],
        done=row["done"],
    )
