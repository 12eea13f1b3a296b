"""The metrics: one module per metric, found by listing this folder; ``ms_ssim.py`` is the metric ``ms-ssim``.

A metric module holds pure functions and one class called ``Score``, a subclass of the `Score` below. To add a metric,
add a file: the command line, `metrics.evaluate` and the contract tests (tests/contracts/test_metrics.py) pick it up.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from datasets.errors import InputError

Side = Literal["real", "fake"]


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: float | None = 1) -> object:
        """Move on by `n`."""
        ...


class Progress(Protocol):
    """Makes progress bars; `datasets.console.progress` is one."""

    def __call__(self, total: int | None, what: str, unit: str = "img") -> contextlib.AbstractContextManager[Bar]:
        """Bar that runs to `total` in the given unit."""
        ...


class _NoBar:
    def update(self, n: float | None = 1) -> None: ...


def no_progress(total: int | None, what: str, unit: str = "img") -> contextlib.AbstractContextManager[Bar]:
    """Show nothing."""
    del total, what, unit
    return contextlib.nullcontext(_NoBar())


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of one metric: a keyword of its ``Score`` and, as ``--name``, of its command."""

    name: str
    default: Any
    help: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many images a metric is measured on.

    Attributes
    ----------
    num_images : int
        Images of each side behind the value.
    wanted : mapping of side to int
        Images of each side to give to `Score.update`: more than `num_images` where a noise floor is measured too.
    warnings : tuple of str
        What a reader of the number must know.
    """

    num_images: int
    wanted: Mapping[Side, int]
    warnings: tuple[str, ...] = ()


class Score(abc.ABC):
    """One metric while it is being computed: update with batches, merge with what others have seen, compute.

    A metric of one set (``two_sets`` False) is given that set as the side ``"fake"``. No method draws from a global
    random stream: equal images, plan and seed give equal values on any batch size.

    Parameters
    ----------
    plan : Plan
        From `plan` of the same class.
    resolution : int
        Side of the images.
    seed : int
        Of everything random in the metric's protocol.
    keep_real : bool
        True if `clear` ("fake") will be followed by other fakes: what is derived from the reals may then be kept.
    """

    title: ClassVar[str]
    """What the value is, for the head of a table, with its factor if it has one."""
    summary: ClassVar[str]
    """One or two sentences for ``--help``."""
    two_sets: ClassVar[bool]
    """True if the metric compares real with fake images, False if it measures one set."""
    needs: ClassVar[str] = "pixels"
    """What `update` is given: ``"pixels"`` (uint8 NCHW), or the name of a feature extractor."""
    options: ClassVar[tuple[Option, ...]] = ()
    """Keywords of the constructor that users may set."""

    def __init__(self, plan: Plan, resolution: int, *, seed: int, keep_real: bool = False) -> None:
        self.plan_of_images, self.resolution, self.seed, self.keep_real = plan, resolution, seed, keep_real

    @classmethod
    @abc.abstractmethod
    def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
        """Choose how many images to measure on, before any is read.

        Parameters
        ----------
        available : mapping of side to int or None
            Images of every side; None if there are as many as are asked for.
        resolution : int
            Side of the images.
        num_images : int, optional
            What the user asks for; the protocol's number, as far as there are images, if not given.

        Raises
        ------
        InputError
            If the metric cannot be measured on such images, or on so few.
        """

    @abc.abstractmethod
    def update(self, side: Side, images: NDArray[np.uint8], first: int) -> None:
        """Take images number `first` and following of a side, in the order of the measurement, each exactly once."""

    @abc.abstractmethod
    def merge(self, other: Self) -> None:
        """Take over what another object of the same plan and seed has seen of other images."""

    @abc.abstractmethod
    def clear(self, side: Side) -> None:
        """Forget the images of a side."""

    @abc.abstractmethod
    def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Value and all that belongs to it, ready for JSON.

        Returns
        -------
        dict
            ``value`` (finite float), ``num_images``, ``protocol`` (dict of every number that the value depends on),
            ``warnings`` (list of str), and what else the metric has to say.
        """


def names() -> list[str]:
    """Names of all metrics."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Score]:
    """Class of the metric called `name`.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if name not in names():
        raise InputError(f"there is no metric called {name}; choose from {', '.join(names())}")
    score: type[Score] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").Score
    return score
