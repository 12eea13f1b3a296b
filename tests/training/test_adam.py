"""Adam against torch's and against a plain statement."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from training.adam import Adam


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_equals_torch_to_the_bit(beta1: float) -> None:
    torch.manual_seed(0)
    ours = torch.nn.ParameterList([torch.randn(7, 5), torch.randn(3), torch.randn(2, 2)])
    theirs = copy.deepcopy(ours)
    adam = Adam(ours, lr=0.01, betas=(beta1, 0.99), eps=1e-8)
    reference = torch.optim.Adam(theirs, lr=0.01, betas=(beta1, 0.99), eps=1e-8)
    for step in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape) * 10.0 ** (step - 3)
            b.grad = a.grad.clone()
        ours[2].grad = theirs[2].grad = None  # a level that is not in use
        for optimizer in (adam, reference):
            optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)
    assert len(adam.state) == 2
    kept = {"step", "exp_avg_sq"} | ({"exp_avg"} if beta1 else set())
    assert all(set(moments) == kept for moments in adam.state.values())


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_bias_correction_of_the_rate(beta1: float) -> None:
    """End of section 2 of Kingma and Ba: alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t), epsilon beside sqrt(v)."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=4)
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    adam = Adam([parameter], lr=0.1, betas=(beta1, 0.99), eps=0.5, bias_correction="rate")
    theta, m, v = start, np.zeros(4), np.zeros(4)
    for t in range(1, 4):
        gradient = rng.normal(size=4)
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        adam.step()
        m, v = beta1 * m + (1 - beta1) * gradient, 0.99 * v + 0.01 * gradient**2
        theta = theta - 0.1 * np.sqrt(1 - 0.99**t) / (1 - beta1**t) * m / (np.sqrt(v) + 0.5)
    np.testing.assert_allclose(parameter.detach().numpy(), theta, rtol=1e-5)
