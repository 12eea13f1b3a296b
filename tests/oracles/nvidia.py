"""A TorchScript program of the Inception network in the layout of NVIDIA's ``inception-2015-12-05.pt``.

The file itself is not at hand; this is what people who rewrote it say of it: tensors ``layers.NAME.{weight,beta,mean,
var}`` under TensorFlow's names, without gammas, a classifier ``output``, and the call ``net(images, return_features,
use_fp16, no_output_bias)`` that resizes by ``affine_grid`` and ``grid_sample`` and normalises by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from oracles.networks import Inception

_STEM = {"1a_3x3": "conv", "2a_3x3": "conv_1", "2b_3x3": "conv_2", "3b_1x1": "conv_3", "4a_3x3": "conv_4"}
_BRANCHES = {
    "branch1x1": "conv",
    "branch3x3": "conv",  # of the two blocks that halve the sides
    "branch_pool": "tower_2.conv",
    "branch3x3_1": "tower.conv",
    "branch3x3_2": "tower.conv_1",
    "branch3x3_2a": "tower.mixed.conv",
    "branch3x3_2b": "tower.mixed.conv_1",
    "branch3x3dbl_3a": "tower_1.mixed.conv",
    "branch3x3dbl_3b": "tower_1.mixed.conv_1",
    "branch5x5_1": "tower.conv",
    "branch5x5_2": "tower.conv_1",
    **{f"branch3x3dbl_{k}": f"tower_1.{_n}" for k, _n in enumerate(("conv", "conv_1", "conv_2"), 1)},
    **{f"branch7x7_{k}": f"tower.{_n}" for k, _n in enumerate(("conv", "conv_1", "conv_2"), 1)},
    **{f"branch7x7dbl_{k + 1}": f"tower_1.conv{_n}" for k, _n in enumerate(("", "_1", "_2", "_3", "_4"))},
    **{f"branch7x7x3_{k + 1}": f"tower_1.conv{_n}" for k, _n in enumerate(("", "_1", "_2", "_3"))},
}
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


def name_of(unit: str) -> str:
    """Name in NVIDIA's file of a convolution by its name in torchvision."""
    block, _, branch = unit.partition(".")
    if not branch:
        return _STEM[block.removeprefix("Conv2d_")]
    number = _BLOCKS.index(block.removeprefix("Mixed_"))
    inner = _BRANCHES[branch]
    if block == "Mixed_6a":  # its only tower
        inner = inner.replace("tower_1.", "tower.")
    return f"mixed{f'_{number}' if number else ''}.{inner}"


class _Layers(nn.Module):
    """The network on normalised images of 299 pixels."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.units = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
        for unit in self.units:
            place: nn.Module = self
            for part in name_of(unit).split("."):
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            assert not dict(place.named_buffers()), f"two units are called {name_of(unit)}"
            place.register_buffer("weight", state[f"{unit}.conv.weight"])
            for theirs, ours in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
                place.register_buffer(theirs, state[f"{unit}.bn.{ours}"])

    def forward(self, x: Tensor) -> Tensor:
        state = {}
        for unit in self.units:
            at = self.get_submodule(name_of(unit))
            state[f"{unit}.conv.weight"] = at.weight
            state[f"{unit}.bn.weight"] = torch.ones_like(at.beta)
            for theirs, ours in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
                state[f"{unit}.bn.{ours}"] = getattr(at, theirs)
        return Inception(state).layers(x)[2048]


class _Program(nn.Module):
    def __init__(self, layers: torch.jit.ScriptModule, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.output = nn.Linear(2048, 1008)
        self.output.load_state_dict({"weight": weight, "bias": bias})

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        n, height, width = img.shape[0], img.shape[2], img.shape[3]
        theta = torch.eye(2, 3)
        theta[0, 2] = 1 / width - 1 / 299
        theta[1, 2] = 1 / height - 1 / 299
        grid = functional.affine_grid(theta[None].repeat(n, 1, 1), [n, 3, 299, 299], align_corners=False)
        x = functional.grid_sample(img.float(), grid, "bilinear", "border", align_corners=False)
        features = self.layers((x - 128) / 128)
        if return_features:
            return features
        logits = features @ self.output.weight.t()
        return torch.softmax(logits if no_output_bias else logits + self.output.bias, dim=1)


def save(state: Mapping[str, Tensor], path: Path) -> Path:
    """Write the program; `state` has torchvision's names and all ``bn.weight`` 1."""
    with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")  # torch would like another format
        layers = torch.jit.trace(_Layers(state).eval(), torch.zeros(1, 3, 299, 299), check_trace=False)
        torch.jit.script(_Program(layers, state["fc.weight"], state["fc.bias"]).eval()).save(str(path))
    return path
