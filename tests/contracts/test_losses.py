"""The contract of every loss in training/losses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from training import losses
from training.config import load_plugin, plugin_names

pytestmark = pytest.mark.parametrize("name", plugin_names(losses))


def critic(images: torch.Tensor) -> torch.Tensor:
    return images.square().mean(dim=(1, 2, 3)) + images.mean(dim=(1, 2, 3))


def test_terms_are_per_image_and_logs_are_detached(name: str) -> None:
    module = load_plugin(losses, name, "loss")
    config = module.Config()
    assert dataclasses.is_dataclass(config)
    reals, fakes = torch.randn(5, 3, 8, 8), torch.randn(5, 3, 8, 8, requires_grad=True)
    for_d = module.discriminator_terms(config, critic, reals, fakes.detach(), torch.rand(5), 1)
    for_g = module.generator_terms(config, critic, fakes)
    for terms in (for_d, for_g):
        assert terms.loss.shape == (5,)
        for value in terms.logs.values():
            assert value.shape == (5,)
            assert not value.requires_grad
    for_g.loss.sum().backward()
    assert fakes.grad is not None
    assert fakes.grad.abs().sum() > 0


def test_the_generator_gains_by_a_higher_score(name: str) -> None:
    module = load_plugin(losses, name, "loss")
    images = torch.randn(4, 3, 4, 4)
    low = module.generator_terms(module.Config(), critic, images).loss
    high = module.generator_terms(module.Config(), lambda x: critic(x) + 1, images).loss
    assert (high < low).all()


def test_no_term_of_an_image_depends_on_another_image(name: str) -> None:
    """True for a critic without batch statistics."""
    module = load_plugin(losses, name, "loss")
    reals, fakes, mixing = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8), torch.rand(4)
    together = module.discriminator_terms(module.Config(), critic, reals, fakes, mixing, 0).loss
    alone = module.discriminator_terms(module.Config(), critic, reals[:1], fakes[:1], mixing[:1], 0).loss
    torch.testing.assert_close(together[:1], alone)
