"""One update: the discriminator's steps, the generator's step, the moving average.

The only place where per-image terms are reduced and optimizers step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from training import ema
from training.architectures import Perturb, Verdict
from training.conditioning import class_terms
from training.config import Config, load_loss
from training.feed import Feed, Shown
from training.growth import Schedule, Stage
from training.layers.noise import multiplicative_noise
from training.losses import Context, Terms
from training.memory import in_parts
from training.pixels import fade, mirror, to_float
from training.randomness import stream
from training.ranks import Ranks
from training.state import TrainingState

Logs = dict[str, Tensor]

_PREPARED_ON = 500  # real images, as in the Theano release
_MOST_GRADIENT_SCALE = (
    1024.0  # in float16, of the gradient by the images: its range is that of the scores, not of weights
)


def update(
    state: TrainingState, shown: Shown, stage: Stage, config: Config, halvings: int, ranks: Ranks | None = None
) -> Logs:
    """Train on one minibatch of real images per discriminator step and advance the clock.

    Parameters
    ----------
    state : TrainingState
        Changed in place; ``state.images`` grows by the number of images that all ranks were shown.
    shown : Shown
        This rank's real images of the stage's level, on the device of the networks.
    stage : Stage
        Of ``state.images``.
    config : Config
        Of the run.
    halvings : int
        Number of levels between the finest resolution and the stage's.
    ranks : Ranks, optional
        The processes that train together; by default this one is alone.

    Returns
    -------
    dict of str to Tensor
        Means over this rank's images, still on the device: ``loss_d``, ``loss_g``, ``score_real``, ``score_fake`` and
        what the loss logs.
    """
    if stage.phase != state.phase and config.optimizer.reset:
        state.reset_optimizers()
    state.phase = stage.phase
    state.set_learning_rate(stage.learning_rate)
    step = _Step(state, stage, config, halvings, ranks or Ranks())
    steps = config.optimizer.discriminator_steps
    logs: Logs = {}
    for k, minibatch in enumerate(shown.split(steps)):
        fakes = step.fakes(f"discriminator step {k}", minibatch.labels)
        for name, value in step.discriminator(minibatch, fakes, k).items():
            logs[name] = logs.get(name, torch.zeros_like(value)) + value / steps
        if config.optimizer.updates == "alternating":
            step.apply("discriminator")
            fakes = step.fakes("the generator step")
        elif k < steps - 1:
            step.apply("discriminator")
        if config.ema.after == "discriminator":
            step.average(stage.batch)
    logs |= step.generator(fakes)
    if config.optimizer.updates == "joint":
        step.apply("discriminator")
    step.apply("generator")
    if config.ema.after == "generator":
        step.average(stage.batch * steps)
    state.images += stage.batch * steps
    return logs


def prepare(state: TrainingState, feed: Feed, schedule: Schedule) -> None:
    """Initial values that depend on data, before the first step: see `training.architectures`."""
    prepare_network: Callable[[Tensor, int, float], None] | None = getattr(state.discriminator, "prepare", None)
    if prepare_network is not None:
        stage = schedule.stage(0)
        prepare_network(to_float(feed.first(_PREPARED_ON)), stage.level, stage.alpha)


@dataclasses.dataclass(frozen=True)
class Fakes:
    """What the generator is to draw: latents of shape (n, latent_size), one-hot labels of shape (n, C) or None."""

    latents: Tensor
    labels: Tensor | None

    def __getitem__(self, part: slice) -> Fakes:
        return Fakes(self.latents[part], _part(self.labels, part))


@dataclasses.dataclass(frozen=True)
class _Step:
    """One update under way."""

    state: TrainingState
    stage: Stage
    config: Config
    halvings: int
    ranks: Ranks

    def fakes(self, purpose: str, own_labels: Tensor | None = None) -> Fakes:
        """What the generator is to draw in a step: as many images as this rank has of the minibatch."""
        latents = self._draw(torch.randn, f"latents of {purpose}", size=cast("int", self.state.generator.latent_size))
        if own_labels is not None and self.config.conditioning.discriminator_labels == "own":
            return Fakes(latents, own_labels)
        drawn = self.state.labels.draw(
            self.stage.batch, stream(self.config.seed, f"labels of {purpose}", self.state.images)
        )
        return Fakes(latents, None if drawn is None else self.ranks.own(drawn).to(self.state.device))

    def discriminator(self, shown: Shown, fakes: Fakes, k: int) -> Logs:
        """Gradients of the discriminator's loss on one minibatch."""
        state, config, loss = self.state, self.config, load_loss(self.config)
        reals = self._as_shown(shown.images, state.images + k)
        sigma = loss.noise_strength(config.objective, state.loss_state)
        gradient_scale = min(state.scalers["discriminator"].get_scale(), _MOST_GRADIENT_SCALE)

        def terms_of(part: slice) -> Terms:
            perturb = self._perturb(sigma, f"noise of discriminator step {k}", part)
            real, labels, drawn = reals[part], _part(shown.labels, part), fakes[part]
            with torch.no_grad():
                fake = self._generate(drawn)
            of_real, of_fake = self._judge(real, labels, perturb), self._judge(fake, drawn.labels, perturb)
            context = Context(
                discriminate=lambda images: self._judge(images, labels, perturb).scores,
                reals=real,
                fakes=fake,
                halvings=self.halvings,
                uniform=lambda purpose: self._draw(torch.rand, f"{purpose} of discriminator step {k}")[part],
                state=state.loss_state,
                gradient_scale=gradient_scale,
            )
            terms = loss.discriminator_terms(config.objective, of_real.scores, of_fake.scores, context)
            guesses = class_terms(of_real.class_logits, labels) + class_terms(of_fake.class_logits, drawn.labels)
            scores = {"score_real": of_real.scores.detach(), "score_fake": of_fake.scores.detach()}
            return self._with_classes(
                dataclasses.replace(terms, logs=scores | dict(terms.logs)), guesses, "class_loss_d"
            )

        mean, logs, carried = self._accumulate("discriminator", terms_of)
        state.loss_state |= {name: self.ranks.mean(value) for name, value in carried.items()}
        return {"loss_d": mean} | logs

    def generator(self, fakes: Fakes) -> Logs:
        """Gradients of the generator's loss."""
        config, loss = self.config, load_loss(self.config)
        sigma = loss.noise_strength(config.objective, self.state.loss_state)

        def terms_of(part: slice) -> Terms:
            drawn = fakes[part]
            perturb = self._perturb(sigma, "noise of the generator step", part)
            verdict = self._judge(self._generate(drawn), drawn.labels, perturb)
            terms = loss.generator_terms(config.objective, verdict.scores)
            return self._with_classes(terms, class_terms(verdict.class_logits, drawn.labels), "class_loss_g")

        self.state.discriminator.requires_grad_(False)  # its gradients are not needed here: 5% fewer operations
        try:
            mean, logs, _ = self._accumulate("generator", terms_of)
        finally:
            self.state.discriminator.requires_grad_(True)
        return {"loss_g": mean} | logs

    def apply(self, name: str) -> None:
        """Step of an optimizer along the gradients of all ranks."""
        network: nn.Module = getattr(self.state, name)
        self.ranks.average_gradients(network)
        scaler = self.state.scalers[name]
        leaves_out = scaler.is_enabled() or self.config.guards.non_finite != "go_on"  # the scaler does so by itself
        if leaves_out or _all_finite(network):
            scaler.step(self.state.optimizers[name])
        scaler.update()
        self.state.optimizers[name].zero_grad(set_to_none=True)  # no memory for them while the other network computes

    def average(self, images: int) -> None:
        """Update of the moving average, on the first rank, after so many images."""
        if self.ranks.first:
            ema.update(self.state.average, self.state.generator, self.config.ema.decay_of_step(images))

    def _accumulate(self, name: str, terms_of: Callable[[slice], Terms]) -> tuple[Tensor, Logs, dict[str, Tensor]]:
        """Gradients of a loss's mean over this rank's share of the minibatch, computed in as many parts as memory asks.

        Returns the mean, the means of the logs, and the mean of what the loss carries on.
        """
        scaler, optimizer = self.state.scalers[name], self.state.optimizers[name]
        images = self.stage.batch // self.ranks.size

        def compute(parts: int) -> tuple[Tensor, Logs, dict[str, Tensor]]:
            optimizer.zero_grad(set_to_none=True)  # levels that are not in use keep no gradient; Adam leaves them alone
            sums: Logs = {}
            carried: dict[str, Tensor] = {}
            for number in range(parts):
                terms: Terms | None = terms_of(slice(number, None, parts))
                while terms is not None:
                    scaler.scale(terms.loss.sum() / images).backward()
                    for key, value in {"": terms.loss.detach(), **terms.logs}.items():
                        total = value.sum() / images
                        sums[key] = sums[key] + total if key in sums else total
                    for key, value in terms.state.items():
                        carried[key] = carried.get(key, 0.0) + value / parts
                    terms = terms.then() if terms.then else None
            return sums.pop(""), sums, carried

        group = self.config.images_together
        return in_parts(compute, images, self.stage.level, self.state.parts, self.config.compute, group)

    def _with_classes(self, terms: Terms, guesses: Tensor | float, name: str) -> Terms:
        """Terms with those of the classes, if there are classes, which also go into the log as `name`."""
        if isinstance(guesses, float):
            return terms
        loss = terms.loss + self.config.conditioning.weight * guesses
        return dataclasses.replace(terms, loss=loss, logs={**terms.logs, name: guesses.detach()})

    def _generate(self, fakes: Fakes) -> Tensor:
        """Images of the generator at the stage's level and alpha, float32."""
        with self.config.compute.autocast(self.state.device):
            images: Tensor = self.state.generator(fakes.latents, self.stage.level, self.stage.alpha, fakes.labels)
        return images.float()

    def _judge(self, images: Tensor, labels: Tensor | None, perturb: Perturb | None) -> Verdict:
        """What the discriminator says at the stage's level and alpha."""
        images = images.contiguous(memory_format=self.config.compute.layout)
        with self.config.compute.autocast(self.state.device):
            verdict: Verdict = self.state.discriminator(images, self.stage.level, self.stage.alpha, labels, perturb)
        return verdict

    def _as_shown(self, pixels: Tensor, position: int) -> Tensor:
        """Real images as the discriminator sees them: float, mirrored, faded."""
        images = to_float(pixels)
        if self.config.data.mirror:
            flags = self._draw(torch.rand, "mirror", position) < 0.5
            images = mirror(images, flags)
        return fade(images, self.stage.alpha, self.config.data.fade_reals)

    def _draw(
        self, draw: Callable[..., Tensor], purpose: str, position: int | None = None, size: int | None = None
    ) -> Tensor:
        """Share of this rank in random numbers for every image of the minibatch."""
        generator = stream(self.config.seed, purpose, self.state.images if position is None else position)
        shape = (self.stage.batch,) if size is None else (self.stage.batch, size)
        return self.ranks.own(draw(*shape, generator=generator)).to(self.state.device)

    def _perturb(self, sigma: Tensor | None, purpose: str, part: slice) -> Perturb | None:
        """Noise for the feature maps of a part of the minibatch, drawn anew for every layer and every pass."""
        if sigma is None:
            return None
        generator = stream(self.config.seed, purpose, self.state.images)

        def perturb(x: Tensor) -> Tensor:
            draws = torch.randn(self.stage.batch, x.shape[1], generator=generator)
            return multiplicative_noise(x, sigma, self.ranks.own(draws)[part].to(x.device))

        return perturb


def _all_finite(network: nn.Module) -> bool:
    """Whether all gradients of a network are finite; waits for the device."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return bool(torch.stack(torch._foreach_norm(gradients, float("inf"))).isfinite().all())


def _part(whole: Tensor | None, part: slice) -> Tensor | None:
    return None if whole is None else whole[part]
