"""Convolutions 3x3 on processors, with a quarter of the multiplications.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308): 4x4 pixels of the result come
from 36 products instead of 144 for every pair of an input and an output channel. Tiles of 6x6 pixels, overlapping by
two, and kernels are transformed; 36 matrix products; the results are transformed back. It is the same function;
rounding errors are about three times those of the plain form. Libraries for GPUs choose this algorithm by themselves.

Everything that training asks for is made of two functions, which are each other's derivatives: so a gradient penalty
may differentiate as often as it likes. Neither keeps transformed tensors for later.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from training.layers import winograd_kernels as kernels
from training.layers.winograd_kernels import planes

_LEAST_CHANNELS = 128  # fewer leave too little in the products to pay for the transforms: at 16 and 32 it takes longer
_SCRATCH = 4 << 20  # numbers in a transformed chunk: stays in the last level of cache

_enabled = contextvars.ContextVar("winograd enabled", default=True)
_weight_gradients = contextvars.ContextVar("weight gradients", default=True)


def suits(x: Tensor, weight: Tensor, enlarged: int = 1) -> bool:
    """Whether `convolve` can do this convolution, and is expected to be faster.

    That is for float32 on a processor outside autocast, for kernels 3x3 on maps of 8x8 or more, where the sides are
    multiples of 4 and the numbers of channels multiples of 16 from 128 on, and only if numba is installed. `enlarged`
    is how many times larger than `x` the map is that will be convolved.
    """
    height, width = (enlarged * side for side in x.shape[2:])
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and _enabled.get()
        and weight.shape[2:] == (3, 3)
        and min(height, width) >= 8
        and height % 4 == width % 4 == 0
        and min(weight.shape[:2]) >= _LEAST_CHANNELS
        and weight.shape[0] % kernels.LANES == weight.shape[1] % kernels.LANES == 0
        and not torch.is_autocast_enabled("cpu")
        and kernels.available()
    )


@contextlib.contextmanager
def enabled(wanted: bool) -> Iterator[None]:
    """Block in which `suits` says no, or what it says otherwise."""
    token = _enabled.set(wanted)
    try:
        yield
    finally:
        _enabled.reset(token)


@contextlib.contextmanager
def no_weight_gradients() -> Iterator[None]:
    """Block in which a backward pass leaves out the gradients by weights.

    For gradients by the images alone: autograd does not tell a function which of its gradients nobody asked for. What
    the block computes can still be differentiated by weights afterwards.
    """
    token = _weight_gradients.set(False)
    try:
        yield
    finally:
        _weight_gradients.reset(token)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Convolution 3x3 with zero padding that keeps the size.

    Parameters
    ----------
    x : Tensor of float32, shape (N, in, H, W)
        H and W multiples of 4.
    weight : Tensor of float32, shape (out, in, 3, 3)
        Numbers of channels are multiples of 16.
    bias : Tensor of float32, shape (out,), optional
    scale : float
        Factor on the weight; a scaled copy of it is never made.

    Returns
    -------
    Tensor of float32, shape (N, out, H, W)
        With the channels of a pixel beside each other in memory.
    """
    y: Tensor = _Convolve.apply(x, weight, bias, False, scale)
    return y


class _Convolve(torch.autograd.Function):
    """Convolution, or (`transposed`) its gradient by the input: (N, in, H, W) <-> (N, out, H, W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.transposed, ctx.scale = transposed, scale
        return _convolve(x, weight, bias, transposed, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, *_ = ctx.needs_input_grad
        wanted = _weight_gradients.get()
        low, high = (gradient, x) if ctx.transposed else (x, gradient)
        return (
            _Convolve.apply(gradient, weight, None, not ctx.transposed, ctx.scale) if by_x else None,
            _Correlate.apply(low, high, ctx.scale) if by_weight and wanted else None,
            gradient.sum(dim=(0, 2, 3)) if by_bias and wanted else None,
            None,
            None,
        )


class _Correlate(torch.autograd.Function):
    """Gradient by the weight, before it was scaled: (N, in, H, W), (N, out, H, W) -> (out, in, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return _correlate(x, y, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        by_x, by_y, _ = ctx.needs_input_grad
        return (
            _Convolve.apply(y, gradient, None, True, ctx.scale) if by_x else None,
            _Convolve.apply(x, gradient, None, False, ctx.scale) if by_y else None,
            None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, scale: float) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    count, _, height, width = x.shape
    factors = planes("weight", *weight.shape[:2])
    kernels.read_weight(weight, scale, transposed, factors)
    if not transposed:
        factors = factors.transpose(1, 2)
    inputs, outputs = factors.shape[1:]
    y = torch.empty((count, outputs, height, width), memory_format=torch.channels_last)
    shift = torch.zeros(outputs) if bias is None else bias.detach()
    for first, length in _chunks(count * (height // 4) * (width // 4), max(inputs, outputs)):
        tiles, products = planes("tiles", length, inputs), planes("products", length, outputs)
        kernels.read_input(x, tiles, first)
        torch.bmm(tiles, factors, out=products)
        kernels.write_result(products, shift, y, first)
    return y


def _correlate(x: Tensor, y: Tensor, scale: float) -> Tensor:
    x, y = (each.contiguous(memory_format=torch.channels_last) for each in (x, y))
    inputs, outputs = x.shape[1], y.shape[1]
    sums = planes("weight", outputs, inputs).zero_()
    for first, length in _chunks(len(x) * (x.shape[2] // 4) * (x.shape[3] // 4), max(inputs, outputs)):
        tiles, gradients = planes("tiles", length, inputs), planes("products", length, outputs)
        kernels.read_input(x, tiles, first)
        kernels.read_gradient(y, gradients, first)
        sums.baddbmm_(gradients.transpose(1, 2), tiles)
    weight = torch.empty(outputs, inputs, 3, 3)
    kernels.write_weight(sums, scale, weight)
    return weight


def _chunks(tiles: int, channels: int) -> Iterator[tuple[int, int]]:
    """Equal ranges of tiles, first and number, of about `_SCRATCH` transformed numbers each."""
    number = -(-tiles * channels * 36 // _SCRATCH)
    length = -(-tiles // number)
    return ((first, min(length, tiles - first)) for first in range(0, tiles, length))
