"""What a run will do: its levels, parameters and arithmetic, without touching a real tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from datasets.errors import InputError
from training import compute, guards
from training.conditioning import Labels
from training.config import Config
from training.feed import Shown
from training.growth import Schedule, Segment
from training.state import TrainingState
from training.step import update


@dataclasses.dataclass(frozen=True)
class LevelPlan:
    """One level of a run.

    Attributes
    ----------
    segment : Segment
        When, with which batch and rate.
    generator_parameters, discriminator_parameters : int
        In use when the level is stable.
    flop_per_image : float
        Multiplications and additions of an update (both networks, penalty and its second backward pass) per image.
    discriminator_steps : int
        Minibatches that an update shows to the discriminator.
    """

    segment: Segment
    generator_parameters: int
    discriminator_parameters: int
    flop_per_image: float
    discriminator_steps: int = 1

    @property
    def flop(self) -> float:
        """Operations of the whole level."""
        return self.flop_per_image * (self.segment.end - self.segment.start)


def make_plan(config: Config, schedule: Schedule, labels: Labels | None = None) -> list[LevelPlan]:
    """Plan of every level of a run, traced on torch's meta device, which has no memory and does no arithmetic.

    Raises
    ------
    InputError
        If the networks cannot take the batch of a level.
    """
    # Precision and guards change nothing that is counted, and ask for values, which this device has not.
    config = dataclasses.replace(config, compute=compute.Config(), guards=guards.Config())
    state = TrainingState(config, 1 << schedule.top_level, torch.device("meta"), labels)
    num_classes = state.labels.num_classes
    plans = []
    for segment in schedule.segments():
        stage = schedule.stage(segment.end - 1)
        shape = (stage.batch * config.optimizer.discriminator_steps, 3, stage.resolution, stage.resolution)
        images = torch.empty(shape, dtype=torch.uint8, device="meta")
        one_hot = torch.empty(len(images), num_classes, device="meta") if num_classes else None
        state.reset_optimizers()
        where = f"{stage.resolution}x{stage.resolution}"
        if not compute.is_groups(stage.batch, config.images_together):
            raise InputError(
                f"the networks cannot train at {where}: a batch of {stage.batch} images does not divide into "
                f"minibatch-stddev groups of {config.images_together}; change growth.batch or network.stddev_group"
            )
        try:
            with _FlopCounter() as counter:
                update(
                    state,
                    Shown(images, one_hot),
                    dataclasses.replace(stage, alpha=1.0),
                    config,
                    schedule.top_level - stage.level,
                )
        except ValueError as error:
            raise InputError(
                f"the networks cannot train at {where}: {error}; change growth.batch or network.*"
            ) from None
        plans.append(
            LevelPlan(
                segment,
                _in_use(state.optimizers["generator"]),
                _in_use(state.optimizers["discriminator"]),
                counter.total / len(images),
                config.optimizer.discriminator_steps,
            )
        )
    return plans


class _FlopCounter(TorchDispatchMode):
    """Adds up the operations of matrix products and convolutions; torch's own counter cannot follow autograd.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def _in_use(optimizer: torch.optim.Optimizer) -> int:
    """Parameters that the update just traced has changed."""
    return sum(parameter.numel() for parameter in optimizer.state)
