"""An answer at the head of the report, and how numbers stand in its sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metrics.report.scales import number_text


@dataclass
class Answer:
    """Answer to one question: a verdict of a few words, its tone (good, watch, bad or plain) and the reasons."""

    question: str
    verdict: str
    tone: str
    sentences: list[str] = field(default_factory=list)


def with_error(found: Mapping[str, Any]) -> str:
    """Value of a result, of a floor or of a reference, with its standard error if it has one: 12.3 ± 0.4."""
    error = found.get("standard_error")
    return number_text(found["value"]) + (f" \u00b1 {number_text(error, 2)}" if error else "")
