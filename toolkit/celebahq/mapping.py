"""The mapping table: which photograph every row of a data set comes from, as ``OUT.mapping.csv`` beside it.

One line for every row, in their order, below a header:

``row``             number of the row in the data set, from 0
``idx``             number of the image in CelebA-HQ, as ``image_list.txt`` counts
``orig_idx``        number of the photograph in CelebA, from 0
``file``            name of the photograph; with ``#2`` behind it, the second face in it
``split``           part of CelebA that it belongs to: train, val or test
``proc_md5``        MD5 of the pixels (3, 1024, 1024) before the delta, by ``image_list.txt``
``final_md5``       MD5 of the released pixels, by ``image_list.txt``
``match``           ``exact``: the row has that MD5; ``near``: its base is not the recipe's to the bit, and the delta
                    was applied where it belongs to half a pixel; ``near?``: that could not be told
``off_by``          of near rows, grey levels by which the base is off at least, as far as that shows

Without deltas ``idx``, the MD5s, ``match`` and ``off_by`` are empty, and for photographs that are not CelebA's so are
``orig_idx`` and ``split``.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from toolkit.celebahq.image_list import split_of
from toolkit.celebahq.subset import celeba_number
from toolkit.ledger import Entry

COLUMNS: Final = ("row", "idx", "orig_idx", "file", "split", "proc_md5", "final_md5", "match", "off_by")
MATCHES: Final = ("exact", "near", "near?")
LARGE: Final = 8  # levels; rows that are off by more are worth a look


def path_of(data_set: Path) -> Path:
    """Path of the mapping table of a data set."""
    return data_set.with_name(f"{data_set.name}.mapping.csv")


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write the table of a data set with these entries in its ledger into a file, not atomically."""
    lines = sorted((line for entry in entries for line in _lines(entry)), key=lambda line: int(line["row"]))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(lines)


def _lines(entry: Entry) -> list[dict[str, Any]]:
    known: dict[str, Any] = {name: entry.details[name] for name in COLUMNS[1:] if name in entry.details}
    near = entry.details.get("near")
    if near is not None:
        known["match"] = "near" if near["place_confirmed"] else "near?"
        known["off_by"] = near["difference_at_least"]
    number = celeba_number(entry.path.partition("#")[0])
    if number is not None:
        known = {"orig_idx": number, "split": split_of(number), **known}
    return [{"file": entry.path, **known, "row": row} for row in entry.rows]


def count_matches(path: Path) -> dict[str, int]:
    """Number of rows for each kind of match in a table, see `MATCHES`; nothing without deltas."""
    found = Counter(line["match"] for line in _read(path))
    return {match: found[match] for match in MATCHES} if set(found) - {""} else {}


def far_off(path: Path) -> list[str]:
    """Files of the near rows in a table whose base is seen to be off by more than `LARGE` levels."""
    return [line["file"] for line in _read(path) if line["off_by"] and int(line["off_by"]) > LARGE]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
