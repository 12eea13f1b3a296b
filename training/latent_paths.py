"""Ways through the latent space: along great circles from latent to latent, and smooth closed curves.

Both are functions of time, so a film can have any number of frames, drawn in any portions, and shows the same way.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import InputError
from training.randomness import latents

_NEGLIGIBLE = 1e-9  # share of the variance in the harmonics that are left out
MOST_SMOOTHING = 1 / (2 * math.pi)  # of the length of a film: there the first harmonic has 1/e of its variance


class LatentPath(Protocol):
    """A closed way of one or more latents."""

    def at(self, times: NDArray[np.float64]) -> Tensor:
        """Latents at some moments.

        Parameters
        ----------
        times : ndarray of float64, shape (t,)
            In [0, 1); at 1 the way is where it was at 0.

        Returns
        -------
        Tensor, float32, shape (t, cells, latent_size)
        """
        ...


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation: direction along the great circle at constant speed, length linearly.

    Latents of many dimensions lie near a sphere; a straight line between two of them would cut through its inside,
    where a generator has hardly been trained (White, "Sampling Generative Networks", 2016, section 2.1). Between
    vectors of equal length this is Shoemake's formula, sin((1-t)w)/sin(w) a + sin(tw)/sin(w) b.

    Parameters
    ----------
    start, end : Tensor, shape (..., n)
        n at least 2, neither of them zero. Opposite directions are connected by one of the great circles.
    share : Tensor, shape (...)
        From 0 (start) to 1 (end).

    Returns
    -------
    Tensor, float64, shape (..., n)
    """
    start, end, share = start.double(), end.double(), share.double().unsqueeze(-1)
    lengths = [vector.norm(dim=-1, keepdim=True) for vector in (start, end)]
    u, v = start / lengths[0], end / lengths[1]
    across = v - (u * v).sum(-1, keepdim=True) * u  # the part of v at right angles to u
    sine, cosine = across.norm(dim=-1, keepdim=True), (u * v).sum(-1, keepdim=True)
    # Opposite (or equal) directions have no such part: then any direction at right angles will do.
    axis = torch.nn.functional.one_hot(u.abs().argmin(-1), u.shape[-1]).double()
    other = axis - (axis * u).sum(-1, keepdim=True) * u
    unclear = sine < 1e-9
    w = torch.where(unclear, other / other.norm(dim=-1, keepdim=True), across / sine.clamp(min=1e-300))
    angle = share * torch.atan2(sine, cosine)
    direction: Tensor = angle.cos() * u + angle.sin() * w
    return direction * torch.lerp(lengths[0], lengths[1], share)


class SphericalPath:
    """From latent to latent along great circles, and from the last one back to the first.

    Parameters
    ----------
    seed : int
        Of the latents.
    numbers : ndarray of int64, shape (stations, cells)
        Which latents each cell passes, at equal distances in time.
    size : int
        Number of values of a latent.

    Raises
    ------
    InputError
        If there are fewer than two stations.
    """

    def __init__(self, seed: int, numbers: NDArray[np.int64], size: int) -> None:
        if len(numbers) < 2:
            raise InputError("a way from latent to latent needs two stations or more")
        flat = [latents(seed, int(k), 1, size) for k in numbers.reshape(-1)]
        self._stations = torch.cat(flat).view(*numbers.shape, size)

    def at(self, times: NDArray[np.float64]) -> Tensor:
        """See `LatentPath`."""
        stretch, share = np.divmod(times * len(self._stations), 1)
        start = torch.from_numpy(stretch.astype(np.int64)) % len(self._stations)
        end = (start + 1) % len(self._stations)
        shares = torch.from_numpy(share).unsqueeze(1).expand(-1, self._stations.shape[1])
        return slerp(self._stations[start], self._stations[end], shares).float()


class SmoothPath:
    """A smooth, closed, random curve through a seed's latents; at every moment its points are distributed as N(0, I).

    White noise on a circle, filtered with a Gaussian that wraps around, as the interpolation videos of the 2018
    TensorFlow release are made (generate_interpolation_video). There the noise has as many samples as the film has
    frames, and is scaled by what its root mean square happens to be. Here the filtered noise is written as its Fourier
    series, whose coefficients are independent normal numbers of known variance: the way does not depend on the number
    of frames, and the variance at each moment is exactly 1. Of all such curves one is drawn that passes through latent
    `numbers[c]` of the seed at time 0, so that a film begins with the images that are known by these numbers.

    Parameters
    ----------
    seed : int
        Of the latents and of the curve.
    numbers : ndarray of int64, shape (cells,)
        Latents to begin with, one for each cell.
    size : int
        Number of values of a latent.
    smoothing : float
        Standard deviation of the Gaussian as a share of the whole way. A latent forgets where it was within about
        three of them.

    Raises
    ------
    InputError
        If `smoothing` is not above 0 and at most `MOST_SMOOTHING`, beyond which hardly anything would move.
    """

    def __init__(self, seed: int, numbers: NDArray[np.int64], size: int, smoothing: float) -> None:
        if not 0 < smoothing <= MOST_SMOOTHING * (1 + 1e-9):
            raise InputError(
                f"smoothing must be above 0 and at most {MOST_SMOOTHING:.3f} of the film, got {smoothing:g}"
            )
        # The Gaussian's transform, squared: share of the variance in harmonic m; sine and cosine have it each.
        count = math.ceil(math.sqrt(-math.log(_NEGLIGIBLE)) / (2 * math.pi * smoothing))
        variances = np.exp(-np.square(2 * math.pi * smoothing * np.arange(count + 1)))
        variances[1:] *= 2
        self._weights = torch.from_numpy(np.sqrt(variances / variances.sum()))
        self._cosines = torch.empty(count + 1, len(numbers), size, dtype=torch.float64)
        self._sines = torch.empty(count + 1, len(numbers), size, dtype=torch.float64)
        for cell, number in enumerate(numbers.tolist()):
            drawn = latents(seed, 0, 2 * count + 2, size, f"closed path {number}").double()
            self._cosines[:, cell], self._sines[:, cell] = drawn[::2], drawn[1::2]
            # Conditioned on the value at time 0, which is the sum of all weighted cosines.
            missing = latents(seed, number, 1, size)[0].double() - self._weights @ self._cosines[:, cell]
            self._cosines[:, cell] += self._weights.unsqueeze(1) * missing

    def at(self, times: NDArray[np.float64]) -> Tensor:
        """See `LatentPath`."""
        angles = 2 * math.pi * torch.from_numpy(times).unsqueeze(1) * torch.arange(len(self._weights))
        cosines = torch.einsum("tm,mcn->tcn", angles.cos() * self._weights, self._cosines)
        return (cosines + torch.einsum("tm,mcn->tcn", angles.sin() * self._weights, self._sines)).float()
