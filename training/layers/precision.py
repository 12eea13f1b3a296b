"""What is computed in single precision, whatever autocast says."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """`x` in float32, or as it is if it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Block in which matrix products are computed in the type of their factors, whatever autocast says outside."""
    if not torch.amp.is_autocast_available(device.type):  # such as torch's meta device
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
