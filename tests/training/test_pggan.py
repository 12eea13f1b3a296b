"""The PGGAN networks: an independent forward pass with every option, gradients, continuity of growing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from oracles import pggan as oracle
from torch import Tensor, nn
from torch.nn import functional

from datasets.errors import InputError
from training.architectures.pggan import Config, Discriminator, Generator
from training.pixels import fade

SMALL = Config(fmap_base=64, fmap_max=8, latent_size=6)
LEVELS = [(2, 1.0), (3, 0.3), (3, 1.0), (4, 0.0), (4, 0.65)]


def networks_of(config: Config, resolution: int, num_classes: int = 0) -> tuple[Generator, Discriminator]:
    return Generator(config, resolution, num_classes), Discriminator(config, resolution, num_classes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmap_base": 0}, "network.fmap_base must be 1 or more, got 0"),
        ({"stddev_group": 0}, "network.stddev_group must be 1 or more, got 0"),
        ({"fmap_decay": -1.0}, "network.fmap_decay must be from 0 to 16, got -1.0"),
        ({"generator_leak": -0.1}, "network.generator_leak must be from 0 to 1, got -0.1"),
        ({"discriminator_leak": 1.5}, "network.discriminator_leak must be from 0 to 1, got 1.5"),
        ({"pixel_norm_epsilon": 0.0}, "network.pixel_norm_epsilon must be above 0, got 0.0"),
        ({"minibatch_discrimination": -1}, "network.minibatch_discrimination must be 0 or more, got -1"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Config(**options)


def weights(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}


def unsettle(network: nn.Module) -> None:
    """Draw everything that starts at a round number, or a test could not tell a missing one."""
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if not name.endswith(("weight", "direction")):
                tensor.copy_(1 + torch.randn_like(tensor).clamp(-2, 2) * 0.3)


def one_hot(count: int, classes: int) -> Tensor | None:
    return torch.eye(classes)[torch.arange(count) % classes] if classes else None


# Every option of the generator, away from its default, alone and where it meets another.
GENERATORS: dict[str, dict[str, Any]] = {
    "default": {},
    "not fused": {"fused_resampling": False},
    "batch norm": {"generator_norm": "batch"},
    "no norm": {"generator_norm": "none", "latent_size": None},
    "ReLU": {"generator_leak": 0.0},
    "tanh": {"tanh": True},
    "latents as they are": {"normalize_latents": False},
    "not equalized": {"equalized": False},
    "scale as drawn": {"drawn_scale": True},
    "epsilon": {"pixel_norm_epsilon": 0.5},
    "labels after": {"classes": 3},
    "labels before": {"classes": 3, "normalize_labels": True},
    "labels, latents as they are": {"classes": 3, "normalize_labels": True, "normalize_latents": False},
    "row a": {"generator_norm": "batch", "generator_leak": 0.0, "tanh": True, "equalized": False},
}
# And of the discriminator.
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "default": {},
    "groups": {"stddev_group": 2},
    "one group": {"stddev_group": 16},
    "no stddev": {"minibatch_stddev": False},
    "layer norm": {"discriminator_norm": "layer"},
    "batch norm": {"discriminator_norm": "batch"},
    "leak": {"discriminator_leak": 0.45},
    "mean first": {"mean_before_activation": True},
    "mean first, not fused": {"mean_before_activation": True, "fused_resampling": False},
    "mean first, batch norm": {"mean_before_activation": True, "discriminator_norm": "batch"},
    "not equalized": {"equalized": False},
    "scale as drawn": {"drawn_scale": True},
    "discrimination": {"minibatch_discrimination": 4, "minibatch_stddev": False},
    "both": {"minibatch_discrimination": 4},
    "classes": {"classes": 3},
    "noise": {"perturb": lambda x: 1.3 * x - 0.1},
}


@pytest.mark.parametrize(("level", "alpha"), LEVELS)
@pytest.mark.parametrize("options", GENERATORS.values(), ids=GENERATORS.keys())
def test_generator_equals_the_numpy_oracle(level: int, alpha: float, options: dict[str, Any]) -> None:
    classes = options.get("classes", 0)
    config = dataclasses.replace(SMALL, **{key: value for key, value in options.items() if key != "classes"})
    torch.manual_seed(level)
    network = Generator(config, 16, classes)
    unsettle(network)
    z, labels = torch.randn(4, network.latent_size), one_hot(4, classes)
    for training in (True, False) if config.generator_norm == "batch" else (True,):
        named = {**dataclasses.asdict(config), "training": training}
        told = None if labels is None else labels.double().numpy()
        expected = oracle.generator(weights(network), named, z.double().numpy(), level, alpha, told)
        with torch.no_grad():
            found = network.train(training)(z, level, alpha, labels)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=3e-5)
        unsettle(network)  # running averages have moved


@pytest.mark.parametrize(("level", "alpha"), LEVELS)
@pytest.mark.parametrize("options", DISCRIMINATORS.values(), ids=DISCRIMINATORS.keys())
def test_discriminator_equals_the_numpy_oracle(level: int, alpha: float, options: dict[str, Any]) -> None:
    classes, perturb = options.get("classes", 0), options.get("perturb", lambda x: x)
    fields = {key: value for key, value in options.items() if key not in ("classes", "perturb")}
    config = dataclasses.replace(SMALL, **fields)
    torch.manual_seed(level)
    network = Discriminator(config, 16, classes)
    unsettle(network)
    images = torch.randn(4, 3, 2**level, 2**level)
    named = dataclasses.asdict(config)
    expected = oracle.discriminator(weights(network), named, images.double().numpy(), level, alpha, perturb)
    with torch.no_grad():
        verdict = network(images, level, alpha, one_hot(4, classes), options.get("perturb"))
    np.testing.assert_allclose(verdict.scores.numpy(), expected[:, 0], rtol=1e-4, atol=3e-5)
    if classes:
        np.testing.assert_allclose(verdict.class_logits.numpy(), expected[:, 1:], rtol=1e-4, atol=3e-5)
    else:
        assert verdict.class_logits is None


TINY = Config(fmap_base=12, fmap_max=3, latent_size=2)


def test_generators_gradient_equals_finite_differences_of_the_oracle() -> None:
    torch.manual_seed(0)
    network = Generator(TINY, 8).double()
    unsettle(network)
    z, direction = torch.randn(2, 2, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    (network(z, 3, 0.4) * direction).sum().backward()
    values, named = weights(network), dataclasses.asdict(TINY)
    for name in ("dense.linear.weight", "conv.linear.bias", "blocks.8x8.0.linear.weight", "to_rgb.4x4.weight"):

        def of(value: np.ndarray, name: str = name) -> float:
            return float((oracle.generator(values | {name: value}, named, z.numpy(), 3, 0.4) * direction.numpy()).sum())

        found = network.get_parameter(name).grad
        np.testing.assert_allclose(found.numpy(), oracle.slopes(of, values[name]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"mean_before_activation": True}], ids=["default", "mean first"])
def test_penaltys_gradient_equals_finite_differences_of_the_oracle(options: dict[str, Any]) -> None:
    """Differentiating twice, and once by the weights in between: nested central differences on the other side."""
    config = dataclasses.replace(TINY, **options)
    torch.manual_seed(1)
    network = Discriminator(config, 8).double()
    unsettle(network)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images, 3, 0.4).scores.sum(), images, create_graph=True)
    loss = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    loss.backward()
    values, named, pixels = weights(network), dataclasses.asdict(config), images.detach().numpy()
    assert float(loss.detach()) == pytest.approx(oracle.penalty(values, named, pixels, 3, 0.4), rel=1e-7)
    for name in ("from_rgb.4x4.linear.weight", "blocks.8x8.1.linear.weight", "conv.linear.weight", "score.weight"):
        found = network.get_parameter(name).grad.numpy()
        place = np.unravel_index(np.abs(found).argmax(), found.shape)

        def of(value: np.ndarray, name: str = name, place: tuple[np.intp, ...] = place) -> float:
            moved = values[name].copy()
            moved[place] += value[0]
            return oracle.penalty(values | {name: moved}, named, pixels, 3, 0.4)

        (slope,) = oracle.slopes(of, np.zeros(1), step=1e-4)
        assert found[place] == pytest.approx(slope, rel=1e-4)


def test_penaltys_gradient_runs_through_the_minibatch_statistics() -> None:
    """The biases below it move the standard deviation only, never the slopes of a network without it."""
    images = torch.randn(4, 3, 8, 8, requires_grad=True)
    for stddev in (True, False):
        torch.manual_seed(1)
        network = Discriminator(dataclasses.replace(TINY, minibatch_stddev=stddev), 8)
        (gradient,) = torch.autograd.grad(network(images, 3, 1.0).scores.sum(), images, create_graph=True)
        gradient.square().sum().backward()
        moves = network.blocks["8x8"][0].linear.bias.grad
        assert (moves is not None and bool(moves.abs().sum() > 0)) == stddev


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize(
    "options", [{}, {"fused_resampling": False}, {"mean_before_activation": True}, {"tanh": True}], ids=str
)
def test_growing_is_continuous(level: int, options: dict[str, Any]) -> None:
    """At alpha 0 a new level draws, and scores, exactly what the level below does."""
    torch.manual_seed(0)
    generator, discriminator = networks_of(dataclasses.replace(SMALL, **options), 32)
    z = torch.randn(4, 6)
    with torch.no_grad():
        below, new = generator(z, level - 1, 1.0), generator(z, level, 0.0)
        assert torch.equal(new, torch.nn.functional.interpolate(below, scale_factor=2))
        scores = discriminator(new, level, 0.0).scores
        torch.testing.assert_close(scores, discriminator(below, level - 1, 1.0).scores)
        # and the reals likewise: a fully faded-out real is its enlarged half
        real = torch.randn(4, 3, 2**level, 2**level)
        halved = torch.nn.functional.avg_pool2d(real, 2)
        faded = discriminator(fade(real, 0.0), level, 0.0).scores
        torch.testing.assert_close(faded, discriminator(halved, level - 1, 1.0).scores)


def test_at_full_alpha_only_the_heads_of_the_level_matter() -> None:
    torch.manual_seed(0)
    generator, discriminator = networks_of(SMALL, 16)
    z = torch.randn(2, 6)
    with torch.no_grad():
        before = generator(z, 4, 1.0)
        judged = discriminator(before, 4, 1.0).scores
        generator.to_rgb["8x8"].weight.add_(1)
        discriminator.from_rgb["8x8"].linear.weight.add_(1)
        assert torch.equal(generator(z, 4, 1.0), before)
        assert not torch.equal(generator(z, 4, 0.9), before)
        assert torch.equal(discriminator(before, 4, 1.0).scores, judged)
        assert not torch.equal(discriminator(before, 4, 0.9).scores, judged)


def test_mean_before_the_activation_is_another_function() -> None:
    """The released TensorFlow code's default form and the paper's differ on the same weights, fused or not."""
    scores = []
    for config in (SMALL, dataclasses.replace(SMALL, mean_before_activation=True)):
        torch.manual_seed(0)
        network = Discriminator(config, 16)
        with torch.no_grad():
            scores.append(network(torch.randn(4, 3, 16, 16), 4, 1.0).scores)
    assert (scores[0] - scores[1]).abs().max() > 1e-2


def test_fused_and_plain_networks_have_equal_gradients_of_every_order() -> None:
    results = []
    for fused in (True, False):
        torch.manual_seed(0)
        config = dataclasses.replace(SMALL, fused_resampling=fused, mean_before_activation=True)
        generator, discriminator = (network.double() for network in networks_of(config, 16))
        fakes = generator(torch.randn(4, 6, dtype=torch.float64), 4, 0.5)
        (slope,) = torch.autograd.grad(discriminator(fakes, 4, 0.5).scores.sum(), fakes, create_graph=True)
        (slope.square().sum() + fakes.square().sum()).backward()
        results.append([p.grad for n in (generator, discriminator) for p in n.parameters() if p.grad is not None])
    assert len(results[0]) == len(results[1])
    for fused_gradient, plain_gradient in zip(*results, strict=True):
        torch.testing.assert_close(fused_gradient, plain_gradient, rtol=1e-9, atol=1e-11)


def test_without_equalized_learning_rate_weights_are_drawn_from_hes_distribution() -> None:
    """The same networks at the start, other parameters."""
    torch.manual_seed(0)
    equalized = networks_of(SMALL, 16)
    torch.manual_seed(0)
    drawn = networks_of(dataclasses.replace(SMALL, equalized=False), 16)
    z = torch.randn(4, 6)
    with torch.no_grad():
        images = [generator(z, 4, 0.5) for generator in (equalized[0], drawn[0])]
        torch.testing.assert_close(images[0], images[1])
        scores = [critic(images[0], 4, 0.5).scores for critic in (equalized[1], drawn[1])]
        torch.testing.assert_close(scores[0], scores[1])
    layer = drawn[0].conv.linear
    assert layer.scale == 1.0
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (8 * 9)) ** 0.5, rel=0.1)


def test_prepare_sets_up_minibatch_discrimination_on_real_images() -> None:
    torch.manual_seed(0)
    network = Discriminator(dataclasses.replace(SMALL, minibatch_discrimination=5), 16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(40, 3, 8, 8)
    network.prepare(images, 3, 0.5)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"discrimination.log_length", "discrimination.bias"}
    seen: list[Tensor] = []
    network.score.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        network(images, 3, 0.5)
    torch.testing.assert_close(seen[0][:, 8:].mean(dim=0), torch.zeros(5), rtol=0, atol=1e-4)
    Discriminator(SMALL, 16).prepare(images, 3, 0.5)  # nothing to prepare


def test_batch_normalized_images_do_not_depend_on_each_other_once_training_is_over() -> None:
    torch.manual_seed(0)
    network = Generator(dataclasses.replace(SMALL, generator_norm="batch"), 16)
    z = torch.randn(8, 6)
    for _ in range(3):
        network(z, 4, 1.0)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(z, 4, 1.0)[:2], network(z[:2], 4, 1.0))


@pytest.mark.parametrize("leak", [0.2, 0.0])
def test_activation_in_place_changes_no_gradient(leak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, the gradient penalty included."""
    own = functional.leaky_relu
    results = []
    for in_place in (True, False):
        if not in_place:
            monkeypatch.setattr(functional, "leaky_relu", lambda x, slope, inplace=False: own(x, slope))
        torch.manual_seed(0)
        config = Config(fmap_base=256, fmap_max=32, generator_leak=leak, discriminator_leak=leak)
        generator, discriminator = Generator(config, 16), Discriminator(config, 16)
        fakes = generator(torch.randn(4, 32), 4, 0.3)
        mixed = torch.rand(4, 3, 16, 16, requires_grad=True)
        (gradient,) = torch.autograd.grad(discriminator(mixed, 4, 0.3).scores.sum(), mixed, create_graph=True)
        (gradient.square().sum() + discriminator(fakes, 4, 0.3).scores.sum()).backward()
        results.append([p.grad for n in (generator, discriminator) for p in n.parameters()])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        assert a is None or b is None or torch.equal(a, b)
