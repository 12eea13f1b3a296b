"""Two results of one metric: whether they may be compared, and whether the difference is larger than its error."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from datasets.errors import InputError
from metrics.subsampling import difference_error

_MUST_AGREE = ("num_images", "protocol")
_OF_NETWORKS = ("network", "weights", "resize", "dtype", "code_version", "feature_size")  # as far as both say it
_MANY = 1e6  # degrees of freedom, as good as infinitely many
_CHANCE = 0.05  # share of comparisons of equal generators that are called different


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What two results say together.

    Attributes
    ----------
    metric : str
    values : tuple of float
        Of the first and the second result.
    error : float or None
        Standard error of their difference; None if a result has none.
    limit : float
        Standard errors beyond which a difference is more than chance, by Student's t.
    obstacles : tuple of str
        Why the values cannot be compared; empty if they can.
    notes : tuple of str
        What a reader should know though they can.
    """

    metric: str
    values: tuple[float, float]
    error: float | None
    limit: float
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Second value minus first."""
        return self.values[1] - self.values[0]

    @property
    def deviations(self) -> float | None:
        """Difference in standard errors of it, without its sign; None if no error is known."""
        if self.error is None:
            return None
        if self.error == 0:
            return 0.0 if self.difference == 0 else math.inf
        return abs(self.difference) / self.error

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.obstacles:
            return "not comparable"
        if self.deviations is None:
            return "comparable; no standard error is known, so whether the difference means something is open"
        times = "without error" if math.isinf(self.deviations) else f"{self.deviations:.1f} standard errors"
        if self.deviations > self.limit:
            return f"comparable; the difference is {times}: more than chance explains"
        return f"comparable; the difference is {times}: chance explains it"

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        deviations = self.deviations
        return {
            "metric": self.metric,
            "values": list(self.values),
            "difference": self.difference,
            "standard_error": self.error,
            "limit": self.limit,
            "deviations": None if deviations is None or math.isinf(deviations) else deviations,
            "comparable": not self.obstacles,
            "obstacles": list(self.obstacles),
            "notes": list(self.notes),
            "verdict": self.verdict,
        }


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Comparison:
    """Compare two results of `metrics.evaluate.evaluate`.

    They are comparable if metric, number of images, protocol, feature network and real images are the same. Where both
    measured the same reals in the same order (equal seeds), the error is that of the differences of their replicates,
    which is free of what the reals have in common. Otherwise the errors are taken as independent, which overstates that
    of the difference where both results share the reals. Of different metrics nothing else is looked at.
    """
    values = float(first["value"]), float(second["value"])
    names = [str(result.get("metric")) for result in (first, second)]
    if names[0] != names[1]:
        obstacle = f"they are of different metrics, {names[0]} and {names[1]}; compare results of one metric"
        return Comparison(" / ".join(names), values, None, float(stdtrit(_MANY, 1 - _CHANCE / 2)), (obstacle,), ())
    obstacles = [
        f"{field} differs: {_brief(first.get(field))} and {_brief(second.get(field))}"
        for field in _MUST_AGREE
        if first.get(field) != second.get(field)
    ]
    networks = [result.get("extractor") or {} for result in (first, second)]
    obstacles += [
        f"{field} of the features differs: {_brief(networks[0][field])} and {_brief(networks[1][field])}"
        for field in _OF_NETWORKS
        if field in networks[0] and field in networks[1] and networks[0][field] != networks[1][field]
    ]
    reals = [(result.get("real") or {}).get("digest") for result in (first, second)]
    if "floor" in first and reals[0] != reals[1]:
        obstacles.append("the real images differ")
    notes = []
    sizes = [_size(result.get("fake") or {}) for result in (first, second)]
    if sizes[0] != sizes[1] and None not in sizes:
        obstacles.append(f"the images differ in size: {sizes[0]} and {sizes[1]}")
    elif sizes[0] != sizes[1]:
        notes.append("one result is of a file of features, which does not tell the size of its images")
    if first.get("versions") != second.get("versions"):
        notes.append("library versions differ")
    devices = [network.get("device") for network in networks]
    if None not in devices and devices[0] != devices[1]:
        notes.append("features were made on different devices, which moves their last digits")
    if first.get("num_images") is None and second.get("num_images") is None:
        notes.append("how many images were measured is not known, which may decide the values")
    if first.get("seed") != second.get("seed"):
        notes.append(f"seeds differ: {first.get('seed')} and {second.get('seed')}")
    fakes = [(result.get("fake") or {}).get("digest") for result in (first, second)]
    if fakes[0] is not None and fakes[0] == fakes[1]:
        notes.append("both measured the same images")
    error, freedom = _error_of_difference(first, second)
    limit = float(stdtrit(freedom, 1 - _CHANCE / 2))
    return Comparison(names[0], values, error, limit, tuple(obstacles), tuple(notes))


def _size(images: Mapping[str, Any]) -> str | None:
    """What size images of a result have; None if it is of features, whose images are not known."""
    if images.get("resolution") is not None:
        return f"{images['resolution']}x{images['resolution']} pixels"
    return None if images.get("kind") in ("features", "statistics") else "several sizes"


def _error_of_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[float | None, float]:
    """Standard error of the difference, None if it is not known, and its degrees of freedom."""
    shared = [((result.get("real") or {}).get("digest"), result.get("seed")) for result in (first, second)]
    if None not in shared[0] and shared[0] == shared[1]:
        paired = difference_error(first.get("replicates"), second.get("replicates"))
        if paired is not None:
            return paired
    errors = [result.get("standard_error") for result in (first, second)]
    return None if None in errors else math.hypot(*(float(one) for one in errors if one is not None)), _MANY


def match(
    first: list[dict[str, Any]], second: list[dict[str, Any]], *paths: Path
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of results of the same metric, or the only two there are.

    Raises
    ------
    InputError
        If the files have no metric in common.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    by_name = {result["metric"]: result for result in second}
    pairs = [(result, by_name[result["metric"]]) for result in first if result["metric"] in by_name]
    if not pairs:
        raise InputError(f"{paths[0]} and {paths[1]} have no metric in common; measure both by the same")
    return pairs


def read_results(path: Path) -> list[dict[str, Any]]:
    """Results that ``--json`` wrote: one, or a list of them.

    Raises
    ------
    InputError
        If the file is missing or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a file that metrics ... --json wrote") from None
    except ValueError:
        raise InputError(f"{path} is not JSON; name a file that metrics ... --json wrote") from None
    results = found if isinstance(found, list) else [found]
    for result in results:
        if not isinstance(result, dict) or "metric" not in result or not isinstance(result.get("value"), (int, float)):
            raise InputError(f"{path} holds no result of a metric; name a file that metrics ... --json wrote")
    return results


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."
