"""How images reach the input size of a network, by the three rules that people's published values were made with.

Parmar, Zhang, Zhu: "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022, shows that the rule
alone moves FID by whole points, so every result names the one it used. None of them rounds: what comes out is float32.

=======  ==========================================================  ===========================================
name     rule                                                        whose values it reproduces
=======  ==========================================================  ===========================================
tf1      bilinear, source = target * n / size, no antialiasing       TTUR, NVIDIA, torch-fidelity, most papers
torch    bilinear, source = (target + 1/2) * n / size - 1/2,         pytorch-fid
         no antialiasing
clean    bicubic (a = -1/2) with antialiasing, channel by channel    clean-fid
         in float, limited to 0..255
=======  ==========================================================  ===========================================
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from datasets.errors import InputError
from metrics.workers import parallel_map

Image: TypeAlias = NDArray[np.uint8] | Tensor
Images: TypeAlias = Image | Sequence[Image]
"""Images as users give them: one array of shape (n, 3, h, w), or a sequence of images of shape (3, h, w)."""


def as_images(images: Images) -> list[Tensor]:
    """Single images of what a user gives.

    Returns
    -------
    list of Tensor of uint8, shape (3, h, w)
        Of any sizes; views of what was given where that is possible.

    Raises
    ------
    InputError
        If there are none, or they are of another type or shape.
    """
    if len(images) == 0:
        raise InputError("there are no images; give at least one")
    return [_as_image(image) for image in images]


def _as_image(image: Image) -> Tensor:
    kind, shape = str(image.dtype).removeprefix("torch."), tuple(image.shape)
    if kind != "uint8":
        raise InputError(f"images must be uint8 in 0..255, got {kind}; turn x in [-1, 1] into (x * 127.5 + 128) first")
    if len(shape) != 3 or shape[0] != 3 or 0 in shape:
        hint = "; move the channels to the front" if shape[-1:] == (3,) else ""
        raise InputError(f"images must be RGB of shape (3, height, width) each, got {shape}{hint}")
    if isinstance(image, Tensor):
        return image
    return torch.from_numpy(image if image.flags.writeable else image.copy())


def stacks_of_one_size(images: Sequence[Tensor]) -> list[Tensor]:
    """Images in their order, neighbours of one size together as (n, 3, h, w)."""
    return [torch.stack(list(group)) for _, group in itertools.groupby(images, lambda image: image.shape)]


def resize(images: Tensor, size: int, mode: str) -> Tensor:
    """Images stretched to a square.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Values 0..255.
    size : int
        Side of the result in pixels.
    mode : str
        One of `names()`.

    Returns
    -------
    Tensor of float32, shape (n, 3, size, size)
        Values 0..255, not rounded, on the device of `images`. Each image depends on itself alone.

    Raises
    ------
    InputError
        If there is no such mode.
    """
    return _MODES[check_mode(mode)](images, size)


def names() -> list[str]:
    """Names of all modes."""
    return list(_MODES)


def check_mode(mode: str) -> str:
    """Give back the name of a mode, or raise `InputError` if there is none of this name."""
    if mode not in _MODES:
        raise InputError(f"there is no resize mode called {mode}; choose from {', '.join(_MODES)}")
    return mode


def _tf1(images: Tensor, size: int) -> Tensor:
    """Bilinear of TensorFlow 1: along x first, then along y, in the order of its float32 operations."""
    across = _lerp(images, size, dimension=3)
    return _lerp(across, size, dimension=2)


def _lerp(images: Tensor, size: int, dimension: int) -> Tensor:
    """Linear interpolation along one dimension; the last pixel is repeated where there is no next one."""
    length = images.shape[dimension]
    scale = torch.tensor(length / size, dtype=torch.float32, device=images.device)
    source = torch.arange(size, dtype=torch.float32, device=images.device) * scale
    low = source.long().clamp_max(length - 1)  # rounding may reach the length itself on large images
    high = (low + 1).clamp_max(length - 1)
    share = (source - low).unflatten(0, (size, 1) if dimension == 2 else (1, size))
    first, second = (images.index_select(dimension, index).float() for index in (low, high))
    return first.add_(second.sub_(first).mul_(share))


def _torch(images: Tensor, size: int) -> Tensor:
    return functional.interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)


def _clean(images: Tensor, size: int) -> Tensor:
    """Bicubic of Pillow on float images: exactly the arithmetic of clean-fid, so it runs on the CPU."""
    pixels = images.cpu().numpy()
    out = np.empty((len(pixels), 3, size, size), np.float32)

    def stretch(item: tuple[NDArray[np.float32], NDArray[np.uint8]]) -> None:
        target, channel = item
        stretched = PIL.Image.fromarray(channel.astype(np.float32)).resize((size, size), PIL.Image.Resampling.BICUBIC)
        np.clip(np.asarray(stretched), 0, 255, out=target)

    flat = out.reshape(-1, size, size), pixels.reshape(-1, *pixels.shape[2:])
    parallel_map(stretch, zip(*flat, strict=True))  # Pillow works outside of the interpreter lock
    return torch.from_numpy(out).to(images.device)


_MODES: dict[str, Callable[[Tensor, int], Tensor]] = {"tf1": _tf1, "torch": _torch, "clean": _clean}
