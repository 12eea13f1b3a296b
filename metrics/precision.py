"""float32 that means float32, whatever a trainer has allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from datasets.errors import InputError


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Switch off the shortcuts of torch inside the block: TF32 and bfloat16 products, autocast, autotuned algorithms.

    On CUDA convolutions use TF32 (10 bits of mantissa) unless told otherwise, which moves features by about 1e-3.
    """
    backends: Any = torch.backends  # its attributes differ between versions
    settings: list[tuple[Any, str, Any]] = [
        (backends.cudnn, "benchmark", False),
        (backends.cudnn, "deterministic", True),
    ]
    if hasattr(backends.cudnn, "conv"):  # torch 2.9 and later; reading the old names beside the new ones is an error
        parts = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
        settings += [(part, "fp32_precision", "ieee") for part in parts]
    else:
        settings += [(part, "allow_tf32", False) for part in (backends.cudnn, backends.cuda.matmul)]
    before = [getattr(place, name) for place, name, _ in settings]
    try:
        for place, name, value in settings:
            setattr(place, name, value)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for (place, name, _), value in zip(settings, before, strict=True):
            setattr(place, name, value)


def checked_device(device: str | torch.device) -> torch.device:
    """Device of that name.

    Raises
    ------
    InputError
        If this machine has none.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"there is no device {device} on this machine ({reason}); choose cpu, or install it") from None
