"""Plain statements of the networks, from their papers: nothing folded, nothing reordered, nothing of ours imported.

Layers have the names of the published state dicts, so that loading one here strictly also proves the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


def random_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights under which activations keep their size: no layer saturates, none dies."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            bound = math.sqrt(6 / math.prod(shape[1:]))  # variance 2 / inputs
            state[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        else:
            middle = 1.0 if name.endswith(("weight", "running_var")) else 0.0
            state[name] = torch.empty(shape).uniform_(middle - 0.4, middle + 0.4, generator=generator)
    return state


def plain(network: str, state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features and logits (None if there is no classifier) of images that are already resized and normalised."""
    if network == "inception":
        exact = {name: value.double() for name, value in state.items()}
        pool = Inception(exact).layers(x.double())[2048]
        return pool, pool @ exact["fc.weight"].T + exact["fc.bias"]
    if network == "digits":
        return digit_scores(state, x), None
    if network == "random-projection":
        for layer in range(3):
            x = functional.conv2d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], 2, 1).clamp(min=0)
        return x.mean((2, 3)), x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        module = {"vgg16": Vgg16, "efficientnet-lite0": EfficientNetLite0}[network]().eval()
    counters = {name: torch.zeros((), dtype=torch.int64) for name in module.state_dict() if name.endswith("_tracked")}
    module.load_state_dict(state | counters, strict=True, assign=True)
    with torch.inference_mode():
        pool, logits = module(x)
    return pool, logits


