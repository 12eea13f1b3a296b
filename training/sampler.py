"""From a checkpoint to images: the averaged generator, with latents that depend only on seed and number."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasets.errors import InputError
from metrics.images import ImageSet
from training.conditioning import one_hot
from training.config import load_architecture
from training.folder import read_checkpoint
from training.pixels import to_uint8
from training.randomness import latents, stream
from training.settings import from_mapping

_DRAWN = -1  # instead of a class: the one that is drawn for the image


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
    truncation : float, optional
        Draw latents from the normal distribution cut off at so many deviations (the truncation trick of Brock,
        Donahue, Simonyan: "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR 2019): less
        varied images, of higher quality where the network does not normalise its latents. Latents are not scaled,
        since a network that normalises them, as PGGAN does, would not notice; there the effect is small.
    class_counts : sequence of int
        Of a generator that is told the class: how many images of every class there were in its data set. Classes are
        drawn in these shares, each image's from (seed, k), too.

    Raises
    ------
    datasets.errors.InputError
        If `truncation` is not a number above 0.
    """

    def __init__(
        self,
        generator: nn.Module,
        level: int,
        alpha: float,
        resolution: int,
        *,
        truncation: float | None = None,
        class_counts: Sequence[int] = (),
    ) -> None:
        if truncation is not None and not 0 < truncation < math.inf:
            raise InputError(f"truncation must be a number above 0, got {truncation}")
        self.truncation = truncation
        self.generator = generator
        self.level = level
        self.alpha = alpha
        self.resolution = resolution
        self.class_counts = class_counts
        self.block = max(4, min(64, 64 * 128**2 // 4**level))  # bounds the memory; a function of the level alone
        self._kept: tuple[tuple[int, int, int], NDArray[np.uint8]] | None = None

    @classmethod
    def from_path(cls, path: Path, *, truncation: float | None = None) -> tuple[Sampler, Path]:
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
            architecture = load_architecture(config)
            generator = architecture.Generator(config.network, facts["resolution"], len(facts["class_counts"]))
        generator.load_state_dict(saved.group("average"), assign=True)
        generator.to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)
        sampler = cls(
            generator,
            facts["level"],
            facts["alpha"],
            facts["resolution"],
            truncation=truncation,
            class_counts=facts["class_counts"],
        )
        return sampler, file

    def with_truncation(self, truncation: float | None) -> Sampler:
        """Sampler of the same generator that cuts latents off elsewhere."""
        return Sampler(
            self.generator,
            self.level,
            self.alpha,
            self.resolution,
            truncation=truncation,
            class_counts=self.class_counts,
        )

    @property
    def num_classes(self) -> int:
        """Number of classes that the generator is told apart; 0 if it is told none."""
        return len(self.class_counts)

    @property
    def latent_size(self) -> int:
        """Number of values of a latent."""
        return cast("int", self.generator.latent_size)

    def images(self, seed: int, rows: NDArray[np.int64], classes: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Images of a seed.

        Parameters
        ----------
        seed : int
            Any whole number.
        rows : ndarray of int64, shape (n,)
            Numbers of the images, 0 or more, in any order.
        classes : ndarray of int64, shape (n,), optional
            Of the images, instead of those that are drawn for them. Latents stay what they are.

        Returns
        -------
        ndarray of uint8, shape (n, 3, resolution, resolution)
        """
        out = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)
        blocks = np.stack([rows // self.block, np.full(len(rows), _DRAWN) if classes is None else classes], axis=1)
        for block, label in np.unique(blocks, axis=0):
            places = np.flatnonzero((blocks == (block, label)).all(axis=1))
            drawn = self._block(seed, int(block), int(label))[rows[places] % self.block]
            out[places] = self._enlarged(drawn)
        return out

    def draw(self, latents: Tensor, classes: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Images of any latents, truncated if the sampler truncates.

        Parameters
        ----------
        latents : Tensor, shape (n, latent_size)
            Each value from a standard normal distribution.
        classes : ndarray of int64, shape (n,), optional
            Of the images, for a generator that is told them.

        Returns
        -------
        ndarray of uint8, shape (n, 3, resolution, resolution)
        """
        out = np.empty((len(latents), 3, self.resolution, self.resolution), np.uint8)
        for start in range(0, len(latents), self.block):
            part = latents[start : start + self.block]
            count = len(part)
            places = torch.arange(self.block).clamp(max=count - 1)  # always a whole block
            labels = None
            if classes is not None and self.num_classes:
                labels = one_hot(torch.from_numpy(classes[start : start + count])[places], self.num_classes)
            out[start : start + count] = self._enlarged(self._generate(part[places], labels)[:count])
        return out

    def classes(self, seed: int, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Classes that are drawn for images of a seed; None if the generator is told none."""
        if not self.num_classes:
            return None
        numbers, where = np.unique(rows // self.block, return_inverse=True)
        drawn = torch.stack([self._drawn_classes(seed, number) for number in numbers.tolist()])
        chosen: NDArray[np.int64] = drawn.numpy()[where, rows % self.block]
        return chosen

    def _block(self, seed: int, number: int, label: int) -> NDArray[np.uint8]:
        """Images of a whole block at the level's own resolution; the latest block is kept for the next call."""
        if self._kept is None or self._kept[0] != (seed, number, label):
            labels = None
            if self.num_classes:
                drawn = torch.full((self.block,), label) if label != _DRAWN else self._drawn_classes(seed, number)
                labels = one_hot(drawn, self.num_classes)
            z = latents(seed, number * self.block, self.block, self.latent_size)
            self._kept = (seed, number, label), self._generate(z, labels)
        return self._kept[1]

    @torch.inference_mode()
    def _generate(self, z: Tensor, labels: Tensor | None) -> NDArray[np.uint8]:
        """Images of one block of latents at the level's own resolution."""
        if self.truncation is not None:
            z = truncated(z, self.truncation)
        device = next(self.generator.parameters()).device
        images = self.generator(z.to(device), self.level, self.alpha, None if labels is None else labels.to(device))
        return to_uint8(images).cpu().numpy()

    def _enlarged(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        factor = self.resolution >> self.level
        return images.repeat(factor, axis=2).repeat(factor, axis=3)

    def _drawn_classes(self, seed: int, number: int) -> Tensor:
        """Classes of a block, in the shares of the data set."""
        ends = torch.tensor(self.class_counts, dtype=torch.float64).cumsum(0)
        draws = torch.rand(self.block, generator=stream(seed, "classes of samples", number), dtype=torch.float64)
        return torch.searchsorted(ends, draws * ends[-1], right=True)


def truncated(latents: Tensor, limit: float) -> Tensor:
    """Standard normal numbers as numbers of the normal distribution cut off at +-`limit`, at the same quantiles.

    Same distribution as drawing again whatever lies beyond, but number k stays the number k it was, moved inwards.
    """
    outside = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64))
    quantiles = outside + torch.special.ndtr(latents.double()) * (1 - 2 * outside)
    return cast("Tensor", torch.special.ndtri(quantiles)).clamp(-limit, limit).float()


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
    passing : bool
        See `metrics.images.ImageSet`.
    """

    kind = "generator"

    def __init__(self, sampler: Sampler, name: str, seed: int, *, passing: bool = False) -> None:
        self.name = name
        self.passing = passing
        self.num_images = None
        self.resolution = sampler.resolution
        self._sampler = sampler
        self._seed = seed
        self.details = {"seed": seed}
        if sampler.truncation is not None:
            self.details |= {"truncation": {"psi": sampler.truncation, "method": "truncated normal latents"}}

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the weights, the level, the seed and the truncation."""
        truncation = "" if self._sampler.truncation is None else f" truncation {self._sampler.truncation!r}"
        state = hashlib.sha256(f"{self._sampler.level} {self._sampler.alpha} {self._seed}{truncation}".encode())
        for name, tensor in sorted(self._sampler.generator.state_dict().items()):
            state.update(f"{name} {list(tensor.shape)}".encode())
            state.update(tensor.cpu().contiguous().numpy().tobytes())
        return state.hexdigest()

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Draw the images of the given numbers."""
        return self._sampler.images(self._seed, rows)
