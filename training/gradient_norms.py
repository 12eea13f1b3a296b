"""How long the gradients of both networks are, measured where the optimizers take them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class GradientNorms:
    """Mean L2 norm of the gradient by all weights, over the steps of a window.

    Computed on the device when an optimizer steps, so nothing waits for it, whatever made the gradients (parts of a
    minibatch, several ranks, a loss scale, which is divided out). Steps whose gradient is not finite do not count: loss
    scaling skips such steps as a matter of course.

    Parameters
    ----------
    optimizers : mapping of str to Optimizer
        By the name that their norm has in the log.
    """

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}  # sum of the norms, and their number
        self._hooks = [
            optimizer.register_step_pre_hook(functools.partial(self._look, name))
            for name, optimizer in optimizers.items()
        ]

    def take(self) -> dict[str, Tensor]:
        """Means since the last call, by name, on the device; a network that made no step is left out."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def close(self) -> None:
        """Look no more."""
        for hook in self._hooks:
            hook.remove()

    def _look(self, name: str, optimizer: Any, _arguments: Any, _keywords: Any) -> None:
        groups = optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norm = torch.stack(torch._foreach_norm(gradients)).double().norm()
        if (scale := getattr(optimizer, "grad_scale", None)) is not None:  # a fused optimizer divides by it itself
            norm = norm / scale
        finite = norm.isfinite()
        total, count = self._sums.get(name, (torch.zeros_like(norm), torch.zeros_like(norm)))
        self._sums[name] = total + torch.where(finite, norm, 0.0), count + finite
