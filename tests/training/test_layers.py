"""Layers: published vectors, closed forms, precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, leaky_relu, pad

from training.layers import resample
from training.layers.activated import Style
from training.layers.equalized import Convolution, Dense, scale_as_drawn
from training.layers.minibatch_discrimination import MinibatchDiscrimination
from training.layers.minibatch_stddev import minibatch_stddev
from training.layers.normalization import BatchNorm, LayerNorm
from training.layers.pixel_norm import pixel_norm
from training.layers.precision import full_precision
from training.layers.resample import (
    convolve_and_halve,
    convolve_then_halve,
    double,
    double_and_convolve,
    double_then_convolve,
    halve,
)

LOW = [torch.bfloat16, torch.float16]


def test_pixel_norm_vector() -> None:
    """[3, 4] -> [0.84852814, 1.13137085], computed by hand from the formula."""
    out = pixel_norm(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.84852814, 1.13137085]]))


def test_normalized_latents_have_length_sqrt_512() -> None:
    lengths = pixel_norm(torch.randn(8, 512)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((8,), math.sqrt(512)))


def test_pixel_norm_is_per_pixel() -> None:
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, 3, 4), rtol=1e-4, atol=1e-4)


def test_minibatch_stddev_vectors() -> None:
    """Reference: 1..8 as (4, 2, 1, 1) gives sqrt(5); with three times itself in groups of 4 the groups alternate."""
    x = torch.arange(1.0, 9.0).view(4, 2, 1, 1)
    assert minibatch_stddev(x).shape == (4, 3, 1, 1)
    torch.testing.assert_close(minibatch_stddev(x)[:, 2].flatten(), torch.full((4,), 2.23606798))
    both = minibatch_stddev(torch.cat([x, 3 * x]), group_size=4)[:, 2].flatten()
    torch.testing.assert_close(both, torch.tensor([5.6925824, 7.09575935]).repeat(4))
    assert torch.equal(minibatch_stddev(x)[:, :2], x)


def test_minibatch_stddev_of_equal_images_is_the_epsilon() -> None:
    out = minibatch_stddev(torch.ones(4, 3, 2, 2))
    torch.testing.assert_close(out[:, 3], torch.full((4, 2, 2), 1e-4))


def test_minibatch_stddev_refuses_a_batch_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="6 images does not divide into minibatch-stddev groups of 4"):
        minibatch_stddev(torch.ones(6, 1, 2, 2), group_size=4)


@pytest.mark.parametrize("dtype", LOW)
def test_statistics_of_low_precision_maps_are_taken_in_float32(dtype: torch.dtype) -> None:
    """Exactly the float32 result, rounded once; squares of 300 are beyond float16, and epsilon is far below it."""
    x = (torch.randn(8, 40, 4, 4) * 300).to(dtype)
    assert torch.equal(pixel_norm(x), pixel_norm(x.float()).to(dtype))
    assert torch.isfinite(pixel_norm(x)).all()
    assert torch.equal(minibatch_stddev(x, 4), minibatch_stddev(x.float(), 4).to(dtype))
    torch.testing.assert_close(minibatch_stddev(x[:1])[:, -1], torch.full((1, 4, 4), 1e-4, dtype=dtype))
    discrimination = MinibatchDiscrimination(40, 3)
    vectors = x[:, :, 0, 0] / 300
    assert torch.equal(discrimination(vectors), discrimination(vectors.float()).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(discrimination(vectors.float()), discrimination(vectors.float()).float())


def test_full_precision_stops_autocast_for_a_while() -> None:
    x = torch.randn(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
    with full_precision(torch.device("meta")):
        pass


def test_equalized_layers_multiply_by_hes_constant_and_leave_the_bias_alone() -> None:
    conv = Convolution(4, 3, 3)
    with torch.no_grad():
        conv.bias.fill_(5.0)
    x = torch.randn(2, 4, 6, 6)
    expected = conv2d(x, conv.weight, padding=1) * (math.sqrt(2) / math.sqrt(4 * 9)) + 5.0
    torch.testing.assert_close(conv(x), expected)
    linear = Dense(9, 2, gain=1.0)
    torch.testing.assert_close(linear(torch.ones(1, 9)), linear.weight.sum(1)[None] / 3)


def test_a_dense_layer_to_maps_has_one_bias_per_map() -> None:
    dense = Dense(5, 2, side=4, gain=1.0)
    with torch.no_grad():
        dense.bias.copy_(torch.tensor([10.0, 20.0]))
    out = dense(torch.zeros(1, 5))
    assert torch.equal(out[0, 0], torch.full((4, 4), 10.0))
    assert torch.equal(out[0, 1], torch.full((4, 4), 20.0))


def test_equalized_weights_start_from_a_unit_normal() -> None:
    weight = Dense(512, 2048).weight.detach()
    assert weight.mean().abs() < 0.01
    assert float(weight.std()) == pytest.approx(1.0, abs=0.01)


def test_he_weights_are_drawn_at_their_scale_and_not_scaled_again() -> None:
    dense = Dense(512, 2048, equalized=False)
    assert float(dense.weight.detach().std()) == pytest.approx(math.sqrt(2 / 512), rel=0.01)
    assert dense.scaled_weight() is dense.weight


def test_scales_as_drawn_are_those_of_the_numbers_drawn() -> None:
    """Theano release: the scale is the tensor's root mean square, and what is kept has a mean square of one."""
    layers = torch.nn.Sequential(Convolution(3, 5, 3), Dense(45, 2), Dense(4, 2, equalized=False))
    before = [layer.scaled_weight().detach().clone() for layer in layers]
    formula = [layer.scale for layer in layers]
    scale_as_drawn(layers)
    for layer, weight in zip(layers[:2], before[:2], strict=True):
        torch.testing.assert_close(layer.scale, weight.square().mean().sqrt())
        torch.testing.assert_close(layer.weight.square().mean(), torch.tensor(1.0))
        torch.testing.assert_close(layer.scaled_weight(), weight)
    assert abs(float(layers[0].scale) / formula[0] - 1) > 1e-3  # a small tensor's is not the formula's
    assert layers[2].scale == 1.0
    again = torch.nn.Sequential(Convolution(3, 5, 3), Dense(45, 2), Dense(4, 2, equalized=False))
    scale_as_drawn(again)
    again.load_state_dict(layers.state_dict())
    torch.testing.assert_close(again[0].scaled_weight(), before[0])
    for layer in layers[:2]:
        layer.fold()
    torch.testing.assert_close(layers[0].weight, before[0])
    assert layers[0].scaled_weight() is layers[0].weight


