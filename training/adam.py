"""Adam, as torch has it but for two things that matter here.

With beta1 = 0, the paper's choice (Karras et al. 2018, appendix A.1), the first moment is the newest gradient. It is
not kept: it would take as much memory, in the process and in checkpoints, as the weights. And the bias may be
corrected as in the two released programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

BiasCorrection = Literal["moments", "rate"]


class Adam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015).

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        What is trained.
    lr : float
        Learning rate.
    betas : tuple of float
        Decay of the first and of the second moment, at least 0 and below 1.
    eps : float
        Added to the root of the second moment.
    bias_correction : str
        Of what the bias is corrected before `eps` is added: of the ``moments``, as in Algorithm 1 of the paper (to the
        bit what `torch.optim.Adam` does), or of the ``rate``, as at the end of its section 2, which gives `eps` more
        weight in the first steps.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        bias_correction: BiasCorrection = "moments",
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "bias_correction": bias_correction})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 (torch's signature)
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            for moment in ["exp_avg", "exp_avg_sq"] if beta1 else ["exp_avg_sq"]:
                state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1
        steps = state["step"].item()
        first = state["exp_avg"].lerp_(gradient, 1 - beta1) if beta1 else gradient
        second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        rate = group["lr"] / (1 - beta1**steps)
        root, correction = second.sqrt(), (1 - beta2**steps) ** 0.5
        if group["bias_correction"] == "rate":
            rate *= correction
        else:
            root.div_(correction)
        parameter.addcdiv_(first, root.add_(group["eps"]), value=-rate)
