"""All random numbers of a run, as pure functions of (seed, purpose, images shown).

There is no generator state to save: a run that resumes draws what it would have drawn. Draws are made on the CPU, so
they are the same on every device.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def stream(seed: int, purpose: str, position: int = 0) -> torch.Generator:
    """Generator of an independent stream of random numbers.

    Parameters
    ----------
    seed : int
        Seed of the run.
    purpose : str
        What the numbers are for; other purposes get independent numbers.
    position : int
        Images shown, or another counter.
    """
    text = f"{seed}/{purpose}/{position}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return torch.Generator().manual_seed(number & (2**63 - 1))


LATENT_BLOCK = 64


def latents(seed: int, start: int, count: int, size: int, purpose: str = "samples") -> Tensor:
    """Latents number `start` to `start + count - 1` of an endless fixed sequence, shape (count, size), from N(0, I).

    Drawn in blocks of fixed length, so that latent k is the same however the sequence is cut.
    """
    if count < 1:
        return torch.empty(0, size)
    first, last = start // LATENT_BLOCK, (start + count - 1) // LATENT_BLOCK
    blocks = [torch.randn(LATENT_BLOCK, size, generator=stream(seed, purpose, k)) for k in range(first, last + 1)]
    return torch.cat(blocks)[start - first * LATENT_BLOCK :][:count]