def test_what_follows_a_linear_map() -> None:
    """Pixel norm after the activation; batch and layer norm before it, in the bias's place."""
    x = torch.randn(4, 3, 5, 5)
    plain = Style(leak=0.3).convolution(3, 6)
    with torch.no_grad():
        plain.linear.bias.normal_()
    expected = leaky_relu(plain.linear(x), 0.3)
    torch.testing.assert_close(plain(x), expected)
    assert plain(x).min() < 0
    pixel = Style(leak=0.3, normalization="pixel", epsilon=0.5).convolution(3, 6)
    pixel.load_state_dict(plain.state_dict())
    torch.testing.assert_close(pixel(x), pixel_norm(expected, 0.5))
    for norm, kind in (("batch", BatchNorm), ("layer", LayerNorm)):
        layer = Style(leak=0.0, normalization=norm).convolution(3, 6)
        assert layer.linear.bias is None
        assert isinstance(layer.normalize, kind)
        out = layer(x)
        assert out.min() == 0
        assert (out == 0).float().mean() == pytest.approx(0.5, abs=0.1)  # centred, then cut


def test_batch_norm_learns_running_averages() -> None:
    norm = BatchNorm(2)
    x = torch.tensor([1.0, 10.0]).view(1, 2, 1, 1) + torch.tensor([1.0, 3.0]).view(1, 2, 1, 1) * torch.randn(
        64, 2, 4, 4
    )
    out = norm(x)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(dim=(0, 2, 3)), torch.ones(2), rtol=1e-2, atol=0)
    for _ in range(100):
        norm(x)
    torch.testing.assert_close(norm.mean, x.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-3)
    single = x[:1]
    torch.testing.assert_close(norm.eval()(single), out[:1], rtol=1e-2, atol=1e-2)


def test_layer_norm_looks_at_one_image_at_a_time() -> None:
    norm = LayerNorm(3)
    x = torch.randn(4, 3, 5, 5) * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1) + 7
    out = norm(x)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.flatten(1).var(1), torch.ones(4), rtol=2e-2, atol=0)
    torch.testing.assert_close(norm(x[2:3]), out[2:3])
    assert out[:, 2].std() > 2 * out[:, 0].std()  # maps keep their proportions
    assert norm(x.bfloat16()).dtype == torch.bfloat16


