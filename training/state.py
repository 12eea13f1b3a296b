"""Everything of a run that changes while it trains, in one object that goes into checkpoints whole."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from datasets.errors import InputError
from training import compute
from training.adam import Adam
from training.conditioning import Labels
from training.config import Config, OptimizerConfig, load_architecture, load_loss
from training.memory import is_out_of_memory

_FIRST_MOMENT = "exp_avg"
_MOMENTS = ("step", _FIRST_MOMENT, "exp_avg_sq")


class TrainingState:
    """Networks, average, optimizers and the clock.

    Random numbers, the order of the images, the level and all rates are functions of `images`, so they are not here.

    Parameters
    ----------
    config : Config
        Of the run.
    resolution : int
        Finest resolution of the networks.
    device : torch.device
        Where the networks live. Initial weights are drawn on the CPU, so they do not depend on it.
    labels : Labels, optional
        Of the data set, if the run uses them.

    Attributes
    ----------
    generator, discriminator : nn.Module
        Being trained.
    average : nn.Module
        Exponential moving average of the generator.
    images : int
        Real images shown so far: the only clock.
    seconds : float
        Time spent so far, over all sessions.
    phase : int
        Phase of the schedule at the last step; when it changes the optimizers are reset.
    optimizers, scalers : dict
        By network: ``generator`` and ``discriminator``.
    loss_state : dict of str to Tensor
        What the loss carries from step to step.
    caution : float
        Factor on all learning rates, lowered by roll-backs: see `training.guards`.
    roll_backs : int
        How often the run was rolled back.
    parts : dict of int to int
        Number of parts, by level, into which minibatches are cut because memory ran out: see `training.memory`.
    """

    def __init__(self, config: Config, resolution: int, device: torch.device, labels: Labels | None = None) -> None:
        architecture = load_architecture(config)
        self.device = device
        self.labels = labels or Labels()
        classes = self.labels.num_classes
        nowhere = torch.device("meta") if device.type == "meta" else contextlib.nullcontext()
        with nowhere, torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            try:
                self.generator: nn.Module = architecture.Generator(config.network, resolution, classes)
                self.discriminator: nn.Module = architecture.Discriminator(config.network, resolution, classes)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise InputError(
                    f"the networks do not fit into memory ({str(error).splitlines()[0]}); lower the widths in network.*"
                ) from None
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        for network in self._networks().values():
            compute.place(network, device, config.compute)
        self._first_moments = config.optimizer.beta1 != 0
        self.optimizers = {name: _adam(network, config.optimizer, device) for name, network in self._trained().items()}
        self.scalers = {name: config.compute.scaler(device) for name in self._trained()}
        self.loss_state = {
            name: value.to(device) for name, value in load_loss(config).initial_state(config.objective).items()
        }
        self.parts: dict[int, int] = {}
        self.caution = 1.0
        self.roll_backs = 0
        self.images = 0
        self.seconds = 0.0
        self.phase = 0

    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _trained(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def not_finite(self) -> list[str]:
        """Names of the tensors with a number that is not finite."""
        return [name for name, tensor in self.tensors().items() if not torch.isfinite(tensor).all()]

    def check_finite(self) -> None:
        """Refuse a state with a number that is not finite, so that no checkpoint ever holds one.

        Raises
        ------
        InputError
            With the names of the tensors.
        """
        broken = self.not_finite()
        if broken:
            some = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
            raise InputError(
                f"training diverged by {self.images} images shown: {len(broken)} tensors are not finite ({some}); "
                "start again elsewhere with a lower growth.learning_rate or a higher objective.gradient_weight"
            )

    def reset_optimizers(self) -> None:
        """Forget Adam's moments."""
        for optimizer in self.optimizers.values():
            optimizer.state.clear()

    def set_learning_rate(self, rate: float) -> None:
        """Learning rate of both networks, before `caution`."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * self.caution

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, network in self._networks().items():
            tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
        for name, network in self._trained().items():
            for key, parameter in network.named_parameters():
                for moment, value in self.optimizers[name].state.get(parameter, {}).items():
                    if moment != _FIRST_MOMENT or self._first_moments:
                        tensors[f"optimizer_{name}/{moment}/{key}"] = value
            for key, number in self.scalers[name].state_dict().items():
                tensors[f"scaler_{name}/{key}"] = torch.tensor(number, dtype=torch.float64)
        return tensors | {f"loss/{name}": value for name, value in self.loss_state.items()}

    def restore(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take the state from what `tensors` gave.

        Raises
        ------
        InputError
            If the tensors do not fit these networks; `where` names their file.
        """
        for name, network in self._networks().items():
            prefix = f"{name}/"
            own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            try:
                network.load_state_dict(own)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise InputError(f"{where} does not fit the configured networks: {reason}") from None
        self.reset_optimizers()
        self.loss_state = {name: tensors[f"loss/{name}"].to(self.device, copy=True) for name in self.loss_state}
        for name, network in self._trained().items():
            group = f"optimizer_{name}"
            for key, parameter in network.named_parameters():
                moments = {m: tensors[f"{group}/{m}/{key}"] for m in _MOMENTS if f"{group}/{m}/{key}" in tensors}
                if not moments:
                    continue
                of_torch = isinstance(self.optimizers[name], torch.optim.Adam)
                if not self._first_moments:
                    moments.pop(_FIRST_MOMENT, None)
                    if of_torch:  # it wants one, and overwrites it
                        moments[_FIRST_MOMENT] = torch.zeros(())
                like = torch.empty_like(parameter)  # of the same memory format, which changes the last bits
                steps = moments.pop("step").clone()
                self.optimizers[name].state[parameter] = {
                    "step": steps.to(self.device) if of_torch else steps,
                    **{m: like.clone().copy_(value) for m, value in moments.items()},
                }
            saved = {key: tensors.get(f"scaler_{name}/{key}") for key in self.scalers[name].state_dict()}
            self.scalers[name].load_state_dict(
                {key: _like(old, saved[key]) for key, old in self.scalers[name].state_dict().items()}
            )


def _adam(network: nn.Module, config: OptimizerConfig, device: torch.device) -> torch.optim.Optimizer:
    """Torch's own on GPUs, where it is one kernel for all parameters; on the CPU that showed no effect."""
    betas = (config.beta1, config.beta2)
    if device.type == "cuda" and config.bias_correction == "moments":
        return torch.optim.Adam(network.parameters(), lr=0.0, betas=betas, eps=config.epsilon, fused=True)
    return Adam(network.parameters(), 0.0, betas, config.epsilon, config.bias_correction)


def _like(old: float | int, saved: Tensor | None) -> float | int:
    """A number of a checkpoint, of the type that it had; the old one if it is not there."""
    return old if saved is None else type(old)(saved.item())
