"""Results that were measured beside the training, with ``metrics ... --json``: a picture and a row each."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from metrics.report.scales import number_text

PATTERN = "evaluation*.json"
"""Files of a run directory that its report shows by itself."""


@dataclass(frozen=True)
class Evaluation:
    """What one file says.

    Attributes
    ----------
    name : str
        The file's.
    rows : list of dict
        For every metric its name, value, floor or reference, number of images, the sets, and warnings.
    pictures : list of str
        A plot of each as a data address.
    """

    name: str
    rows: list[dict[str, str]]
    pictures: list[str]


def read_evaluations(run: Path, others: Sequence[Path] = ()) -> list[Evaluation]:
    """Read the results in a run directory (`PATTERN`) and in other files.

    Raises
    ------
    InputError
        If a file holds something else than results.
    """
    files = {path.resolve(): path for path in (*sorted(run.glob(PATTERN)), *others)}  # each once
    return [_read(path) for path in files.values()]


def _read(path: Path) -> Evaluation:
    # Imported here, since most reports have none: the metrics themselves and what they need.
    from metrics import plots, scores
    from metrics.comparison import read_results

    results = read_results(path)
    try:
        rows = [_row(result, scores.title_of(result["metric"])) for result in results]
        pictures = [plots.svg([result]) for result in results]
    except (AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} holds a result that is damaged ({reason}); measure it again") from None
    return Evaluation(path.name, rows, [_address(picture) for picture in pictures])


def _row(result: Mapping[str, Any], title: str) -> dict[str, str]:
    beside = result.get("floor") or result.get("reference") or {}
    number, sets = result.get("num_images"), [(result.get(side) or {}).get("name") for side in ("fake", "real")]
    return {
        "metric": title,
        "value": _with_error(result),
        "reals": _with_error(beside) if beside else "",
        "images": "unknown" if number is None else f"{number:,}",
        "sets": " against ".join(Path(name).name for name in sets if name),
        "warnings": "; ".join(map(str, result.get("warnings") or [])),
    }


def _with_error(found: Mapping[str, Any]) -> str:
    value, error = float(found["value"]), found.get("standard_error")
    if not math.isfinite(value):
        raise ValueError("a value is not finite")
    return number_text(value, 4) + ("" if error is None else f" \u00b1 {number_text(float(error), 2)}")


def _address(picture: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode('ascii')}"
