"""VGG16, whose second fully connected layer precision and recall are measured on.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; used by
Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019. The features
are the 4096 numbers of the second fully connected layer after its ReLU. The weights are torchvision's; NVIDIA's
TorchScript file of the same network is taken too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from metrics.convolution import Convolution
from metrics.features import DTYPES, Extractor, Graph
from metrics.weights import Published

# Output channels of the convolutions; "pool" halves the sides.
_LAYERS = (64, 64, "pool", 128, 128, "pool", *[256] * 3, "pool", *[512] * 3, "pool", *[512] * 3, "pool")


class Network(Extractor):
    """VGG16; parameters are those of `metrics.features.Extractor`."""

    title = "VGG16"
    input_size = 224
    code_version = 1
    distance = "fd_vgg16"
    feature_size = 4096
    classifier = "classifier.6"
    published = (
        Published(
            "vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            "https://download.pytorch.org/models/vgg16-397923af.pth",
        ),
    )
    published_scripts = (Published("vgg16.pt", "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3"),)

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and deviation of ImageNet's channels, on the scale 0..255."""
        return [255 * x for x in (0.485, 0.456, 0.406)], [255 * x for x in (0.229, 0.224, 0.225)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """13 convolutions and 3 fully connected layers."""
        found: dict[str, tuple[int, ...]] = {}
        for name, (size, channels) in _convolutions().items():
            found |= {f"{name}.weight": (size, channels, 3, 3), f"{name}.bias": (size,)}
        for number, (size, width) in {0: (4096, 512 * 7 * 7), 3: (4096, 4096), 6: (1000, 4096)}.items():
            found |= {f"classifier.{number}.weight": (size, width), f"classifier.{number}.bias": (size,)}
        return found

    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Network up to the ReLU behind the second fully connected layer."""
        target = self.device, DTYPES[self.dtype]
        units = [
            Convolution(tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=(1, 1)).to(*target)
            for name in _convolutions()
        ]
        dense = [
            (tensors[f"classifier.{number}.weight"].to(*target), tensors[f"classifier.{number}.bias"].to(*target))
            for number in (0, 3)
        ]

        def forward(x: Tensor) -> Tensor:
            remaining = iter(units)
            for layer in _LAYERS:
                x = functional.max_pool2d(x, 2) if layer == "pool" else next(remaining)(x).relu_()
            x = x.flatten(1)  # channel by channel, whatever the order in memory: 512 x 7 x 7
            for weight, bias in dense:
                x = functional.linear(x, weight, bias).relu_()
            return x

        return forward


def _convolutions() -> dict[str, tuple[int, int]]:
    """Output and input channels by name; torchvision counts convolutions, ReLUs and pools through."""
    found, channels, number = {}, 3, 0
    for layer in _LAYERS:
        if isinstance(layer, int):
            found[f"features.{number}"] = layer, channels
            channels = layer
        number += 1 if layer == "pool" else 2
    return found
