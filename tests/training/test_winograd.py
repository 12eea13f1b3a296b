"""Winograd's convolution against torch's own in float64: values, first and second derivatives, and what is left out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training import compute
from training.architectures import pggan
from training.layers import resample, winograd, winograd_kernels
from training.losses import Context

pytest.importorskip("numba")

SHAPES = [(2, 16, 32, 8, 8), (1, 48, 16, 12, 8), (3, 32, 16, 8, 20)]  # N, in, out, H, W


@pytest.fixture(autouse=True)
def _narrow_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors show as much as large ones."""
    monkeypatch.setattr(winograd, "_LEAST_CHANNELS", 16)


def plain(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    return functional.conv2d(x, scale * weight, bias, padding=1)


def draws(shape: tuple[int, int, int, int, int], seed: int = 0) -> list[Tensor]:
    count, inputs, outputs, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = [(count, inputs, height, width), (outputs, inputs, 3, 3), (outputs,)]
    return [torch.randn(size, generator=generator, requires_grad=True) for size in sizes]


def in_double(tensors: list[Tensor]) -> list[Tensor]:
    return [each.detach().double().requires_grad_() for each in tensors]


def near(a: Tensor, b: Tensor, relative: float = 2e-5) -> None:
    assert a.shape == b.shape
    assert (a.double() - b).norm() <= relative * b.norm()
    assert (a.double() - b).abs().max() <= 10 * relative * b.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("threads", "scale"), [(1, 0.3), (3, 1.0)])
