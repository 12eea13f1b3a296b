"""WGAN-GP: closed forms for critics whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.losses.wgan_gp import Config, discriminator_terms, generator_terms

SHAPE = (5, 3, 8, 8)


def linear_critic(weight: Tensor) -> object:
    return lambda images: (images * weight).sum(dim=(1, 2, 3))


def test_terms_of_a_linear_critic() -> None:
    """D(x) = <a, x>: the gradient is a everywhere, so the penalty is lambda / gamma^2 (|a| - gamma)^2."""
    torch.manual_seed(0)
    a, reals, fakes = torch.randn(SHAPE[1:]) / 10, torch.randn(SHAPE), torch.randn(SHAPE)
    config = Config(gradient_weight=10, target_norm=2.0, drift=0.01)
    terms = discriminator_terms(config, linear_critic(a), reals, fakes, torch.rand(5), halvings=0)
    real, fake = (reals * a).sum((1, 2, 3)), (fakes * a).sum((1, 2, 3))
    penalty = 10 / 4 * (a.norm() - 2) ** 2
    torch.testing.assert_close(terms.loss, fake - real + penalty + 0.01 * real**2)
    torch.testing.assert_close(terms.logs["penalty"], penalty.expand(5))
    torch.testing.assert_close(terms.logs["drift"], 0.01 * real**2)
    torch.testing.assert_close(generator_terms(config, linear_critic(a), fakes).loss, -fake)


def test_penalty_is_taken_between_the_images() -> None:
    """D(x) = |x|^2 / 2 has gradient x, so the penalty shows the point: real + u (fake - real), one u per image."""
    torch.manual_seed(0)
    reals, fakes, u = torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(5)
    terms = discriminator_terms(Config(), lambda x: x.square().sum((1, 2, 3)) / 2, reals, fakes, u, 0)
    points = reals + u.view(-1, 1, 1, 1) * (fakes - reals)
    torch.testing.assert_close(terms.logs["penalty"], 10 * (points.flatten(1).norm(dim=1) - 1) ** 2)


def test_penalty_reaches_the_critics_weights() -> None:
    """The second derivative is not detached: d/da 10 (|a| - 1)^2 = 20 (|a| - 1) a / |a|."""
    a = torch.full(SHAPE[1:], 0.1, requires_grad=True)
    zeros = torch.zeros(SHAPE)
    terms = discriminator_terms(Config(drift=0), linear_critic(a), zeros, zeros, torch.rand(5), 0)
    terms.loss.mean().backward()
    norm = a.detach().norm()
    assert a.grad is not None
    torch.testing.assert_close(a.grad, 20 * (norm - 1) * a.detach() / norm)


@pytest.mark.parametrize("halvings", [1, 3])
def test_norm_in_pixels_of_the_finest_resolution(halvings: int) -> None:
    """Oracle: the critic at full resolution averages 2^k x 2^k pixels first; its gradient is taken there directly."""
    torch.manual_seed(0)
    a, native = torch.randn(3, 8, 8), torch.randn(SHAPE)
    full = native.repeat_interleave(2**halvings, 2).repeat_interleave(2**halvings, 3).requires_grad_()
    score = (torch.nn.functional.avg_pool2d(full, 2**halvings) * a).sum((1, 2, 3))
    (gradient,) = torch.autograd.grad(score.sum(), full)
    expected = 10 * (gradient.flatten(1).norm(dim=1) - 1) ** 2
    critic, u = linear_critic(a), torch.rand(5)
    in_full = discriminator_terms(Config(), critic, native, native, u, halvings).logs["penalty"]
    torch.testing.assert_close(in_full, expected)
    in_native = discriminator_terms(Config(penalty_space="native"), critic, native, native, u, halvings).logs["penalty"]
    torch.testing.assert_close(in_native, (10 * (a.norm() - 1) ** 2).expand(5))