def test_minibatch_discrimination_by_hand() -> None:
    """One kernel of one dimension: the distances are those of the numbers themselves, times exp(log_length)."""
    layer = MinibatchDiscrimination(1, kernels=1, dimensions=1)
    with torch.no_grad():
        layer.direction.fill_(-7.0)  # its length does not count
        layer.log_length.fill_(math.log(2.0))
    assert layer.bias.tolist() == [-1.0]
    out = layer(torch.tensor([[0.0], [1.0], [1.5]]))
    near = [math.exp(-2) + math.exp(-3), math.exp(-2) + math.exp(-1), math.exp(-3) + math.exp(-1)]
    torch.testing.assert_close(out[:, 1], torch.tensor(near) - 1)
    assert torch.equal(out[:, 0], torch.tensor([0.0, 1.0, 1.5]))


def test_minibatch_discrimination_starts_from_the_data() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(6, kernels=4, dimensions=3)
    x = torch.randn(50, 6) * 40  # much too far apart for the initial lengths
    assert float(layer(x)[:, 6:].detach().max()) < -0.5
    layer.prepare(x)
    statistics = layer(x)[:, 6:].detach()
    torch.testing.assert_close(statistics.mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)
    seen = layer._project(x).detach()
    for kernel in range(4):
        distances = torch.cdist(seen[:, kernel], seen[:, kernel], p=1).fill_diagonal_(torch.inf)
        assert float(distances.amin(dim=1).mean()) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("count", [1, 5])
def test_minibatch_discrimination_cannot_start_from_equal_images(count: int) -> None:
    layer = MinibatchDiscrimination(6, kernels=4)
    layer.prepare(torch.ones(count, 6))
    assert torch.equal(layer.bias, torch.full((4,), -1.0))
    assert torch.equal(layer.log_length, torch.zeros(4, 5))


def test_resampling() -> None:
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(double(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(
        halve(x), (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_operation_for_convolution_and_resampling_equals_two(layout: torch.memory_format) -> None:
    x = torch.randn(2, 4, 6, 10, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(3, 4, 3, 3, dtype=torch.float64).contiguous(memory_format=layout)
    bias = torch.randn(3, dtype=torch.float64)
    for one, two in ((double_and_convolve, double_then_convolve), (convolve_and_halve, convolve_then_halve)):
        torch.testing.assert_close(one(x, weight, bias), two(x, weight, bias), rtol=1e-13, atol=1e-13)
        assert one(x, weight, None).is_contiguous(memory_format=layout)
    expected = conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, bias, padding=1)
    torch.testing.assert_close(double_and_convolve(x, weight, bias), expected)
    torch.testing.assert_close(convolve_and_halve(x, weight, bias), avg_pool2d(conv2d(x, weight, bias, padding=1), 2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("operation", [double_and_convolve, convolve_and_halve])
def test_fused_operations_differentiate_twice(operation: object, layout: torch.memory_format) -> None:
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return operation(x, weight, None)

    assert torch.autograd.gradcheck(apply, (x, weight))
    assert torch.autograd.gradgradcheck(apply, (x, weight))


def test_fused_operations_work_after_a_call_in_inference_mode() -> None:
    """What is kept between calls must serve training, too, whoever called first."""
    resample._corners.cache_clear()
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3, requires_grad=True)
    with torch.inference_mode():
        double_and_convolve(x, weight)
    double_and_convolve(x, weight).sum().backward()
    assert weight.grad is not None


def test_fused_kernels_of_the_tensorflow_release() -> None:
    """A fact that importers of its checkpoints rely on: the 4x4 kernels made of four shifted 3x3 ones.

    Down: equal to convolution, then 2x2 mean. Up: equal to doubling, then convolution with the flipped kernel.
    """
    x, kernel = torch.randn(1, 2, 8, 8, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    padded = pad(kernel, (1, 1, 1, 1))
    four = padded[:, :, 1:, 1:] + padded[:, :, :-1, 1:] + padded[:, :, 1:, :-1] + padded[:, :, :-1, :-1]
    down = conv2d(x, four / 4, stride=2, padding=1)
    torch.testing.assert_close(down, avg_pool2d(conv2d(x, kernel, padding=1), 2))
    torch.testing.assert_close(down, convolve_and_halve(x, kernel))
    up = conv_transpose2d(x, four.transpose(0, 1), stride=2, padding=1)
    flipped = kernel.flip(2, 3)
    torch.testing.assert_close(up, conv2d(interpolate(x, scale_factor=2), flipped, padding=1))
    torch.testing.assert_close(up, double_and_convolve(x, flipped))
