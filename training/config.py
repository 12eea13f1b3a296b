"""Configuration of a run: frozen nested dataclasses; every field has one home, the module that uses it.

`training.settings` has the written form. Architectures, losses and presets are plug-ins, found by their file names.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

from datasets.errors import InputError
from metrics import features, scores
from training import architectures, compute, conditioning, ema, growth, guards, losses, presets
from training.adam import BiasCorrection
from training.architectures import pggan
from training.losses import wgan_gp
from training.pixels import Fading

_MOST_STEPS = 1000  # their images are in memory together


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam, the same for both networks (paper A.1); the learning rate belongs to the growing schedule.

    Attributes
    ----------
    beta1, beta2, epsilon
        Adam's constants.
    bias_correction
        Where Adam's epsilon stands: ``moments``, beside what is corrected (Kingma and Ba's Algorithm 1), or ``rate``,
        beside what is not (both released codes), see `training.adam`.
    reset
        Forget Adam's moments whenever a fade-in begins or ends (both released codes).
    discriminator_steps
        Steps of the discriminator for each step of the generator.
    updates
        ``alternating``: the generator's gradients come from the discriminator as it is after its step, on latents of
        their own. ``joint``: both networks' gradients come from one pass over the same fakes, and then both step (the
        Theano release's CIFAR-10 run).
    """

    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8
    bias_correction: BiasCorrection = "moments"
    reset: bool = True
    discriminator_steps: int = 1
    updates: Literal["alternating", "joint"] = "alternating"

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"optimizer.{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not self.epsilon > 0:
            raise InputError(f"optimizer.epsilon must be above 0, got {self.epsilon}")
        if not 1 <= self.discriminator_steps <= _MOST_STEPS:
            given = self.discriminator_steps
            raise InputError(f"optimizer.discriminator_steps must be from 1 to {_MOST_STEPS}, got {given}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How real images are shown.

    Attributes
    ----------
    resolution
        Finest resolution to train at; None is the data set's own.
    mirror
        Mirror each real image left to right with probability one half.
    fade_reals
        How the reals fade in step with the networks, see `training.pixels.fade`.
    """

    resolution: int | None = None
    mirror: bool = False
    fade_reals: Fading = "float"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnapshotConfig:
    """What is written while the run goes, and how often.

    Attributes
    ----------
    every_kimg
        A checkpoint, a grid of samples and a measurement every so many thousand images.
    log_every_kimg
        A line of losses and speed in log.jsonl.
    keep
        Number of newest checkpoints kept; older ones are removed.
    keep_best, keep_levels
        Keep the checkpoint with the lowest SWD as well, and the last one of every level that was left.
    columns, rows
        Layout of the sample grid.
    metrics
        What is measured of the averaged generator: names of `metrics.scores`, such as fid or kid besides these two.
    metric_images
        Images on each side for that; 0 measures nothing.
    weights
        Files of weights for networks of metrics on features, each ``FILE`` or ``NETWORK=FILE``; the published ones,
        which are looked for and downloaded, where no file is named.
    extractor
        One network for all metrics on features, in place of each one's own.
    report
        Rewrite report.html after every snapshot.
    """

    every_kimg: float = 100.0
    log_every_kimg: float = 5.0
    keep: int = 3
    keep_best: bool = True
    keep_levels: bool = True
    columns: int = 8
    rows: int = 4
    metrics: tuple[str, ...] = ("swd", "ms-ssim")
    metric_images: int = 2048
    weights: tuple[str, ...] = ()
    extractor: str | None = None
    report: bool = True

    def __post_init__(self) -> None:
        for name in ("every_kimg", "log_every_kimg"):
            if not getattr(self, name) >= 0.001:
                raise InputError(f"snapshots.{name} must be 0.001 (one image) or more, got {getattr(self, name)}")
        if self.keep < 1:
            raise InputError(f"snapshots.keep must be 1 or more, got {self.keep}")
        for name in ("columns", "rows"):
            if not 1 <= getattr(self, name) <= 100:
                raise InputError(f"snapshots.{name} must be from 1 to 100, got {getattr(self, name)}")
        if self.metric_images < 0 or self.metric_images == 1:
            raise InputError(f"snapshots.metric_images must be 0 or at least 2, got {self.metric_images}")
        for name in self.metrics:
            if scores.name_of(name) is None:
                raise InputError(f"snapshots.metrics: there is no metric {name}{nearest(name, scores.names())}")
        if self.extractor is not None and self.extractor not in features.names():
            known = nearest(self.extractor, features.names())
            raise InputError(f"snapshots.extractor: there is no network {self.extractor}{known}")

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics by their full names, each once."""
        return tuple(dict.fromkeys(scores.name_of(name) or name for name in self.metrics))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run, together with the data set.

    Attributes
    ----------
    arch, network
        Architecture (a file in training/architectures) and its options.
    loss, objective
        Loss (a file in training/losses) and its constants.
    growth
        The schedule.
    conditioning
        Use of class labels.
    optimizer, ema, data, compute, guards, snapshots
        See the classes.
    seed
        Of the initial weights, of the order of the images and of every other random number.
    """

    arch: str = "pggan"
    network: Any = dataclasses.field(default_factory=pggan.Config)
    loss: str = "wgan_gp"
    objective: Any = dataclasses.field(default_factory=wgan_gp.Config)
    conditioning: conditioning.Config = dataclasses.field(default_factory=conditioning.Config)
    growth: growth.Config = dataclasses.field(default_factory=growth.Config)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    ema: ema.Config = dataclasses.field(default_factory=ema.Config)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    compute: compute.Config = dataclasses.field(default_factory=compute.Config)
    guards: guards.Config = dataclasses.field(default_factory=guards.Config)
    snapshots: SnapshotConfig = dataclasses.field(default_factory=SnapshotConfig)
    seed: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be a whole number from 0 to 2^63 - 1, got {self.seed}")

    @property
    def images_together(self) -> int | None:
        """Images that the networks look at in one group; None: any number is right."""
        group: int | None = getattr(self.network, "stddev_group", None)
        return group


def plugin_names(package: ModuleType) -> list[str]:
    """Names of the plug-ins in a folder such as ``training.architectures``: its file names."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_plugin(package: ModuleType, name: str, what: str) -> Any:
    """Module `name` of a plug-in folder; an unknown name is refused with the known ones."""
    known = plugin_names(package)
    if name not in known:
        raise InputError(f"{what} {name!r} does not exist; choose one of {', '.join(known)}{_near(name, known)}")
    return importlib.import_module(f"{package.__name__}.{name}")


def nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """End of an error message: the known name that is nearest to `name`, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; there are {', '.join(prefix + one for one in known)}" if known else ""


def load_architecture(config: Config) -> architectures.ArchitectureModule:
    """Module of the configured architecture."""
    module: architectures.ArchitectureModule = load_plugin(architectures, config.arch, "arch")
    return module


def load_loss(config: Config) -> losses.LossModule:
    """Module of the configured loss."""
    module: losses.LossModule = load_plugin(losses, config.loss, "loss")
    return module


def load_preset(name: str) -> Config:
    """Configuration that the preset called `name`, one of `preset_names`, returns."""
    known = {key: preset for module in plugin_names(presets) for key, preset in _presets_of(module).items()}
    if name not in known:
        raise InputError(f"preset {name!r} does not exist; choose one of {', '.join(known)}{_near(name, known)}")
    return known[name]()


def preset_names() -> list[str]:
    """Names of all presets."""
    return [name for module in plugin_names(presets) for name in _presets_of(module)]


def _presets_of(module: str) -> Mapping[str, Callable[[], Config]]:
    found: Mapping[str, Callable[[], Config]] = importlib.import_module(f"{presets.__name__}.{module}").PRESETS
    return found


def _near(name: str, known: Iterable[str]) -> str:
    """End of an error message that has listed what there is: what comes near, if something does."""
    names = list(known)
    return nearest(name, names) if difflib.get_close_matches(name, names, cutoff=0.5) else ""
