"""Small networks with random weights, written as files of every kind that `toolkit.celebahq.restoration` opens."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]  # weight (out, in, 3, 3) and bias


def convolutions(planes: tuple[int, ...] = (3, 5, 4, 3), seed: int = 0) -> Layers:
    """Layers of 3x3 convolutions that hand the image on, a little changed; no two kernels or channels are alike."""
    generator = np.random.default_rng(seed)
    layers = []
    for inputs, outputs in itertools.pairwise(planes):
        weight = generator.normal(0, 0.06, (outputs, inputs, 3, 3)).astype(np.float32)
        weight -= weight.mean(axis=(2, 3), keepdims=True)  # what is smooth stays as it is
        for plane in range(min(inputs, outputs, 3)):
            weight[plane, plane, 1, 1] += 1
        layers.append((weight, generator.normal(0, 0.02, outputs).astype(np.float32)))
    return layers


def waifu2x(path: Path, layers: Layers, **changed: Any) -> Path:
    """Write layers in the JSON layout of waifu2x; `changed` replaces keys of the second layer."""
    found: list[dict[str, Any]] = [
        {
            "class_name": "nn.SpatialConvolutionMM",
            "kW": 3,
            "kH": 3,
            "dW": 1,
            "dH": 1,
            "padW": 0,
            "padH": 0,
            "nInputPlane": weight.shape[1],
            "nOutputPlane": weight.shape[0],
            "weight": weight.tolist(),
            "bias": bias.tolist(),
        }
        for weight, bias in layers
    ]
    found[0]["model_config"] = {"arch_name": "vgg_3", "scale_factor": 1, "channels": 3, "offset": len(layers)}
    found[1].update(changed)
    path.write_text(json.dumps(found))
    return path


def compact(scale: int, *, channels: int = 3, seed: int = 0) -> dict[str, Any]:
    """Tensors of a network of the architecture Real-ESRGAN Compact, as spandrel builds it."""
    import torch

    from toolkit.celebahq.restoration.spandrel import without_torchvision

    with without_torchvision():
        from spandrel.architectures.Compact import Compact

    torch.manual_seed(seed)
    network = Compact(num_in_ch=channels, num_out_ch=channels, num_feat=6, num_conv=2, upscale=scale)
    return {name: tensor * 0.5 for name, tensor in network.state_dict().items()}


def onnx_graph(
    path: Path,
    *,
    scale: int = 1,
    layout: str = "NCHW",
    size: tuple[int | str, int | str] = ("height", "width"),
    values: tuple[float, float] = (0.0, 1.0),
    channels: int = 3,
    kind: type[np.generic] = np.float32,
    operator: tuple[str, str] | None = None,
    negative: bool = False,
    contrast: float = 1.0,
) -> Path:
    """Write a graph of one 3x3 convolution, for images with the given range of values, and an enlargement.

    `operator` is a domain and a name of one more operator at the end; `negative` turns light into dark.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    least, most = values
    weight, bias = convolutions((channels, channels), seed=3)[0]
    weight[range(channels), range(channels), 1, 1] += contrast - 1
    bias = bias / 4 - (contrast - 1) / 2
    weight, bias = weight * (-1 if negative else 1), bias + (1 if negative else 0)
    weight = np.repeat(weight, scale * scale, axis=0)  # depth to space: an output channel of every place in its square
    bias = np.repeat(bias, scale * scale) * (most - least)
    # (x - least) is what the kernel shall see: its sum decides what least adds.
    bias = bias + least * (1 - weight.sum(axis=(1, 2, 3)))
    whole = TensorProto.FLOAT16 if kind is np.float16 else TensorProto.UINT8 if kind is np.uint8 else TensorProto.FLOAT
    nodes, last = [helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT)], "real"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [last], ["first"], perm=[0, 3, 1, 2]))
        last = "first"
    # The border must be what `least` stands for, as zeros are for a network from 0 to 1.
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")
    nodes.append(helper.make_node("Pad", [last, "pads", "least"], ["padded"]))
    nodes.append(helper.make_node("Conv", ["padded", "weight", "bias"], ["seen"]))
    nodes.append(helper.make_node("DepthToSpace", ["seen"], ["large"], blocksize=scale, mode="CRD"))
    last = "large"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [last], ["back"], perm=[0, 2, 3, 1]))
        last = "back"
    if kind is np.uint8:
        nodes += [
            helper.make_node("Round", [last], ["round"]),
            helper.make_node("Clip", ["round", "nought", "full"], ["clip"]),
        ]
        last = "clip"
    if operator is not None:
        nodes.append(helper.make_node(operator[1], [last], ["odd"], domain=operator[0]))
        last = "odd"
    nodes.append(helper.make_node("Cast", [last], ["result"], to=whole))
    shape = [1, channels, *size] if layout == "NCHW" else [1, *size, channels]
    free = ["n", "a", "b", "c"]
    scalars = {"least": least, "nought": 0.0, "full": 255.0}
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info("image", whole, shape)],
        [helper.make_tensor_value_info("result", whole, free)],
        initializer=[
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
            pads,
            *(numpy_helper.from_array(np.float32(value), name) for name, value in scalars.items()),
        ],
    )
    versions = [helper.make_opsetid("", 17)]
    if operator is not None and operator[0]:
        versions.append(helper.make_opsetid(operator[0], 1))
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=8), path)
    return path


def photograph(height: int = 90, width: int = 130) -> NDArray[np.uint8]:
    """Blobs, an edge and noise, different in every channel and direction."""
    generator = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        np.sin(x / 9) * 60 + y * 0.8 + 60,
        np.cos((x + 2 * y) / 13) * 70 + 120,
        np.where(x > 2 * y, 190, 40) + 20 * np.sin(y / 3),
    ]
    return np.clip(np.stack(planes, 2) + generator.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
