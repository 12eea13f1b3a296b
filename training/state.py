"""Everything of a run that changes while it trains, in one object that goes into checkpoints whole."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from datasets.errors import InputError
from training.config import Config, OptimizerConfig, load_architecture

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


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
    """

    def __init__(self, config: Config, resolution: int, device: torch.device) -> None:
        architecture = load_architecture(config)
        nowhere = torch.device("meta") if device.type == "meta" else contextlib.nullcontext()
        with nowhere, torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.generator: nn.Module = architecture.Generator(config.network, resolution)
            self.discriminator: nn.Module = architecture.Discriminator(config.network, resolution)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        for network in self._networks().values():
            network.to(device)
        self.optimizers = {
            "optimizer_g": _adam(self.generator, config.optimizer),
            "optimizer_d": _adam(self.discriminator, config.optimizer),
        }
        self.images = 0
        self.seconds = 0.0
        self.phase = 0

    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}

    def _optimized(self) -> dict[str, nn.Module]:
        return {"optimizer_g": self.generator, "optimizer_d": self.discriminator}

    def check_finite(self) -> None:
        """Refuse a state with a number that is not finite, so that no checkpoint ever holds one.

        Raises
        ------
        InputError
            With the names of the tensors.
        """
        broken = [name for name, tensor in self.tensors().items() if not torch.isfinite(tensor).all()]
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
        """Learning rate of both networks."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for name, network in self._networks().items():
            tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
        for name, network in self._optimized().items():
            for key, parameter in network.named_parameters():
                for moment, value in self.optimizers[name].state.get(parameter, {}).items():
                    tensors[f"{name}/{moment}/{key}"] = value
        return tensors

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
        for name, network in self._optimized().items():
            for key, parameter in network.named_parameters():
                moments = {m: tensors[f"{name}/{m}/{key}"] for m in _MOMENTS if f"{name}/{m}/{key}" in tensors}
                if moments:
                    step = moments.pop("step").clone()  # Adam keeps its step count on the CPU
                    on_device = {m: value.to(parameter.device, copy=True) for m, value in moments.items()}
                    self.optimizers[name].state[parameter] = {"step": step, **on_device}


def _adam(network: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=0.0, betas=(config.beta1, config.beta2), eps=config.epsilon)
