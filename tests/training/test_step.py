"""One update against a plain re-statement: reals as shown, penalty, critic steps, Adam, reset, generator, average."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from training import randomness
from training.config import Config, load_preset
from training.feed import Shown
from training.growth import Stage
from training.settings import with_settings
from training.state import TrainingState
from training.step import update

BATCH = 4
STAGE = Stage(level=4, alpha=0.3, batch=BATCH, learning_rate=0.01, phase=3)
HALVINGS = 1  # the networks reach 32x32


def configured(*settings: str) -> Config:
    base = ["network.fmap_base=64", "network.fmap_max=8", "ema.decay=0.9", "optimizer.epsilon=1e-4"]
    return with_settings(load_preset("tiny"), [*base, *settings])


def begin(config: Config) -> tuple[TrainingState, Shown]:
    state = TrainingState(config, 32, torch.device("cpu"))
    state.images, state.phase = 1000, STAGE.phase
    count = BATCH * config.optimizer.discriminator_steps
    images = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    return state, Shown(images.to(torch.uint8))


class PlainAdam:
    """Kingma and Ba 2014, Algorithm 1, with beta1 = 0: the first moment is the gradient."""

    def __init__(self, rate: float, beta2: float = 0.99, epsilon: float = 1e-4) -> None:
        self.rate, self.beta2, self.epsilon = rate, beta2, epsilon
        self.moments: dict[Tensor, tuple[int, Tensor]] = {}

    def step(self, loss: Tensor, parameters: list[Tensor]) -> None:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is None:
                    continue
                steps, second = self.moments.get(parameter, (0, torch.zeros_like(parameter)))
                steps, second = steps + 1, self.beta2 * second + (1 - self.beta2) * gradient**2
                self.moments[parameter] = steps, second
                corrected = second / (1 - self.beta2**steps)
                parameter -= self.rate * gradient / (corrected.sqrt() + self.epsilon)


def plain_update(
    state: TrainingState, reals: Tensor, config: Config, adam_d: PlainAdam, adam_g: PlainAdam
) -> dict[str, Tensor]:
    """The same update, written out from the paper: appendix A.1, Gulrajani et al. 2017 Algorithm 1."""

    def draw(purpose: str, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=randomness.stream(config.seed, purpose, state.images))

    generator, critic = state.generator, state.discriminator
    size = int(generator.latent_size)  # type: ignore[arg-type]
    for k in range(config.optimizer.discriminator_steps):
        x = reals[k * BATCH : (k + 1) * BATCH].double() / 127.5 - 1
        x = x.float()
        if config.data.mirror:
            flags = torch.rand(BATCH, generator=randomness.stream(config.seed, "mirror", state.images + k)) < 0.5
            x = torch.stack([image.flip(2) if flag else image for image, flag in zip(x, flags, strict=True)])
        if config.data.fade_reals == "float":
            coarse = x.view(BATCH, 3, 8, 2, 8, 2).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = STAGE.alpha * x + (1 - STAGE.alpha) * coarse
        fake = generator(draw(f"latents of discriminator step {k}", BATCH, size), 4, STAGE.alpha).detach()
        u = torch.rand(
            BATCH, generator=randomness.stream(config.seed, f"mixing of discriminator step {k}", state.images)
        )
        mix = (x + u.view(-1, 1, 1, 1) * (fake - x)).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(mix, 4, STAGE.alpha).scores.sum(), mix, create_graph=True)
        norm = gradient.flatten(1).norm(dim=1) / 2**HALVINGS
        real = critic(x, 4, STAGE.alpha).scores
        terms = critic(fake, 4, STAGE.alpha).scores - real + 10 * (norm - 1) ** 2 + 0.001 * real**2
        adam_d.step(terms.mean(), list(critic.parameters()))
    made = generator(draw("latents of the generator step", BATCH, size), 4, STAGE.alpha)
    adam_g.step(-critic(made, 4, STAGE.alpha).scores.mean(), list(generator.parameters()))
    return {name: tensor.detach().clone() for name, tensor in generator.state_dict().items()}


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["data.mirror=true"],
        ["data.fade_reals=none"],
        ["optimizer.discriminator_steps=3"],
        ["ema.unit=images"],
        ["ema.after=discriminator"],
        ["ema.after=discriminator", "optimizer.discriminator_steps=3", "ema.unit=images"],
    ],
    ids=lambda settings: " ".join(settings) or "default",
)
def test_two_updates_equal_the_plain_statement(settings: list[str]) -> None:
    config = configured(*settings)
    state, reals = begin(config)
    plain = copy.deepcopy(state)
    adam_d, adam_g = PlainAdam(STAGE.learning_rate), PlainAdam(STAGE.learning_rate)
    average = {name: tensor.clone() for name, tensor in plain.average.state_dict().items()}
    steps = config.optimizer.discriminator_steps
    behind = config.ema.after == "discriminator"  # TensorFlow release: with every D step, before the G step
    times = steps if behind else 1
    decay = 0.9 if config.ema.unit == "step" else 0.9 ** (BATCH * steps / times / 16)
    for _ in range(2):
        update(state, reals, STAGE, config, HALVINGS)
        before = {name: tensor.clone() for name, tensor in plain.generator.state_dict().items()}
        after = plain_update(plain, reals.images, config, adam_d, adam_g)
        plain.images += BATCH * steps
        weights = before if behind else after
        for _ in range(times):
            average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    assert state.images == plain.images == 1000 + 2 * BATCH * steps
    for name in ("generator", "discriminator"):
        expected = getattr(plain, name).state_dict()
        for key, value in getattr(state, name).state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=2e-3, atol=2e-4)
    for key, value in state.average.state_dict().items():
        torch.testing.assert_close(value, average[key], rtol=2e-3, atol=2e-4)


def steps_of_adam(state: TrainingState) -> set[int]:
    return {int(m["step"]) for optimizer in state.optimizers.values() for m in optimizer.state.values()}


@pytest.mark.parametrize(("reset", "expected"), [("true", {1}), ("false", {3})])
def test_optimizers_are_reset_when_a_fade_begins_or_ends(reset: str, expected: set[int]) -> None:
    config = configured(f"optimizer.reset={reset}")
    state, reals = begin(config)
    for _ in range(2):
        update(state, reals, STAGE, config, HALVINGS)
    assert steps_of_adam(state) == {2}
    update(state, reals, replace(STAGE, phase=STAGE.phase + 1), config, HALVINGS)
    in_use = {int(m["step"]) for m in state.optimizers["generator"].state.values()}
    assert in_use == expected
    assert state.phase == STAGE.phase + 1


def test_levels_that_are_not_in_use_stay_as_they_are() -> None:
    config = configured()
    state, reals = begin(config)
    before = copy.deepcopy(state.tensors())
    update(state, reals, STAGE, config, HALVINGS)
    for name, tensor in state.tensors().items():
        if name.startswith(("generator/", "discriminator/")) and ("32x32" in name or "rgb.4x4" in name):
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(state.generator.state_dict()["dense.linear.weight"], before["generator/dense.linear.weight"])


def test_logs_are_means_over_images_and_steps() -> None:
    config = configured("optimizer.discriminator_steps=2")
    state, reals = begin(config)
    logs = update(state, reals, STAGE, config, HALVINGS)
    assert set(logs) == {"loss_d", "loss_g", "score_real", "score_fake", "penalty", "gradient_norm", "drift"}
    total = logs["score_fake"] - logs["score_real"] + logs["penalty"] + logs["drift"]
    torch.testing.assert_close(logs["loss_d"], total, rtol=1e-4, atol=1e-5)


def test_a_state_that_is_not_finite_is_refused() -> None:
    config = configured()
    state, _ = begin(config)
    state.check_finite()
    with torch.no_grad():
        state.discriminator.score.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"1 tensors are not finite \(discriminator/score.bias\)"):
        state.check_finite()


def test_no_gradient_is_kept_between_updates() -> None:
    config = configured()
    state, shown = begin(config)
    update(state, shown, STAGE, config, HALVINGS)
    assert all(p.grad is None for network in (state.generator, state.discriminator) for p in network.parameters())
