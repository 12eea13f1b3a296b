"""One update: the discriminator's steps, the generator's step, the moving average.

The only place where per-image terms are reduced and optimizers step.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from training import ema
from training.config import Config, load_loss
from training.growth import Stage
from training.losses import Discriminate
from training.pixels import fade, mirror, to_float
from training.randomness import stream
from training.state import TrainingState


def update(state: TrainingState, reals: Tensor, stage: Stage, config: Config, halvings: int) -> dict[str, Tensor]:
    """Train on one batch of real images per discriminator step and advance the clock.

    Parameters
    ----------
    state : TrainingState
        Changed in place; ``state.images`` grows by ``len(reals)``.
    reals : Tensor of uint8, shape (discriminator_steps * batch, 3, r, r)
        Images of the stage's level, on the device of the networks.
    stage : Stage
        Of ``state.images``.
    config : Config
        Of the run.
    halvings : int
        Number of levels between the finest resolution and r.

    Returns
    -------
    dict of str to Tensor
        Means over the batch, still on the device: ``loss_d``, ``loss_g`` and what the loss logs.
    """
    if stage.phase != state.phase and config.optimizer.reset:
        state.reset_optimizers()
    state.phase = stage.phase
    state.set_learning_rate(stage.learning_rate)
    steps = config.optimizer.discriminator_steps
    logs: dict[str, Tensor] = {}
    for k, batch in enumerate(reals.chunk(steps)):
        shown = _shown(batch, stage, config, state.images + k)
        for name, value in _step_discriminator(state, shown, stage, config, halvings, k).items():
            logs[name] = logs.get(name, torch.zeros_like(value)) + value / steps
    logs |= _step_generator(state, stage, config)
    ema.update(state.average, state.generator, config.ema.decay_of_step(len(reals)))
    state.images += len(reals)
    return logs


def _shown(pixels: Tensor, stage: Stage, config: Config, position: int) -> Tensor:
    """Real images as the discriminator sees them: float, mirrored, faded."""
    images = to_float(pixels)
    if config.data.mirror:
        flags = torch.rand(len(images), generator=stream(config.seed, "mirror", position)) < 0.5
        images = mirror(images, flags.to(images.device))
    return fade(images, stage.alpha) if config.data.fade_reals else images


def _step_discriminator(
    state: TrainingState, reals: Tensor, stage: Stage, config: Config, halvings: int, k: int
) -> dict[str, Tensor]:
    loss = load_loss(config)
    z = _latents(state, stage, config, f"latents of discriminator step {k}")
    with torch.no_grad():
        fakes = state.generator(z, stage.level, stage.alpha)
    mixing = torch.rand(stage.batch, generator=stream(config.seed, f"mixing of discriminator step {k}", state.images))
    critic = _critic(state, stage)
    terms = loss.discriminator_terms(config.objective, critic, reals, fakes, mixing.to(reals.device), halvings)
    mean = terms.loss.mean()
    _minimize(mean, state.optimizers["optimizer_d"])
    return {"loss_d": mean.detach()} | {name: value.mean() for name, value in terms.logs.items()}


def _step_generator(state: TrainingState, stage: Stage, config: Config) -> dict[str, Tensor]:
    loss = load_loss(config)
    _freeze(state.discriminator, frozen=True)  # its gradients are not needed here: 5% fewer operations
    fakes = state.generator(_latents(state, stage, config, "latents of the generator step"), stage.level, stage.alpha)
    terms = loss.generator_terms(config.objective, _critic(state, stage), fakes)
    mean = terms.loss.mean()
    _minimize(mean, state.optimizers["optimizer_g"])
    _freeze(state.discriminator, frozen=False)
    return {"loss_g": mean.detach()} | {name: value.mean() for name, value in terms.logs.items()}


def _critic(state: TrainingState, stage: Stage) -> Discriminate:
    """The discriminator at the stage's level and alpha."""

    def discriminate(images: Tensor) -> Tensor:
        scores: Tensor = state.discriminator(images, stage.level, stage.alpha)
        return scores

    return discriminate


def _latents(state: TrainingState, stage: Stage, config: Config, purpose: str) -> Tensor:
    size = cast("int", state.generator.latent_size)
    draws = torch.randn(stage.batch, size, generator=stream(config.seed, purpose, state.images))
    return draws.to(next(state.generator.parameters()).device)


def _minimize(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)  # levels that are not in use keep no gradient, so Adam leaves them alone
    loss.backward()
    optimizer.step()


def _freeze(network: nn.Module, *, frozen: bool) -> None:
    network.requires_grad_(not frozen)
