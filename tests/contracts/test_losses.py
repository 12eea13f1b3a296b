"""The contract of every loss in training/losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.loss_terms import together
from training import losses
from training.config import load_plugin, plugin_names
from training.losses import Context, Terms


@pytest.fixture(params=plugin_names(losses))
def module(request: pytest.FixtureRequest) -> ModuleType:
    loaded: ModuleType = load_plugin(losses, request.param, "loss")
    return loaded


def critic(images: Tensor) -> Tensor:
    return images.square().mean(dim=(1, 2, 3)) + images.mean(dim=(1, 2, 3))


def for_d(module: ModuleType, reals: Tensor, fakes: Tensor, draws: Callable[[str], Tensor]) -> Terms:
    config = module.Config()
    context = Context(critic, reals, fakes, 1, draws, module.initial_state(config))
    return together(module.discriminator_terms(config, critic(reals), critic(fakes), context))


def test_terms_are_per_image_and_logs_are_detached(module: ModuleType) -> None:
    config = module.Config()
    assert dataclasses.is_dataclass(config)
    reals, fakes = torch.randn(5, 3, 8, 8), torch.randn(5, 3, 8, 8, requires_grad=True)
    of_d = for_d(module, reals, fakes.detach(), lambda _: torch.rand(5))
    of_g = module.generator_terms(config, critic(fakes))
    for terms in (of_d, of_g):
        assert terms.loss.shape == (5,)
        for value in terms.logs.values():
            assert value.shape == (5,)
            assert not value.requires_grad
    of_g.loss.sum().backward()
    assert fakes.grad is not None
    assert fakes.grad.abs().sum() > 0


def test_what_is_carried_on_keeps_its_names_and_has_no_gradient(module: ModuleType) -> None:
    reals, fakes = (torch.randn(5, 3, 8, 8, requires_grad=True) for _ in range(2))
    before = module.initial_state(module.Config())
    after = for_d(module, reals, fakes, lambda _: torch.rand(5)).state
    assert set(after) == set(before)
    for value in (*before.values(), *after.values()):
        assert value.shape == ()
        assert not value.requires_grad
    sigma = module.noise_strength(module.Config(), before)
    assert sigma is None or (sigma.shape == () and not sigma.requires_grad)


def test_a_higher_score_is_a_more_real_image_for_both_networks(module: ModuleType) -> None:
    """Between what D is to say of fakes and of reals, D moves reals up and fakes down, and G moves fakes up."""
    config = module.Config()
    scores = torch.tensor([-0.8, -0.5, -0.2], requires_grad=True)
    (by_g,) = torch.autograd.grad(module.generator_terms(config, scores).loss.sum(), scores)
    assert (by_g < 0).all()
    images = torch.randn(3, 3, 4, 4)
    context = Context(critic, images, images, 0, lambda _: torch.rand(3), module.initial_state(config))
    real, fake = scores.detach().requires_grad_(), scores.detach().requires_grad_()
    loss = module.discriminator_terms(config, real, fake, context).loss.sum()
    of_real, of_fake = torch.autograd.grad(loss, (real, fake))
    assert (of_real < 0).all()
    assert (of_fake > 0).all()


def test_no_term_of_an_image_depends_on_another_image(module: ModuleType) -> None:
    """True for a critic without batch statistics."""
    reals, fakes, mixing = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8), torch.rand(4)
    together = for_d(module, reals, fakes, lambda _: mixing).loss
    alone = for_d(module, reals[:1], fakes[:1], lambda _: mixing[:1]).loss
    torch.testing.assert_close(together[:1], alone)
