"""A generator as a graph: written by torch.onnx and torch.export, read back by their own runtimes."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets.errors import InputError
from training.layers.equalized import Convolution, Dense
from training.layers.resample import Operation, convolve, double, double_and_convolve, double_then_convolve
from training.pixels import to_uint8

Draw = Callable[[tuple[Tensor, ...]], Tensor]
"""(latents,) or (latents, labels) -> images."""


class FixedGenerator(nn.Module):
    """A generator at one moment of growing, in plain operations: what a graph can hold.

    Run-time scales are multiplied into the weights, and convolutions are those of torch, none of ours.

    Parameters
    ----------
    generator : nn.Module
        Of any architecture; it is copied.
    level : int
        log2 of the resolution.
    alpha : float
        Share of that level.
    bits : {32, 8}
        Images as they are computed, float32, or as uint8 from 0 to 255.
    """

    def __init__(self, generator: nn.Module, level: int, alpha: float = 1.0, bits: int = 32) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).eval().requires_grad_(False)
        self.level, self.alpha, self.bits = level, alpha, bits
        for module in list(self.generator.modules()):
            for name, child in module.named_children():
                if isinstance(child, Dense):
                    setattr(module, name, _PlainDense(child))
            if isinstance(module, Convolution):
                module.fold()
                module.operation = _PLAIN.get(module.operation, module.operation)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """(N, latent_size) and perhaps (N, num_classes) -> (N, 3, r, r)."""
        images: Tensor = self.generator(latents, self.level, self.alpha, labels)
        return to_uint8(images) if self.bits == 8 else images


class _PlainDense(nn.Module):
    """`Dense` for any number of inputs: a graph must not look at how many there are while it is made."""

    def __init__(self, dense: Dense) -> None:
        super().__init__()
        self.weight = nn.Parameter(dense.scaled_weight(), requires_grad=False)
        self.bias = dense.bias
        self.side = dense.side

    def forward(self, x: Tensor) -> Tensor:
        if self.side is None:
            return functional.linear(x, self.weight, self.bias)
        maps: Tensor = functional.linear(x, self.weight).unflatten(1, (-1, self.side, self.side))
        return maps if self.bias is None else maps + self.bias.view(-1, 1, 1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=weight.shape[2] // 2)


def _double_and_convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _convolve(double(x), weight, bias)


_PLAIN: dict[Operation, Operation] = {
    convolve: _convolve,
    double_and_convolve: _double_and_convolve,
    double_then_convolve: _double_and_convolve,
}


def eager(generator: nn.Module, level: int, alpha: float = 1.0) -> Draw:
    """The generator itself, an image at a time: at 1024x1024 one takes more than a GiB of memory."""

    def draw(inputs: tuple[Tensor, ...]) -> Tensor:
        with torch.inference_mode():
            images = [generator(z, level, alpha, *labels) for z, *labels in zip(*_singly(inputs), strict=True)]
        return torch.cat(images)

    return draw


def _singly(inputs: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    return [one.split(1) for one in inputs]


def write_pt2(fixed: FixedGenerator, inputs: tuple[Tensor, ...], path: Path, *, is_open: bool) -> None:
    """Write what torch.export makes of a generator."""
    with _exporter("torch.export"):
        program = torch.export.export(fixed, inputs, dynamic_shapes=_shapes(inputs, is_open=is_open))
        with path.open("wb") as file:
            torch.export.save(program, file)


def read_pt2(path: Path) -> Draw:
    """Open a file of `write_pt2`."""
    with path.open("rb") as file, _exporter("torch.export"):
        module = torch.export.load(file).module()
    return lambda inputs: cast("Tensor", module(*inputs)).detach()


def write_onnx(fixed: FixedGenerator, inputs: tuple[Tensor, ...], path: Path, *, is_open: bool) -> None:
    """Write a generator as ONNX, in one file."""
    with _exporter("ONNX"):
        torch.onnx.export(
            fixed,
            inputs,
            path,
            input_names=["latents", "labels"][: len(inputs)],
            output_names=["images"],
            dynamic_shapes=_shapes(inputs, is_open=is_open),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def read_onnx(path: Path) -> Draw:
    """Open a file of `write_onnx`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def draw(inputs: tuple[Tensor, ...]) -> Tensor:
        given = {name: one.numpy() for name, one in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return draw


WRITERS = {"onnx": write_onnx, "pt2": write_pt2}
READERS = {"onnx": read_onnx, "pt2": read_pt2}


def _shapes(inputs: tuple[Tensor, ...], *, is_open: bool) -> tuple[dict[int, Any], ...] | None:
    batch = torch.export.Dim("batch", min=1)
    return tuple({0: batch} for _ in inputs) if is_open else None


@contextlib.contextmanager
def _exporter(what: str) -> Iterator[None]:
    """Block in which an exporter works: its faults are one line, and it keeps remarks about itself to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{what} cannot hold this generator ({reason}); leave it out with --format, or try another version of torch"
        ) from None
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
