"""Which images of a source are good enough: large enough, sharp enough, not the same picture once more, the best."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError
from toolkit.measurement import FINGERPRINT_BITS, Measurement, distance, measure

__all__ = ["Chooser", "Criteria", "Measurement", "kind_of", "measure", "order_by_score", "original_of"]

NEAR_DUPLICATES: Final = 16  # bits of 256 that may differ by default: see docs/choosing.md
MAX_NEAR_DUPLICATES: Final = 32
TOO_SMALL, BLURRED, NEAR_DUPLICATE, BAD = "too small", "blurred", "near-duplicate", "bad"
NOT_BEST, NO_FACE, FACE = "not among the best", "no face", "face left out"  # the last two are a source's own
KINDS: Final = (TOO_SMALL, BLURRED, NEAR_DUPLICATE, NO_FACE, FACE, NOT_BEST)

_WORDS = FINGERPRINT_BITS // 64 + 1
_FIRST_ROOM = 1 << 10  # images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Criteria:
    """What an image has to meet; None: anything will do.

    Attributes
    ----------
    min_size : int or None
        Least length of the shorter side, in pixels.
    min_sharpness : float or None
        Least sharpness, see `toolkit.measurement`; 1.0 is a good start.
    near_duplicates : int or None
        Of images whose fingerprints differ by at most so many of 256 bits, only the first stays.
    best : int or None
        Of the images that meet all else, so many of highest score stay, see `toolkit.celebahq.quality`; of equal scores
        the first.

    Raises
    ------
    InputError
        If a value cannot be a limit.
    """

    min_size: int | None = None
    min_sharpness: float | None = None
    near_duplicates: int | None = None
    best: int | None = None

    def __post_init__(self) -> None:
        if self.min_size is not None and self.min_size < 1:
            raise InputError(f"--min-size {self.min_size} is no length; give a number of pixels from 1 up")
        if self.min_sharpness is not None and not 0 < self.min_sharpness < math.inf:
            raise InputError(f"--min-sharpness {self.min_sharpness} is no limit; give a number above 0, such as 1.0")
        if self.near_duplicates is not None and not 0 <= self.near_duplicates <= MAX_NEAR_DUPLICATES:
            raise InputError(
                f"--near-duplicates {self.near_duplicates} is no limit; give how many bits of 256 may differ, "
                f"from 0 to {MAX_NEAR_DUPLICATES}, such as {NEAR_DUPLICATES}"
            )
        if self.best is not None and self.best < 1:
            raise InputError(f"--best {self.best} leaves nothing; give a number of images from 1 up")

    def too_small(self, width: int, height: int) -> str | None:
        """Say why an image of so many pixels is left out, or None: that is known without looking at its pixels."""
        if self.min_size is None or min(width, height) >= self.min_size:
            return None
        return f"{TOO_SMALL}: {width}x{height}, and the shorter side must have {self.min_size} pixels or more"


class Chooser:
    """Says of one image after the other, in source order, whether and why it is left out.

    What it says depends on the calls so far and on nothing else. An image is compared with those that stayed, not with
    those that were left out: so of a series in which each picture is like the one before, more than one stays.

    Fingerprints are looked up by their parts [1]_: if two differ in at most d bits and each is split into d + 1 parts,
    at least one part is equal. 200,000 images take about half a minute in all with the default limit, and less than a
    kilobyte of memory each.

    References
    ----------
    .. [1] M. Norouzi, A. Punjani, D. J. Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
    """

    def __init__(self, criteria: Criteria) -> None:
        self._criteria = criteria
        self._names: list[str] = []  # of the images that stayed
        self._fingerprints = np.zeros((_FIRST_ROOM, _WORDS), np.uint64)  # of these and some room for more
        num_parts = (criteria.near_duplicates or 0) + 1
        edges = [FINGERPRINT_BITS * part // num_parts for part in range(num_parts + 1)]
        self._parts = [(low, (1 << high - low) - 1) for low, high in itertools.pairwise(edges)]
        self._numbers: list[dict[int, array[int]]] = [{} for _ in self._parts]  # value of the part -> who has it

    def reason(self, index: int, name: str, width: int, height: int, measurement: Measurement | None) -> str | None:
        """Say why an image is left out, or None: it stays.

        Call it only for images that are good otherwise, since one that stays shuts its near-duplicates out.

        Parameters
        ----------
        index : int
            Number of the image in the source; nothing but the order of the calls depends on it.
        name : str
            Its name in the source.
        width, height : int
            In pixels.
        measurement : Measurement or None
            Of its pixels; None will do if only `Criteria.min_size` is set.
        """
        limits = self._criteria
        too_small = limits.too_small(width, height)
        if too_small is not None:
            return too_small
        if limits.min_sharpness is None and limits.near_duplicates is None:
            return None
        assert measurement is not None, f"image {index}: criteria about pixels need a measurement"
        if limits.min_sharpness is not None and measurement.sharpness < limits.min_sharpness:
            return f"{BLURRED}: sharpness {_below(measurement.sharpness, limits.min_sharpness)}"
        if limits.near_duplicates is not None:
            nearest = self._nearest(measurement.fingerprint, limits.near_duplicates)
            if nearest is not None:
                bits, first = nearest
                at_most = f"at most {limits.near_duplicates} may"
                return f"{NEAR_DUPLICATE}: {bits} of {FINGERPRINT_BITS} bits differ, {at_most}, of {self._names[first]}"
            self._keep(name, measurement.fingerprint)
        return None

    def _nearest(self, fingerprint: int, limit: int) -> tuple[int, int] | None:
        """Distance and number of the nearest image that stayed, the first of several, if it is within `limit`."""
        parts = zip(self._parts, self._numbers, strict=True)
        alike = [found for (low, mask), numbers in parts if (found := numbers.get(fingerprint >> low & mask))]
        if not alike:
            return None
        numbers = np.concatenate(alike)
        words = _words(fingerprint)
        bits = np.bitwise_count(self._fingerprints[numbers, :-1] ^ words[:-1]).sum(axis=1)
        near = set(numbers[bits <= limit].tolist())
        distances = ((distance(fingerprint, _integer(self._fingerprints[number])), number) for number in near)
        return min(((bits, number) for bits, number in distances if bits is not None), default=None)

    def _keep(self, name: str, fingerprint: int) -> None:
        number = len(self._names)
        self._names.append(name)
        if number == len(self._fingerprints):
            self._fingerprints = np.concatenate([self._fingerprints, np.zeros_like(self._fingerprints)])
        self._fingerprints[number] = _words(fingerprint)
        for (low, mask), numbers in zip(self._parts, self._numbers, strict=True):
            numbers.setdefault(fingerprint >> low & mask, array("q")).append(number)


def _words(fingerprint: int) -> NDArray[np.uint64]:
    """The structure of a fingerprint, lowest bits first, and in the last word its colour."""
    return np.frombuffer(fingerprint.to_bytes(8 * _WORDS, "little"), "<u8")


def _integer(words: NDArray[np.uint64]) -> int:
    return int.from_bytes(words.astype("<u8").tobytes(), "little")


def order_by_score(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the images, highest score first, equal scores in source order; last those without one, NaN."""
    return np.argsort(-scores, kind="stable")


def not_best(score: float, place: int, num_images: int, best: int, last: float) -> str:
    """Reason for an image whose score is number `place` of `num_images`, when the `best` stay, the last with `last`."""
    number = f"{place:,} of {num_images:,} images, and the best {best:,} stay"
    return f"{NOT_BEST}: score {score:.6g} is number {number}; the last of them has {last:.6g}"


def kind_of(reason: str) -> str:
    """Why an image was left out, in a word or two: one of `KINDS`, and `BAD` for all the rest."""
    kind = reason.partition(":")[0]
    return kind if kind in KINDS else BAD


def original_of(reason: str) -> str | None:
    """Name of the image that stayed in place of a near-duplicate, from the reason that `Chooser` gave."""
    match = re.fullmatch(rf"{NEAR_DUPLICATE}: \d+ of \d+ bits differ, at most \d+ may, of (.*)", reason, re.DOTALL)
    return match[1] if match else None


def _below(value: float, limit: float) -> str:
    """Both numbers, to as many digits as show that the first is smaller."""
    digits = 2
    while float(f"{value:.{digits}f}") >= float(f"{limit:.{digits}f}") and digits < 17:
        digits += 1
    return f"{value:.{digits}f} is below {limit:.{digits}f}"
