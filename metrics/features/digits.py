"""The digit network of MNIST-RGB: scores of ten classes for each colour plane of a 32x32 image.

Karras et al.: "Progressive Growing of GANs", ICLR 2018 (arXiv 1710.10196), appendix E, count the modes of a generator
with such a classifier; the layers are those of its Theano release. Its weights were never part of a package, so
``metrics train-digits`` makes a file of them (`metrics.digit_training`). A plane is seen alone: the three have the same
weights. The features are the scores (logits with bias), red first, and there is no other classifier behind them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from datasets.errors import InputError
from metrics.features import DTYPES, Extractor, Graph
from metrics.scores import Progress

NUM_CLASSES = 10
INPUT_SIZE = 32
RECORD = "growgan.digits"
"""Key of the metadata of a file of weights under which `metrics.digit_training` says how they were made."""

_PLANES = 3
_SLOPE = 0.1  # of the leaky ReLU
_WIDTHS = (1, 32, 32, 55, 55, 96, 96)
_PADDED = 4  # convolutions with zeros around; the last two have none
_FLAT = _WIDTHS[-1] * 2 * 2  # 32 -> 16 -> 8 -> 4 by the last two -> 2
_MOST_ERRORS = 0.01  # share of digits misread above which a count of modes is doubtful


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors: six convolutions ``conv1`` to ``conv6``, and ``dense``."""
    found: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(_WIDTHS), 1):
        found |= {f"conv{number}.weight": (outputs, inputs, 3, 3), f"conv{number}.bias": (outputs,)}
    return found | {"dense.weight": (NUM_CLASSES, _FLAT), "dense.bias": (NUM_CLASSES,)}


def scale(pixels: Tensor) -> Tensor:
    """From 0..255 to the [-1, 1] that the network sees, float32."""
    return (pixels.float() - 127.5) / 127.5


def read_digits(tensors: Mapping[str, Tensor], planes: Tensor) -> Tensor:
    """Scores of the ten classes, shape (n, 10), of planes of shape (n, 1, 32, 32) in [-1, 1].

    Convolutions in pairs, each with a leaky ReLU; the largest of 2x2 behind each pair; a linear layer.
    """
    x = planes
    for number in range(1, len(_WIDTHS)):
        padding = 1 if number <= _PADDED else 0
        x = functional.conv2d(x, tensors[f"conv{number}.weight"], tensors[f"conv{number}.bias"], padding=padding)
        x = functional.leaky_relu(x, _SLOPE)
        if number % 2 == 0:
            x = functional.max_pool2d(x, 2)
    return functional.linear(x.flatten(1), tensors["dense.weight"], tensors["dense.bias"])


class Network(Extractor):
    """The digit network; parameters are those of `metrics.features.Extractor`, but there are no standard weights."""

    title = "digit network"
    input_size = INPUT_SIZE
    code_version = 1
    distance = "fd_digits"
    feature_size = _PLANES * NUM_CLASSES

    def __init__(self, weights: Any = None, **options: Any) -> None:
        self.training_record: dict[str, Any] = {}
        super().__init__(weights, **options)

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """To [-1, 1], as `scale`."""
        return (127.5,) * _PLANES, (127.5,) * _PLANES

    @property
    def block_size(self) -> int:
        """More than of large networks: a plane is little work."""
        return 256 if self.device.type != "cpu" else 32

    @property
    def protocol(self) -> dict[str, Any]:
        """What a result says of it; `training`: seed, images and held-out error, if the file of weights tells."""
        return {**super().protocol, "training": self.training_record}

    @property
    def warnings(self) -> list[str]:
        """That digits are misread too often, or that nobody knows how often."""
        error = self.training_record.get("held_out_error")
        if error is None:
            return [*super().warnings, f"how often {self.weights_name} misreads a digit is not recorded in it"]
        if error > _MOST_ERRORS:
            told = f"{self.weights_name} misreads {100 * error:.2f}% of held-out images, so modes are counted wrong"
            return [*super().warnings, told]
        return super().warnings

    def standard_weights(self, progress: Progress) -> tuple[str, Mapping[str, Tensor]]:
        """Refuse: nobody publishes them."""
        del progress
        raise InputError(
            "the digit network has no published weights; train it once with "
            "metrics train-digits MNIST.h5 digits.safetensors, then pass --weights digits=digits.safetensors"
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `parameter_shapes`."""
        return parameter_shapes()

    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Scores of all classes of the red plane, then of the green one, then of the blue one."""
        kept = {
            name: value.to(
                self.device,
                DTYPES[self.dtype],
                memory_format=torch.channels_last if value.ndim == 4 else torch.preserve_format,
            )
            for name, value in tensors.items()
        }

        def forward(x: Tensor) -> Tensor:
            planes = x.reshape(-1, 1, INPUT_SIZE, INPUT_SIZE).contiguous(memory_format=torch.channels_last)
            return read_digits(kept, planes).reshape(len(x), _PLANES * NUM_CLASSES)

        return forward

    def _use_file(self, path: Path, trust_torchscript: bool) -> None:
        super()._use_file(path, trust_torchscript)
        self.training_record = _record_of(path)


def write_weights(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a file of weights that says how they were made, to be published by `datasets.atomic.replacing`."""
    whole = {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(whole, path, metadata={RECORD: json.dumps(record, sort_keys=True)})


def _record_of(path: Path) -> dict[str, Any]:
    """What a file of weights says of its making; empty if it says nothing, or nothing that can be understood."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {}).get(RECORD, "{}"))
    except (safetensors.SafetensorError, ValueError):  # torch's format, or a record of someone else
        return {}
    error = found.get("held_out_error") if isinstance(found, dict) else None
    return found if isinstance(error, float) and 0 <= error <= 1 else {}
