"""From a checkpoint to images: the averaged generator, with latents that depend only on seed and number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.config import from_mapping, load_architecture
from training.folder import read_checkpoint
from training.pixels import to_uint8
from training.randomness import latents


class Sampler:
    """Draws images from a generator at a level.

    Image k of a seed is the same image however many are asked for and in whatever portions: its latent depends on
    (seed, k) alone, and the network always runs on whole blocks of the same size, since the last bits of a convolution
    can depend on the batch.

    Parameters
    ----------
    generator : nn.Module
        In any architecture of training/architectures.
    level : int
        log2 of the resolution of the images.
    alpha : float
        Share of that level, when it is still fading in.
    device : torch.device
        Where the generator lives.
    """

    def __init__(self, generator: nn.Module, level: int, alpha: float, device: torch.device) -> None:
        self.generator = generator
        self.level = level
        self.alpha = alpha
        self.device = device
        self.block = max(4, min(64, 64 * 128**2 // 4**level))  # bounds the memory; a function of the level alone

    @classmethod
    def from_path(cls, path: Path, device: torch.device | None = None) -> tuple[Sampler, Path]:
        """Averaged generator of a run directory (its newest whole checkpoint) or of one checkpoint.

        Returns
        -------
        tuple of (Sampler, Path)
            And the checkpoint it came from.

        Raises
        ------
        datasets.errors.InputError
            If there is no whole checkpoint.
        """
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        file, saved = read_checkpoint(path, groups=["average"])
        config = from_mapping(saved.facts["config"], str(file))
        with torch.device("meta"):
            generator = load_architecture(config).Generator(config.network, saved.facts["resolution"])
        generator.load_state_dict(saved.group("average"), assign=True)
        generator.to(device).eval().requires_grad_(False)
        return cls(generator, saved.facts["level"], saved.facts["alpha"], device), file

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return 1 << self.level

    def images(self, seed: int, start: int, count: int) -> NDArray[np.uint8]:
        """Images number `start` to `start + count - 1` of a seed, uint8 of shape (count, 3, r, r)."""
        out = np.empty((count, 3, self.resolution, self.resolution), np.uint8)
        for position, block in self._blocks(seed, start, count):
            first = max(start, position)
            last = min(start + count, position + self.block)
            out[first - start : last - start] = block[first - position : last - position]
        return out

    @torch.inference_mode()
    def _blocks(self, seed: int, start: int, count: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        size: int = self.generator.latent_size  # type: ignore[assignment]  # nn.Module hides the attribute's type
        for position in range(start // self.block * self.block, start + count, self.block):
            z = latents(seed, position, self.block, size).to(self.device)
            yield position, to_uint8(self.generator(z, self.level, self.alpha)).cpu().numpy()
