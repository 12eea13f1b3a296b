"""From a checkpoint to images: the averaged generator, with latents that depend only on seed and number."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from metrics.images import ImageSet
from training.config import load_architecture
from training.folder import read_checkpoint
from training.pixels import to_uint8
from training.randomness import latents
from training.settings import from_mapping


class Sampler:
    """Draws images from a generator.

    Image k of a seed is the same image however many are asked for and in whatever portions: its latent depends on
    (seed, k) alone, and the network always runs on whole blocks of the same size, since the last bits of a convolution
    can depend on the batch. While the run is still growing, the images are enlarged (nearest neighbour) to its finest
    resolution, as the released networks do, so that numbers and pictures compare over the whole run.

    Parameters
    ----------
    generator : nn.Module
        In any architecture of training/architectures; its weights must not change while the sampler is in use.
    level : int
        log2 of the resolution that the generator has reached.
    alpha : float
        Share of that level, when it is still fading in.
    resolution : int
        Side of the images, the finest resolution of the run.
    """

    def __init__(self, generator: nn.Module, level: int, alpha: float, resolution: int) -> None:
        self.generator = generator
        self.level = level
        self.alpha = alpha
        self.resolution = resolution
        self.block = max(4, min(64, 64 * 128**2 // 4**level))  # bounds the memory; a function of the level alone
        self._kept: tuple[tuple[int, int], NDArray[np.uint8]] | None = None

    @classmethod
    def from_path(cls, path: Path) -> tuple[Sampler, Path]:
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
        file, saved = read_checkpoint(path, groups=["average"])
        facts: dict[str, Any] = dict(saved.facts)
        config = from_mapping(facts["config"], str(file))
        with torch.device("meta"):
            generator = load_architecture(config).Generator(config.network, facts["resolution"])
        generator.load_state_dict(saved.group("average"), assign=True)
        generator.to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)
        return cls(generator, facts["level"], facts["alpha"], facts["resolution"]), file

    def images(self, seed: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of a seed.

        Parameters
        ----------
        seed : int
            Any whole number.
        rows : ndarray of int64, shape (n,)
            Numbers of the images, 0 or more, in any order.

        Returns
        -------
        ndarray of uint8, shape (n, 3, resolution, resolution)
        """
        out = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)
        factor = self.resolution >> self.level
        blocks = rows // self.block
        for block in np.unique(blocks):
            places = np.flatnonzero(blocks == block)
            drawn = self._block(seed, int(block))[rows[places] % self.block]
            out[places] = drawn.repeat(factor, axis=2).repeat(factor, axis=3)
        return out

    @torch.inference_mode()
    def _block(self, seed: int, number: int) -> NDArray[np.uint8]:
        """Images of a whole block at the level's own resolution; the latest block is kept for the next call."""
        if self._kept is None or self._kept[0] != (seed, number):
            size = cast("int", self.generator.latent_size)
            z = latents(seed, number * self.block, self.block, size).to(next(self.generator.parameters()).device)
            self._kept = (seed, number), to_uint8(self.generator(z, self.level, self.alpha)).cpu().numpy()
        return self._kept[1]


class GeneratorImageSet(ImageSet):
    """As many images as are asked for, drawn from a generator, for the metrics.

    Parameters
    ----------
    sampler : Sampler
        The generator.
    name : str
        The run or checkpoint it came from.
    seed : int
        Of the latents.
    """

    kind = "generator"

    def __init__(self, sampler: Sampler, name: str, seed: int) -> None:
        self.name = name
        self.num_images = None
        self.resolution = sampler.resolution
        self._sampler = sampler
        self._seed = seed

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the weights, the level and the seed."""
        state = hashlib.sha256(f"{self._sampler.level} {self._sampler.alpha} {self._seed}".encode())
        for name, tensor in sorted(self._sampler.generator.state_dict().items()):
            state.update(f"{name} {list(tensor.shape)}".encode())
            state.update(tensor.cpu().contiguous().numpy().tobytes())
        return state.hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Draw the images of the given numbers."""
        return self._sampler.images(self._seed, rows)
