"""The contract of every architecture in training/architectures."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from training import architectures
from training.config import load_plugin, plugin_names

pytestmark = pytest.mark.parametrize("name", plugin_names(architectures))


@pytest.fixture
def networks(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    module = load_plugin(architectures, name, "arch")
    config = module.Config(fmap_base=64, fmap_max=8)
    torch.manual_seed(0)
    return module.Generator(config, 16), module.Discriminator(config, 16)


def test_config_is_a_frozen_dataclass_with_defaults(name: str) -> None:
    config = load_plugin(architectures, name, "arch").Config()
    assert dataclasses.is_dataclass(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.fmap_base = 1


def test_shapes_at_every_level_and_alpha(networks: tuple[torch.nn.Module, torch.nn.Module]) -> None:
    generator, discriminator = networks
    for level in (2, 3, 4):
        for alpha in (0.0, 0.5, 1.0):
            images = generator(torch.randn(3, generator.latent_size), level, alpha)
            assert images.shape == (3, 3, 2**level, 2**level)
            scores = discriminator(images, level, alpha)
            assert scores.shape == (3,)
            assert torch.isfinite(scores).all()


def test_everything_in_use_has_a_gradient_and_nothing_else(networks: tuple[torch.nn.Module, torch.nn.Module]) -> None:
    """At the top level while fading, all but the heads of lower levels are in use."""
    generator, discriminator = networks
    discriminator(generator(torch.randn(4, generator.latent_size), 4, 0.5), 4, 0.5).sum().backward()
    for network in networks:
        unused = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is None}
        assert unused == {"4x4"}


def test_penalty_can_be_differentiated_twice(networks: tuple[torch.nn.Module, torch.nn.Module]) -> None:
    _, discriminator = networks
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(images, 4, 0.5).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


def test_networks_hold_no_hidden_level(networks: tuple[torch.nn.Module, torch.nn.Module]) -> None:
    """A call at one level leaves no trace in a call at another."""
    generator, _ = networks
    z = torch.randn(2, generator.latent_size)
    with torch.no_grad():
        before = generator(z, 3, 0.5)
        generator(z, 4, 1.0)
        assert torch.equal(generator(z, 3, 0.5), before)


def test_state_survives_a_round_trip_through_the_meta_device(name: str, networks: tuple[torch.nn.Module, ...]) -> None:
    module = load_plugin(architectures, name, "arch")
    with torch.device("meta"):
        empty = module.Generator(module.Config(fmap_base=64, fmap_max=8), 16)
    empty.load_state_dict(networks[0].state_dict(), assign=True)
    z = torch.randn(2, empty.latent_size)
    with torch.no_grad():
        assert torch.equal(empty(z, 4, 0.7), networks[0](z, 4, 0.7))
