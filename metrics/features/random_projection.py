"""A small network with random weights: quick, offline, the same everywhere. For tests and for trying things out.

Features of random convolutions do tell image sets apart (Ulyanov et al., "Deep Image Prior", CVPR 2018, on what an
untrained convolutional network already holds), but a distance of them means nothing to anyone else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics.convolution import Convolution, average
from metrics.features import DTYPES, Extractor, Graph
from metrics.scores import Progress

_CHANNELS = (3, 16, 32, 64)  # 64 x 64 pixels become 8 x 8
_CLASSES = 10


class Network(Extractor):
    """Three convolutions and a linear classifier, all random.

    Parameters
    ----------
    weights, **options
        See `metrics.features.Extractor`.
    seed : int
        Of the weights.
    """

    title = "random projection"
    input_size = 64
    code_version = 1
    distance = "fd_random_projection"
    feature_size = _CHANNELS[-1]
    classifier = "fc"

    def __init__(self, weights: Any = None, *, seed: int = 0, **options: Any) -> None:
        self._seed = seed
        super().__init__(weights, **options)

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """To [-1, 1]."""
        return (127.5,) * 3, (127.5,) * 3

    @property
    def warnings(self) -> list[str]:
        """That the numbers mean nothing outside of a test."""
        return [*super().warnings, "random-projection has random weights: its values serve tests only"]

    def standard_weights(self, progress: Progress) -> tuple[str, Mapping[str, Tensor]]:
        """Normally distributed numbers of the seed, scaled so that every layer keeps the size of its input."""
        del progress
        generator = np.random.default_rng((self._seed, 20))  # 20: a stream that nothing else draws from
        tensors = {}
        for name, shape in self.shapes().items():
            inputs = int(np.prod(shape[1:]))
            numbers = generator.standard_normal(shape) * (2 / inputs if len(shape) == 4 else 1 / inputs) ** 0.5
            tensors[name] = torch.from_numpy(numbers.astype(np.float32))
        return f"random numbers of seed {self._seed}", tensors

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Three convolutions with bias, and the classifier."""
        found: dict[str, tuple[int, ...]] = {"fc.weight": (_CLASSES, self.feature_size), "fc.bias": (_CLASSES,)}
        for number, size in enumerate(_CHANNELS[1:]):
            found |= {f"{number}.weight": (size, _CHANNELS[number], 3, 3), f"{number}.bias": (size,)}
        return found

    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Convolutions of stride 2 with ReLU, then the average over space."""
        units = [
            Convolution(tensors[f"{number}.weight"], tensors[f"{number}.bias"], 2, (1, 1)).to(
                self.device, DTYPES[self.dtype]
            )
            for number in range(len(_CHANNELS) - 1)
        ]

        def forward(x: Tensor) -> Tensor:
            for unit in units:
                x = unit(x).relu_()
            return average(x)

        return forward
