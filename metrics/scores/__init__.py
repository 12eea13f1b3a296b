"""The metrics: one module per metric, found by listing this folder; ``ms_ssim.py`` is the metric ``ms-ssim``.

A metric module holds pure functions and one class called ``Score``, a subclass of the `Score` below. To add a metric,
add a file: the command line, `metrics.evaluate` and the contract tests (tests/contracts/test_metrics.py) pick it up.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from numpy.typing import NDArray

from datasets.errors import InputError
from metrics.gaussian import Gaussian

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
    """An option of one metric: a keyword of its ``Score`` and, as ``--name``, of its command.

    Attributes
    ----------
    name : str
    default : int, float or str
        Values are of its type.
    help : str
    at_least : float, optional
        Smallest value allowed.
    choices : tuple of str
        All values allowed, if there are only some.
    """

    name: str
    default: Any
    help: str
    at_least: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        """Refuse a value that is not allowed.

        Raises
        ------
        InputError
        """
        if self.choices:
            if value not in self.choices:
                raise InputError(f"--{self.name} must be one of {', '.join(self.choices)}, got {value}")
        elif isinstance(self.default, int) and not isinstance(value, int):
            raise InputError(f"--{self.name} must be a whole number, got {value}")
        elif self.at_least is not None and not self.at_least <= value < math.inf:  # this way round for nan
            raise InputError(f"--{self.name} must be at least {self.at_least}, got {value}")


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
    num_reals : int or None
        Reals behind the value, the first of those wanted; all of them if None.
    """

    num_images: int
    wanted: Mapping[Side, int]
    warnings: tuple[str, ...] = ()
    num_reals: int | None = None


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
    alias: ClassVar[str | None] = None
    """A second, shorter name of the command."""
    needs: ClassVar[Literal["pixels", "features", "logits"]] = "pixels"
    """What `update` is given: pixels (uint8 NCHW), or what a network makes of them (float32, one row an image)."""
    extractor: ClassVar[str | None] = None
    """That network in the metric's protocol: a name in `metrics.features`."""
    own_network_only: ClassVar[bool] = False
    """True if its features mean something to it from that network alone, and of images of that network's input size:
    a metric of special images, which is asked for by name or by naming the weights."""
    stem: ClassVar[str | None] = None
    """Name of the metric on the features of another network, before that network's; its own name if not given."""
    takes_statistics: ClassVar[bool] = False
    """True if mean and covariance of the features will do, see `use_statistics`."""
    options: ClassVar[tuple[Option, ...]] = ()
    """Keywords of the constructor that users may set."""

    def __init__(self, plan: Plan, resolution: int, *, seed: int, keep_real: bool = False) -> None:
        self.plan_of_images, self.resolution, self.seed, self.keep_real = plan, resolution, seed, keep_real
        self.notes: tuple[str, ...] = ()  # for the user

    @classmethod
    def name_with(cls, name: str, extractor: str) -> str:
        """Name of the value on the features of a network: ``fid``, but ``fd-vgg16``, so that nobody mistakes it."""
        return name if extractor == cls.extractor else f"{cls.stem or name}-{extractor}"

    @classmethod
    def network(cls, asked_for: str | None) -> str | None:
        """Network of the features if a user asks for this one for all metrics; None if it looks at pixels."""
        return cls.extractor if cls.own_network_only else asked_for or cls.extractor

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

    def recall(self, folder: Path, digest: str) -> int:
        """Look up in a cache what was derived from the reals before, and keep there what will be.

        Parameters
        ----------
        folder : Path
            Of the cache.
        digest : str
            Of the real images.

        Returns
        -------
        int
            Reals that are still wanted; the first of those of the plan.
        """
        del folder, digest
        return self.plan_of_images.wanted.get("real", 0)

    @abc.abstractmethod
    def update(self, side: Side, images: NDArray[Any], first: int) -> None:
        """Take images number `first` and following of a side, in the order of the measurement, each exactly once."""

    def use_statistics(self, side: Side, gaussian: Gaussian) -> None:
        """Take mean and covariance in place of the features of a side."""
        raise ValueError(f"{type(self).__module__} does not take statistics of the {side} features ({gaussian.count})")

    @abc.abstractmethod
    def pieces(self) -> Iterator[Any]:
        """Everything this object has seen, in parts that can be pickled and are small enough to send."""

    @abc.abstractmethod
    def take(self, piece: Any) -> None:
        """Take over a part of what another object of the same plan and seed has seen of other images."""

    def merge(self, other: Self) -> None:
        """Take over everything that another object of the same plan and seed has seen of other images."""
        for piece in other.pieces():
            self.take(piece)

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


def general_names() -> list[str]:
    """Names of the metrics of any images: all but those with a network of their own."""
    return [name for name in names() if not load(name).own_network_only]


def options_of_all(taken: Collection[str] = ()) -> dict[str, tuple[str, Option]]:
    """Options of all metrics on one command line.

    Parameters
    ----------
    taken : collection of str
        Names that the command has for itself.

    Returns
    -------
    dict of str to (str, Option)
        Name on the command line -> metric and its option: ``subsets``, but ``prd-repeats`` and
        ``geometry-score-repeats``, since several metrics have such an option.
    """
    declared = [(name, option) for name in names() for option in load(name).options]
    every = [*taken, *(option.name for _, option in declared)]
    return {
        option.name if every.count(option.name) == 1 else f"{name}-{option.name}": (name, option)
        for name, option in declared
    }


def name_of(name: str) -> str | None:
    """Name of the metric that goes by this name or alias; None if there is none."""
    if name in names():
        return name
    return next((known for known in names() if load(known).alias == name), None)


def title_of(measured: str) -> str:
    """Title of a value by the name that `Score.name_with` gave it."""
    if measured in names():
        return load(measured).title
    for name in sorted(names(), key=len, reverse=True):  # fid-infinity before fid
        stem = load(name).stem or name
        if measured.startswith(f"{stem}-"):
            return f"{load(name).stem or load(name).title} on features of {measured.removeprefix(f'{stem}-')}"
    return measured


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
