"""The Inception-v3 network of 2015 that FID, KID and the Inception Score are defined on.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, in the
form of the TensorFlow file ``inception-2015-12-05`` (Heusel et al. 2017, Salimans et al. 2016), whose weights others
converted. It differs from today's Inception-v3 of torchvision: 1008 classes, average pools that leave the padding out
of the mean, and a max pool in the last block. The weights are those of pytorch-fid and torch-fidelity (one file, two
names); names of layers are torchvision's. NVIDIA's TorchScript file of the same network is taken too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from datasets.errors import InputError
from metrics.convolution import Convolution, average, fold, norm_shapes
from metrics.features import DTYPES, Extractor, Graph
from metrics.weights import Published

_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_EPSILON = 0.001  # of batch normalisation
_FEATURE_SIZES = (64, 192, 768, 2048)

# Convolutions: output channels, input channels, height and width of the kernel.
_STEM = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
}


def _block_35(channels: int, pooled: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        "branch1x1": (64, channels, 1, 1),
        "branch5x5_1": (48, channels, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, channels, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pooled, channels, 1, 1),
    }


def _block_17(inner: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (inner, 768, 1, 1),
        "branch7x7_2": (inner, inner, 1, 7),
        "branch7x7_3": (192, inner, 7, 1),
        "branch7x7dbl_1": (inner, 768, 1, 1),
        "branch7x7dbl_2": (inner, inner, 7, 1),
        "branch7x7dbl_3": (inner, inner, 1, 7),
        "branch7x7dbl_4": (inner, inner, 7, 1),
        "branch7x7dbl_5": (192, inner, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


def _block_8(channels: int) -> dict[str, tuple[int, int, int, int]]:
    return {
        "branch1x1": (320, channels, 1, 1),
        "branch3x3_1": (384, channels, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, channels, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, channels, 1, 1),
    }


_BLOCKS = {
    "Mixed_5b": _block_35(192, 32),
    "Mixed_5c": _block_35(256, 64),
    "Mixed_5d": _block_35(288, 64),
    "Mixed_6a": {
        "branch3x3": (384, 288, 3, 3),
        "branch3x3dbl_1": (64, 288, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    },
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": {
        "branch3x3_1": (192, 768, 1, 1),
        "branch3x3_2": (320, 192, 3, 3),
        "branch7x7x3_1": (192, 768, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    },
    "Mixed_7b": _block_8(1280),
    "Mixed_7c": _block_8(2048),
}
CONVOLUTIONS = _STEM | {f"{block}.{unit}": shape for block, units in _BLOCKS.items() for unit, shape in units.items()}
"""Shapes of the 94 convolutions by name; each is ``NAME.conv`` and ``NAME.bn`` in the state dict."""

# All others have stride 1 and as much padding as keeps the size.
_STRIDE_2 = {
    "Conv2d_1a_3x3",
    "Mixed_6a.branch3x3",
    "Mixed_6a.branch3x3dbl_3",
    "Mixed_7a.branch3x3_2",
    "Mixed_7a.branch7x7x3_4",
}
_WITHOUT_PADDING = _STRIDE_2 | {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}


class Network(Extractor):
    """Inception-v3 of 2015.

    Parameters
    ----------
    weights, **options
        See `metrics.features.Extractor`.
    feature_size : int
        2048 for the features that FID means; 64, 192 and 768 are the earlier layers that pytorch-fid offers, averaged
        over space, and have no logits.
    """

    title = "Inception-v3 (2015)"
    input_size = 299
    code_version = 1
    published = (
        Published(
            "pt_inception-2015-12-05-6726825d.pth",
            _SHA256,
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        Published(
            "weights-inception-2015-12-05-6726825d.pth",
            _SHA256,
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        ),
    )
    published_scripts = (
        Published("inception-2015-12-05.pt", "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"),
    )

    def __init__(self, weights: Any = None, *, feature_size: int = 2048, **options: Any) -> None:
        if feature_size not in _FEATURE_SIZES:
            raise InputError(f"inception has features of size 64, 192, 768 and 2048, not {feature_size}")
        self.feature_size = feature_size
        self.distance = "fid" if feature_size == 2048 else f"fid{feature_size}"
        self.classifier = "fc" if feature_size == 2048 else None
        super().__init__(weights, **options)

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """128 and 128; pytorch-fid, whose values the resize mode ``torch`` reproduces, has 127.5 and 127.5."""
        middle = (127.5 if self.resize_mode == "torch" else 128.0,) * 3
        return middle, middle

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """94 convolutions, their normalisations, and the classifier."""
        found: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
        for name, shape in CONVOLUTIONS.items():
            found |= {f"{name}.conv.weight": shape, **norm_shapes(f"{name}.bn", shape[0])}
        return found

    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Network up to the layer of `feature_size` numbers."""
        units = {}
        for name, (_, _, height, width) in CONVOLUTIONS.items():
            weight, bias = fold(tensors, f"{name}.conv", f"{name}.bn", _EPSILON)
            padding = (0, 0) if name in _WITHOUT_PADDING else (height // 2, width // 2)
            stride = 2 if name in _STRIDE_2 else 1
            units[name] = Convolution(weight, bias, stride, padding).to(self.device, DTYPES[self.dtype])
        return _Inception(units, self.feature_size)


class _Inception:
    """Forward pass; comments give channels x height x width."""

    def __init__(self, units: Mapping[str, Convolution], feature_size: int) -> None:
        self._units, self._feature_size = units, feature_size

    def __call__(self, x: Tensor) -> Tensor:
        x = self._chain(x, "", "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
        x = functional.max_pool2d(x, 3, 2)  # 64 x 73 x 73
        if self._feature_size == 64:
            return average(x)
        x = self._chain(x, "", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
        x = functional.max_pool2d(x, 3, 2)  # 192 x 35 x 35
        if self._feature_size == 192:
            return average(x)
        for block in ("Mixed_5b.", "Mixed_5c.", "Mixed_5d."):  # 256, 288, 288 x 35 x 35
            x = torch.cat(
                (
                    self._chain(x, block, "branch1x1"),
                    self._chain(x, block, "branch5x5_1", "branch5x5_2"),
                    self._chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
                    self._averaged(x, block),
                ),
                dim=1,
            )
        x = torch.cat(
            (
                self._chain(x, "Mixed_6a.", "branch3x3"),
                self._chain(x, "Mixed_6a.", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
                functional.max_pool2d(x, 3, 2),
            ),
            dim=1,
        )
        for block in ("Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."):  # 768 x 17 x 17
            x = torch.cat(
                (
                    self._chain(x, block, "branch1x1"),
                    self._chain(x, block, *(f"branch7x7_{k}" for k in range(1, 4))),
                    self._chain(x, block, *(f"branch7x7dbl_{k}" for k in range(1, 6))),
                    self._averaged(x, block),
                ),
                dim=1,
            )
        if self._feature_size == 768:
            return average(x)
        x = torch.cat(
            (
                self._chain(x, "Mixed_7a.", "branch3x3_1", "branch3x3_2"),
                self._chain(x, "Mixed_7a.", *(f"branch7x7x3_{k}" for k in range(1, 5))),
                functional.max_pool2d(x, 3, 2),
            ),
            dim=1,
        )  # 1280 x 8 x 8
        for block in ("Mixed_7b.", "Mixed_7c."):  # 2048 x 8 x 8
            forked = self._chain(x, block, "branch3x3_1")
            forked_later = self._chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
            x = torch.cat(
                (
                    self._chain(x, block, "branch1x1"),
                    self._chain(forked, block, "branch3x3_2a"),
                    self._chain(forked, block, "branch3x3_2b"),
                    self._chain(forked_later, block, "branch3x3dbl_3a"),
                    self._chain(forked_later, block, "branch3x3dbl_3b"),
                    self._averaged(x, block)
                    if block == "Mixed_7b."
                    else self._chain(functional.max_pool2d(x, 3, 1, 1), block, "branch_pool"),
                ),
                dim=1,
            )
        return average(x)

    def _chain(self, x: Tensor, block: str, *units: str) -> Tensor:
        for unit in units:
            x = self._units[block + unit](x).relu_()
        return x

    def _averaged(self, x: Tensor, block: str) -> Tensor:
        """Average pool, then a 1x1 convolution: in the other order, since it is the same and has fewer channels."""
        x = self._units[f"{block}branch_pool"](x)
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False).relu_()