def test_values_and_gradients(shape: tuple[int, int, int, int, int], threads: int, scale: float) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        own, exact = draws(shape), in_double(draws(shape))
        y, expected = winograd.convolve(*own, scale), plain(exact[0], scale * exact[1], exact[2])
        near(y, expected)
        factors = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad((y * factors).sum(), own)
        for gradient, wanted in zip(gradients, torch.autograd.grad((expected * factors).sum(), exact), strict=True):
            near(gradient, wanted)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layouts_and_chunks(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = draws((3, 16, 32, 16, 8))
    whole = winograd.convolve(x, weight, bias)
    monkeypatch.setattr(winograd, "_SCRATCH", 36 * 32 * 5)  # 24 tiles in chunks of 5, the last one smaller
    x, weight = (each.detach().to(memory_format=layout).requires_grad_() for each in (x, weight))
    y = winograd.convolve(x, weight, bias)
    near(y, whole.double(), 1e-6)
    assert y.is_contiguous(memory_format=torch.channels_last)
    near(torch.autograd.grad(y.square().sum(), weight)[0], _weight_gradient_of_square(x, weight, bias))


def _weight_gradient_of_square(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    exact = in_double([x, weight, bias])
    return torch.autograd.grad(plain(*exact).square().sum(), exact[1])[0]


def penalty_gradients(convolve: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """Gradients, by two weights and the image, of a function of the gradient by the image."""
    x, first, second = tensors
    y = convolve(functional.softplus(convolve(x, first)), second, scale=0.7)
    (gradient,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    return list(torch.autograd.grad((gradient.square().sum((1, 2, 3)).sqrt() - 1).square().sum(), [first, second, x]))


def test_second_derivatives() -> None:
    x, first, _ = draws((2, 16, 32, 8, 12))
    second = draws((1, 32, 16, 8, 8), 7)[1]
    tensors = [x, (first * 0.1).detach().requires_grad_(), (second * 0.1).detach().requires_grad_()]
    for own, wanted in zip(
        penalty_gradients(winograd.convolve, tensors), penalty_gradients(plain, in_double(tensors)), strict=True
    ):
        near(own, wanted, 1e-4)


def small_discriminator() -> pggan.Discriminator:
    torch.manual_seed(3)
    return pggan.Discriminator(pggan.Config(fmap_base=512, fmap_max=32), 32)


@pytest.mark.parametrize("mean_first", [False, True])
def test_penalty_of_the_discriminator(mean_first: bool) -> None:
    """All gradients of the trainer's own penalty, with Winograd in float32 and without in float64."""
    results = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        config = pggan.Config(fmap_base=512, fmap_max=32, mean_before_activation=mean_first)
        network = pggan.Discriminator(config, 32).to(dtype)
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)).to(dtype)
        context = Context(
            lambda x, network=network: network(x, 5, 0.4).scores, images, images, 0, lambda _: torch.rand(4)
        )
        gradient = context.input_gradient(images)
        norm = gradient.square().sum((1, 2, 3)).sqrt()
        (norm - 1).square().sum().backward()
        results.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert set(results[0]) == set(results[1])
    assert len(results[0]) > 10
    for name, own in results[0].items():
        wanted = results[1][name]
        assert own is not None
        assert wanted is not None
        assert (own - wanted).norm() <= 1e-3 * max(float(wanted.norm()), 1e-3), name


def test_no_weight_gradients_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    correlate = winograd._correlate
    monkeypatch.setattr(winograd, "_correlate", lambda *x: (calls.append(""), correlate(*x))[1])
    network = small_discriminator()
    images = torch.rand(2, 3, 32, 32)
    context = Context(lambda x: network(x, 5, 1.0).scores, images, images, 0, lambda _: torch.rand(2))
    gradient = context.input_gradient(images)
    assert not calls
    gradient.square().sum().backward()
    layers = 6  # convolutions on 32x32, 16x16 and 8x8
    assert len(calls) == 2 * layers  # by the weights of the way back, and of the way there: minibatch stddev is curved
    calls.clear()
    network.requires_grad_(False)
    network(images.requires_grad_(), 5, 1.0).scores.sum().backward()
    assert not calls
    assert images.grad is not None


def test_narrow_layers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_LEAST_CHANNELS", 128)
    x, weight = torch.randn(1, 128, 8, 8), torch.randn(128, 128, 3, 3)
    assert winograd.suits(x, weight)
    assert not winograd.suits(x[:, :112], weight[:, :112])
    assert not winograd.suits(x, weight[:112])


def test_what_suits() -> None:
    x, weight, _ = draws(SHAPES[0])
    assert winograd.suits(x, weight)
    assert winograd.suits(x[:, :, :4, :4], weight, enlarged=2)
    assert not winograd.suits(x[:, :, :4, :4], weight)  # too small
    assert not winograd.suits(x[:, :, :, :6].repeat(1, 1, 1, 3), weight)  # not a multiple of 4
    assert not winograd.suits(x[:, :15], weight[:, :15])
    assert not winograd.suits(x, weight[:, :, :1, :1])
    assert not winograd.suits(x.double(), weight.double())
    with winograd.enabled(False):
        assert not winograd.suits(x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.suits(x, weight)
    assert not winograd.suits(x.to("meta"), weight.to("meta"))


@pytest.mark.parametrize("operation", [resample.convolve, resample.double_and_convolve, resample.convolve_and_halve])
def test_operations_take_it(operation: resample.Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Tensor] = []
    own = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *parts: (used.append(parts[0]), own(*parts))[1])
    x, weight, bias = draws(SHAPES[2])
    y = operation(x, weight, bias)
    assert len(used) == 1
    with winograd.enabled(False):
        near(y, operation(x, weight, bias).double())
    assert len(used) == 1


def test_same_bits_again_and_from_another_thread() -> None:
    x, weight, bias = draws((4, 32, 32, 16, 16))
    first = winograd.convolve(x, weight, bias)
    others: list[Tensor] = []
    thread = threading.Thread(target=lambda: others.append(winograd.convolve(x, weight, bias)))
    thread.start()
    winograd.convolve(torch.randn(9, 64, 8, 8), torch.randn(64, 64, 3, 3))  # other sizes in the same scratch memory
    thread.join()
    assert torch.equal(first, others[0])
    assert torch.equal(first, winograd.convolve(x, weight, bias))


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain convolution does it."""
    x, weight, bias = draws(SHAPES[0])
    winograd_kernels.available.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    try:
        assert not winograd.suits(x, weight)
        assert torch.equal(resample.convolve(x, weight, bias), plain(x, weight, bias))
    finally:
        winograd_kernels.available.cache_clear()


def test_configuration() -> None:
    x, weight, _ = draws(SHAPES[0])
    cpu = torch.device("cpu")
    with compute.Config().autocast(cpu):
        assert winograd.suits(x, weight)
    with compute.Config(winograd=False).autocast(cpu):
        assert not winograd.suits(x, weight)
    assert winograd.suits(x, weight)


def test_transforms_of_constants() -> None:
    """A map of ones under a kernel of ones: 9 inside, 6 at the edges, 4 in the corners, to the rounding."""
    y = winograd.convolve(torch.ones(1, 16, 8, 8), torch.ones(16, 16, 3, 3))
    line = torch.tensor([2.0] + [3.0] * 6 + [2.0])
    assert torch.allclose(y, 16 * torch.outer(line, line).expand(1, 16, 8, 8), rtol=1e-5)
    assert winograd_kernels.available()


def test_training_goes_on_after_sampling() -> None:
    """Scratch memory that was made in inference mode could not be written to afterwards."""
    x, weight = torch.randn(2, 32, 24, 24), torch.randn(48, 32, 3, 3)
    with torch.inference_mode():
        sampled = winograd.convolve(x, weight)
    weight.requires_grad_()
    trained = winograd.convolve(x, weight)
    trained.sum().backward()
    assert torch.equal(sampled, trained.detach())
