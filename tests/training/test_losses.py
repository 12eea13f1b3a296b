"""Losses: closed forms for critics whose gradient is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.loss_terms import together
from training.layers.noise import multiplicative_noise
from training.losses import Context, Discriminate, Terms, lsgan
from training.losses.wgan_gp import Config, discriminator_terms, generator_terms

SHAPE = (5, 3, 8, 8)


def linear_critic(weight: Tensor) -> Discriminate:
    return lambda images: (images * weight).sum(dim=(1, 2, 3))


def terms_of(
    config: Config, critic: Discriminate, reals: Tensor, fakes: Tensor, mixing: Tensor, halvings: int, scale: float = 1
) -> Terms:
    context = Context(critic, reals, fakes, halvings, lambda _: mixing, gradient_scale=scale)
    return together(discriminator_terms(config, critic(reals), critic(fakes), context))


def test_terms_of_a_linear_critic() -> None:
    """D(x) = <a, x>: the gradient is a everywhere, so the penalty is lambda / gamma^2 (|a| - gamma)^2."""
    torch.manual_seed(0)
    a, reals, fakes = torch.randn(SHAPE[1:]) / 10, torch.randn(SHAPE), torch.randn(SHAPE)
    config = Config(gradient_weight=10, target_norm=2.0, drift=0.01)
    terms = terms_of(config, linear_critic(a), reals, fakes, torch.rand(5), halvings=0)
    real, fake = (reals * a).sum((1, 2, 3)), (fakes * a).sum((1, 2, 3))
    penalty = 10 / 4 * (a.norm() - 2) ** 2
    torch.testing.assert_close(terms.loss, fake - real + penalty + 0.01 * real**2)
    torch.testing.assert_close(terms.logs["penalty"], penalty.expand(5))
    torch.testing.assert_close(terms.logs["gradient_norm"], a.norm().expand(5))
    torch.testing.assert_close(terms.logs["drift"], 0.01 * real**2)
    torch.testing.assert_close(generator_terms(config, fake).loss, -fake)


def test_penalty_is_taken_between_the_images() -> None:
    """D(x) = |x|^2 / 2 has gradient x, so the penalty shows the point: real + u (fake - real), one u per image."""
    torch.manual_seed(0)
    reals, fakes, u = torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(5)
    terms = terms_of(Config(), lambda x: x.square().sum((1, 2, 3)) / 2, reals, fakes, u, 0)
    points = reals + u.view(-1, 1, 1, 1) * (fakes - reals)
    torch.testing.assert_close(terms.logs["penalty"], 10 * (points.flatten(1).norm(dim=1) - 1) ** 2)


def test_penalty_reaches_the_critics_weights() -> None:
    """The second derivative is not detached: d/da 10 (|a| - 1)^2 = 20 (|a| - 1) a / |a|."""
    a = torch.full(SHAPE[1:], 0.1, requires_grad=True)
    zeros = torch.zeros(SHAPE)
    terms = terms_of(Config(drift=0), linear_critic(a), zeros, zeros, torch.rand(5), 0)
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
    in_full = terms_of(Config(), critic, native, native, u, halvings).logs["penalty"]
    torch.testing.assert_close(in_full, expected)
    in_native = terms_of(Config(penalty_space="native"), critic, native, native, u, halvings).logs["penalty"]
    torch.testing.assert_close(in_native, (10 * (a.norm() - 1) ** 2).expand(5))


def test_the_scale_of_the_gradient_leaves_no_trace() -> None:
    torch.manual_seed(0)
    a, reals, fakes, u = torch.randn(SHAPE[1:]), torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(5)
    plain, scaled = (terms_of(Config(), linear_critic(a), reals, fakes, u, 0, scale).loss for scale in (1.0, 256.0))
    torch.testing.assert_close(plain, scaled)


def lsgan_terms(config: lsgan.Config, real: Tensor, fake: Tensor, lead: float) -> Terms:
    images = torch.zeros(len(real), 3, 4, 4)
    context = Context(lambda x: x, images, images, 0, lambda _: torch.zeros(0), {"lead": torch.tensor(lead)})
    return lsgan.discriminator_terms(config, real, fake, context)


def test_lsgan_terms() -> None:
    """Appendix B by hand: reals at 0, fakes at -1 (the release's 1), a tenth of the weight."""
    real, fake = torch.tensor([0.0, 0.5, -2.0]), torch.tensor([-1.0, 0.5, 2.0])
    terms = lsgan_terms(lsgan.Config(), real, fake, 0.0)
    torch.testing.assert_close(terms.loss, torch.tensor([0.0, 0.25 + 0.1 * 2.25, 4 + 0.1 * 9]))
    torch.testing.assert_close(lsgan.generator_terms(lsgan.Config(), fake).loss, torch.tensor([1.0, 0.25, 4.0]))


@pytest.mark.parametrize(
    ("source", "real", "fake", "lead", "expected"),
    [
        ("output", [0.0, 0.0], [-0.7, -0.9], 0.5, 0.9 * 0.5 + 0.1 * 0.8),
        ("output", [0.0, 0.0], [3.0, 3.0], 0.5, 0.45),  # clipped to 0
        ("output", [0.0, 0.0], [-3.0, -3.0], 0.5, 0.55),  # and to 1
        ("loss", [0.5, 0.5], [-1.0, -1.0], 0.2, 0.9 * 0.2 + 0.1 * 0.25),
    ],
)
def test_lsgan_averages_how_far_the_discriminator_leads(
    source: str, real: list[float], fake: list[float], lead: float, expected: float
) -> None:
    config = lsgan.Config(noise_source=source)  # type: ignore[arg-type]
    after = lsgan_terms(config, torch.tensor(real), torch.tensor(fake), lead).state["lead"]
    assert float(after) == pytest.approx(expected)


@pytest.mark.parametrize(("lead", "sigma"), [(0.3, 0.0), (0.5, 0.0), (0.9, 0.2 * 0.4**2), (1.0, 0.05)])
def test_lsgan_noise_sets_in_above_the_limit(lead: float, sigma: float) -> None:
    strength = lsgan.noise_strength(lsgan.Config(), {"lead": torch.tensor(lead)})
    assert strength is not None
    assert float(strength) == pytest.approx(sigma)
    assert lsgan.noise_strength(lsgan.Config(noise=0), {"lead": torch.tensor(lead)}) is None


def test_multiplicative_noise_is_one_factor_per_image_and_map() -> None:
    x, draws = torch.randn(2, 9, 4, 4), torch.randn(2, 9)
    noisy = multiplicative_noise(x, torch.tensor(0.05), draws)
    for n in range(2):
        for c in range(9):
            torch.testing.assert_close(noisy[n, c], x[n, c] * (1 + float(draws[n, c]) * 0.05 * math.sqrt(9)))