def digit_scores(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Scores of ten digits in each plane, red first: 32, 32, pool, 55, 55, pool, 96, 96 unpadded, pool, dense."""
    layers: list[nn.Module] = []
    sizes = [(1, 32, 1), (32, 32, 1), (32, 55, 1), (55, 55, 1), (55, 96, 0), (96, 96, 0)]
    for number, (channels, size, padding) in enumerate(sizes, 1):
        convolution = nn.Conv2d(channels, size, 3, padding=padding)
        convolution.load_state_dict({part: state[f"conv{number}.{part}"] for part in ("weight", "bias")})
        layers += [convolution, nn.LeakyReLU(0.1), *([nn.MaxPool2d(2)] if number % 2 == 0 else [])]
    dense = nn.Linear(96 * 2 * 2, 10)
    dense.load_state_dict({part: state[f"dense.{part}"] for part in ("weight", "bias")})
    network = nn.Sequential(*layers, nn.Flatten(), dense).double()
    with torch.inference_mode():
        return torch.cat([network(x[:, [plane]].double()) for plane in range(3)], 1)


class Inception:
    """Inception-v3 of 2015 in the precision of its weights: Szegedy et al. 2016, figures 5, 6 and 7 and table 1."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> Tensor:
        x = functional.conv2d(x, self.state[f"{name}.conv.weight"], stride=stride, padding=padding)
        norm = [
            self.state[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return ((x - norm[0]) / torch.sqrt(norm[1] + 0.001) * norm[2] + norm[3]).clamp(min=0)

    def mean_of_neighbours(self, x: Tensor) -> Tensor:
        """3x3 mean over the pixels that exist."""
        ones = torch.ones_like(x[:1, :1])
        kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype)
        sums = functional.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view(x.shape)
        return sums / functional.conv2d(ones, kernel, padding=1)

    def layers(self, x: Tensor) -> dict[int, Tensor]:
        """Features by their number per image, of images (n, 3, 299, 299) as the network sees them."""
        conv, found = self.conv, {}
        x = conv(x, "Conv2d_1a_3x3", 2)
        x = conv(x, "Conv2d_2a_3x3")
        x = conv(x, "Conv2d_2b_3x3", padding=(1, 1))
        x = functional.max_pool2d(x, 3, 2)
        found[64] = x.mean((2, 3))
        x = conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
        x = functional.max_pool2d(x, 3, 2)
        found[192] = x.mean((2, 3))
        for at in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            one = conv(x, f"{at}.branch1x1")
            five = conv(conv(x, f"{at}.branch5x5_1"), f"{at}.branch5x5_2", padding=(2, 2))
            three = conv(conv(x, f"{at}.branch3x3dbl_1"), f"{at}.branch3x3dbl_2", padding=(1, 1))
            three = conv(three, f"{at}.branch3x3dbl_3", padding=(1, 1))
            x = torch.cat([one, five, three, conv(self.mean_of_neighbours(x), f"{at}.branch_pool")], 1)
        three = conv(conv(x, "Mixed_6a.branch3x3dbl_1"), "Mixed_6a.branch3x3dbl_2", padding=(1, 1))
        three = conv(three, "Mixed_6a.branch3x3dbl_3", 2)
        x = torch.cat([conv(x, "Mixed_6a.branch3x3", 2), three, functional.max_pool2d(x, 3, 2)], 1)
        for at in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            one = conv(x, f"{at}.branch1x1")
            seven = conv(conv(x, f"{at}.branch7x7_1"), f"{at}.branch7x7_2", padding=(0, 3))
            seven = conv(seven, f"{at}.branch7x7_3", padding=(3, 0))
            twice = conv(x, f"{at}.branch7x7dbl_1")
            for number, padding in enumerate([(3, 0), (0, 3), (3, 0), (0, 3)], 2):
                twice = conv(twice, f"{at}.branch7x7dbl_{number}", padding=padding)
            x = torch.cat([one, seven, twice, conv(self.mean_of_neighbours(x), f"{at}.branch_pool")], 1)
        found[768] = x.mean((2, 3))
        three = conv(conv(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", 2)
        seven = conv(conv(x, "Mixed_7a.branch7x7x3_1"), "Mixed_7a.branch7x7x3_2", padding=(0, 3))
        seven = conv(conv(seven, "Mixed_7a.branch7x7x3_3", padding=(3, 0)), "Mixed_7a.branch7x7x3_4", 2)
        x = torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)
        for at in ("Mixed_7b", "Mixed_7c"):
            one = conv(x, f"{at}.branch1x1")
            fork = conv(x, f"{at}.branch3x3_1")
            later = conv(conv(x, f"{at}.branch3x3dbl_1"), f"{at}.branch3x3dbl_2", padding=(1, 1))
            pooled = self.mean_of_neighbours(x) if at == "Mixed_7b" else functional.max_pool2d(x, 3, 1, 1)
            x = torch.cat(
                [
                    one,
                    conv(fork, f"{at}.branch3x3_2a", padding=(0, 1)),
                    conv(fork, f"{at}.branch3x3_2b", padding=(1, 0)),
                    conv(later, f"{at}.branch3x3dbl_3a", padding=(0, 1)),
                    conv(later, f"{at}.branch3x3dbl_3b", padding=(1, 0)),
                    conv(pooled, f"{at}.branch_pool"),
                ],
                1,
            )
        found[2048] = x.mean((2, 3))
        return found


class Vgg16(nn.Module):
    """VGG16, configuration D of Simonyan and Zisserman 2015, in torchvision's layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for sizes in ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3):
            for size in sizes:
                layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
                channels = size
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        dense = [nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*dense, nn.Linear(4096, 1000))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the second fully connected layer after its ReLU, and logits."""
        hidden = self.classifier[:5](self.features(x).flatten(1))
        return hidden, self.classifier[5:](hidden)


# Expansion, kernel, stride, channels, repeats.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetLite0(nn.Module):
    """Table 1 of Tan and Le 2019 without squeeze-and-excitation, ReLU6, TensorFlow's padding by its general formula."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Same(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for factor, kernel, stride, size, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Bottleneck(channels, size, factor, kernel, stride if repeat == 0 else 1))
                channels = size
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Same(320, 1280, 1, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        pool = functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return pool, self._fc(pool)


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, size: int, factor: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = factor * channels
        if factor > 1:
            self._expand_conv = _Same(channels, inner, 1, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = _Same(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = _Same(inner, size, 1, 1)
        self._bn2 = nn.BatchNorm2d(size, eps=1e-3)
        self.expands, self.skips = factor > 1, stride == 1 and channels == size

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class _Same(nn.Conv2d):
    """TensorFlow's padding "SAME": ceil(side / stride) outputs, an odd zero below and to the right."""

    def __init__(self, channels: int, size: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, size, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        side, kernel, stride = x.shape[-1], self.kernel_size[0], self.stride[0]
        total = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
        return super().forward(functional.pad(x, (total // 2, total - total // 2) * 2))
