"""Our metrics with the interface of torchmetrics: ``update(images, real)``, ``compute()``, ``reset()``.

Where torchmetrics is installed, `ImageMetric` is a ``torchmetrics.Metric``: it can be part of a ``MetricCollection``,
and gathers what all processes of a distributed run have seen before it computes. Elsewhere it works alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import InputError
from metrics import features, scores
from metrics.arrays import ListImageSet
from metrics.features import Extractor
from metrics.resize import Images
from metrics.scores import Side


class _Alone:
    """What is needed of ``torchmetrics.Metric`` in a single process."""

    def add_state(self, name: str, default: list[Tensor], dist_reduce_fx: str) -> None:
        """Make an empty list of tensors."""
        del dist_reduce_fx
        setattr(self, name, default)

    def reset(self) -> None:
        """Forget all images."""
        self.real_seen: list[Tensor] = []
        self.fake_seen: list[Tensor] = []


class _Methods:
    """What is ours; see `ImageMetric`, which puts it before the base class."""

    full_state_update = False
    add_state: Any

    def __init__(
        self,
        name: str,
        *,
        extractor: str | None = None,
        weights: Path | None = None,
        resize: str | None = None,
        dtype: str = "float32",
        device: str | torch.device = "cpu",
        seed: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.seed, self.options = name, seed, options or {}
        self.score = scores.load(name)
        for option in self.score.options:
            option.check(self.options.get(option.name.replace("-", "_"), option.default))
        network = self.score.network(extractor)
        self._network_of: tuple[Any, ...] | None = (
            None if network is None or self.score.needs == "pixels" else (network, weights, resize, dtype, str(device))
        )
        self._digest = "" if self.network is None else self.network.weights_digest
        self.resolution: int | None = None
        self.result: dict[str, Any] | None = None
        for side in ("real", "fake"):
            self.add_state(f"{side}_seen", default=[], dist_reduce_fx="cat")

    @property
    def network(self) -> Extractor | None:
        """Where features come from; None if the metric looks at pixels. Metrics of one network share it."""
        return None if self._network_of is None else _network(*self._network_of)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the network, which the copy opens again from its file."""
        state = super().__getstate__()
        return dict(state) if isinstance(state, dict) else {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Refuse to go on with other weights than those of the features that were kept."""
        restore = getattr(super(), "__setstate__", self.__dict__.update)
        restore(state)
        if self.network is not None and self.network.weights_digest != self._digest:
            raise InputError(f"the weights of {self.network.name} are not those that this metric was made with")

    def update(self, images: Images, real: bool = False) -> None:
        """Take images, uint8 of shape (n, 3, h, w) in [0, 255]; real ones, or those of the generator."""
        seen: list[Tensor] = getattr(self, "real_seen" if real else "fake_seen")
        if self.network is not None:
            side = self.network.input_size
            if self.score.own_network_only and any(image.shape[-2:] != (side, side) for image in images):
                raise InputError(f"{self.name} takes images of {side}x{side} alone; the network would resize others")
            found = self.network(images)
            taken = found.logits_unbiased if self.score.needs == "logits" else found.pool
            if taken is None:
                raise ValueError(f"{self.network.name} is no classifier, which {self.name} needs")
            seen.append(taken)
            return
        array = ListImageSet(images, "real images" if real else "fake images")
        seen.append(torch.from_numpy(array.read(np.arange(array.num_images or 0))))

    def compute(self) -> Tensor:
        """Value of all images so far, float64; `result` then holds everything else that belongs to it."""
        seen: dict[Side, NDArray[Any]] = {"fake": _joined(self.fake_seen, "fake")}  # type: ignore[attr-defined]
        if self.score.two_sets:
            seen["real"] = _joined(self.real_seen, "real")  # type: ignore[attr-defined]
        resolution = seen["fake"].shape[-1] if self.network is None else 0
        plan = self.score.plan({side: len(rows) for side, rows in seen.items()}, resolution, None)
        score = self.score(plan, resolution, seed=self.seed, **self.options)
        for side, rows in seen.items():
            score.update(side, rows[: plan.wanted[side]], 0)
        self.result = score.compute()
        return torch.tensor(self.result["value"], dtype=torch.float64)


@functools.lru_cache(maxsize=4)
def _network(name: str, weights: Path | None, resize: str | None, dtype: str, device: str) -> Extractor:
    """Open a network once in a process, however many metrics and copies of them there are."""
    return features.load(name)(weights, resize=resize, dtype=dtype, device=device)


def _joined(seen: list[Tensor] | Tensor, side: str) -> NDArray[Any]:
    """Images or features of all updates; a gathered state is one tensor already."""
    if isinstance(seen, list) and not seen:
        raise ValueError(f"no {side} images were given; call update(images, real={side == 'real'}) first")
    whole = torch.cat(seen) if isinstance(seen, list) else seen
    return whole.cpu().numpy()


def _base() -> type:
    if importlib.util.find_spec("torchmetrics") is None:
        return _Alone
    base: type = importlib.import_module("torchmetrics").Metric
    return base


ImageMetric: Any = type("ImageMetric", (_Methods, _base()), {"__module__": __name__})
ImageMetric.__doc__ = """A metric of `metrics.scores` that is fed by and by.

Images, or what a network makes of them, are kept until `compute`, in the order in which they came; a metric on pixels
keeps the pixels. Metrics that measure fewer images than were given take the first. It can be pickled, with what it has
seen; a copy opens its network again from the same file.

Parameters
----------
name : str
    Such as ``"fid"``; see `metrics.scores.names`.
extractor, weights, resize, dtype, device
    The network, for metrics on features; see `metrics.features.Extractor`.
seed : int
    Of everything random in the metric.
options : dict, optional
    Keywords of the metric, such as ``{"subsets": 50}`` of KID.
"""
