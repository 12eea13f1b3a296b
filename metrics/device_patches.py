"""Patches and projections of SWD on a device of torch: the pyramid, the patches, the products, the sorts.

The same rule and the same random numbers as on the processor (patches.py, projections.py); nothing but the images goes
to the device, and nothing but sums and distances comes back. Values agree with those of the processor to 1e-5.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from metrics.patches import Descriptors, Draws, PatchSet, Side
from metrics.precision import full_precision
from metrics.projections import Projections, weights_and_offsets

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(images: Tensor, num_bands: int) -> list[Tensor]:
    """Bands of images, finest first; see `metrics.laplacian.laplacian_pyramid`.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, r, r)
    num_bands : int

    Returns
    -------
    list of Tensor of float32, shape (n, c, r / 2^k, r / 2^k)
    """
    gaussian, bands = images.float(), []
    for _ in range(num_bands - 1):
        coarser = _filtered(gaussian)[..., ::2, ::2]
        spread = torch.zeros_like(gaussian)
        spread[..., ::2, ::2] = 4 * coarser
        bands.append(gaussian - _filtered(spread))
        gaussian = coarser
    return [*bands, gaussian]


def _filtered(planes: Tensor) -> Tensor:
    """Binomial filter in both directions, borders mirrored."""
    n, c, height, width = planes.shape
    kernel = planes.new_tensor(_BINOMIAL)
    padded = functional.pad(planes.reshape(n * c, 1, height, width), (2, 2, 2, 2), mode="reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, 5, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, 5)).view(n, c, height, width)


class DevicePatchSet(PatchSet):
    """`PatchSet` whose patches lie on a device.

    Parameters
    ----------
    device : torch.device
    side, num_images, resolution, draws, patches, patch_size, coarsest
        See `PatchSet`.
    """

    def __init__(
        self,
        device: torch.device,
        side: Side,
        num_images: int,
        resolution: int,
        draws: Draws,
        *,
        patches: int = 128,
        patch_size: int = 7,
        coarsest: int = 16,
    ) -> None:
        super().__init__(side, 0, resolution, draws, patches=patches, patch_size=patch_size, coarsest=coarsest)
        self.num_images = num_images
        self._sums, self._filled = np.zeros((len(self.bands), num_images, 2, 3)), np.zeros(num_images, bool)
        shape = len(self.bands), num_images * self.num_patches, 3 * self.patch_size**2
        self._on_device = torch.empty(shape, device=device)

    @torch.inference_mode()
    @full_precision()
    def update(self, images: NDArray[np.uint8], first: int) -> None:
        """Take the patches of images number `first` and following, uint8 of shape (n, 3, r, r)."""
        there = torch.from_numpy(np.ascontiguousarray(images)).to(self._on_device.device)
        rows = slice(first * self.num_patches, (first + len(images)) * self.num_patches)
        for band, pixels in enumerate(laplacian_pyramid(there, len(self.bands))):
            side, size = self.bands[band], self.patch_size
            places = self.draws.positions(self.side, side, first, len(images), self.num_patches, size)
            corners = torch.from_numpy(places[..., 0] * side + places[..., 1]).to(pixels.device)
            channel, row, column = (torch.arange(k, device=pixels.device) for k in (3, size, size))
            within = (channel[:, None, None] * side + row[:, None]) * side + column
            index = (corners[:, :, None] + within.flatten()).flatten(1)
            cut = pixels.flatten(1).gather(1, index).view(len(images), self.num_patches, 3, -1)
            self._on_device[band, rows] = cut.view(-1, 3 * size**2)
            moments = [cut.double().pow(power).sum(dim=(1, 3)) for power in (1, 2)]
            self._sums[band, first : first + len(images)] = torch.stack(moments, dim=1).cpu().numpy()
        self._filled[first : first + len(images)] = True

    def _get(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._on_device[:, torch.from_numpy(rows)].cpu().numpy()

    def _put(self, rows: NDArray[np.int64], patches: NDArray[np.float32]) -> None:
        self._on_device[:, torch.from_numpy(rows)] = torch.from_numpy(patches).to(self._on_device.device)

    def _of_band(self, band: int, rows: slice) -> Tensor:
        return self._on_device[band, rows]


@torch.inference_mode()
@full_precision()
def project(descriptors: Descriptors, directions: NDArray[np.float32]) -> Projections:
    """`metrics.projections.project` where the patches lie."""
    weights, offsets = weights_and_offsets(descriptors, directions)
    values = torch.from_numpy(weights).to(descriptors.patches.device) @ descriptors.patches.T
    return Projections(values.sort(dim=1).values, offsets)


@torch.inference_mode()
def wasserstein(a: Projections, b: Projections) -> NDArray[np.float64]:
    """`metrics.projections.wasserstein` where the projections lie."""
    found = []
    for k, offset in enumerate((a.offsets - b.offsets).tolist()):
        found.append(((a.values[k] - b.values[k]) + offset).abs().mean(dtype=torch.float64))
    return torch.stack(found).cpu().numpy()
