"""Restoration networks from files: they remove the traces of JPEG, noise or blur, or make an image larger.

Appendix C of the paper cleans every photograph with one network and enlarges it with another, neither of which was
published. Here any network file that the user has takes their place. Each kind of file is one module of this folder,
found by listing it and recognised by content:

``spandrel``
    Tensors of PyTorch (.pth, .safetensors) for one of the architectures of the package spandrel: DAT, ESRGAN, ...
``onnx``
    An ONNX graph, run by the package onnxruntime.
``waifu2x``
    Plain 3x3 convolutions as JSON, in the layout of waifu2x. Needs no other package.

A module has ``recognises(data) -> bool``, judged by the bytes of a file, and ``open_network(path, data) -> Network``.
None of them runs code that comes in a file: files hold numbers, and the name of what is done with them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import pkgutil
import threading
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from toolkit.celebahq.tiles import in_tiles

__all__ = ["Enlarger", "Network", "Restorer", "enlarge_with", "load", "names", "needs_extra"]

_LARGEST_FILE = 1 << 31  # bytes; an ONNX file cannot be larger, and no network of this kind is
_AVOID = 32  # a tile is worth its while if it is larger than its overlap by this many pixels

Tile = NDArray[np.float32]  # (height, width, 3), RGB from 0 to 1


class Network(Protocol):
    """What a module of this folder opens. It may be called by several threads at once.

    Attributes
    ----------
    name : str
        Of the architecture, for people.
    scale : int
        Its picture is larger than its input by this factor.
    margin : int
        Pixels along the cut edges of a tile that come out otherwise than in the whole image, and are thrown away.
    blend : int
        Pixels across which neighbouring tiles fade into each other; 0 if nothing beyond `margin` differs.
    size : tuple of int or None
        Height and width of the only input that the network takes; None if it takes any.
    multiple : int
        Height and width of an input must be multiples of this.
    """

    name: str
    scale: int
    margin: int
    blend: int
    size: tuple[int, int] | None
    multiple: int

    def __call__(self, tile: Tile) -> Tile:
        """Picture of a tile: float32 of shape (scale * height, scale * width, 3), nominally from 0 to 1."""
        ...


def names() -> list[str]:
    """Kinds of network files: names of the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@dataclasses.dataclass(frozen=True)
class Restorer:
    """A network file, ready to be used on images. Equal images give equal pixels.

    It can be pickled: only where the file is and its digest go along, and a process reads the file when it first needs
    it. Threads share one network.

    Attributes
    ----------
    path : Path
        Absolute.
    digest : str
        SHA-256 of the file, 64 hexadecimal digits.
    kind : str
        One of `names`.
    name : str
        Architecture and factor, such as ``DAT 4x``.
    scale : int
        The result is larger than the input by this factor.
    tile : int
        Height and width of the parts into which images are cut, in pixels, if the network does not fix them.
    overlap : int
        What neighbouring parts have in common, in pixels.
    """

    path: Path
    digest: str
    kind: str
    name: str
    scale: int
    tile: int
    overlap: int

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Restore an image.

        Besides the result, memory is needed for one row of tiles, so it grows with the width of an image but not with
        its height.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (H, W, 3)
            Upright sRGB.

        Returns
        -------
        ndarray of uint8, shape (scale * H, scale * W, 3)

        Raises
        ------
        InputError
            If the file has changed, or the network gives numbers that are no picture.
        """
        network = _opened(self.path, self.digest, self.kind)
        return in_tiles(network, pixels, tile=self.tile, overlap=self.overlap, where=str(self.path))


def load(path: Path, *, tile: int = 256, overlap: int | None = None) -> Restorer:
    """Open a network file.

    Parameters
    ----------
    path : Path
        Of any kind in `names`, recognised by content.
    tile : int
        Height and width of the parts into which images are cut. Larger ones take more memory and a little less time. A
        network whose input has a fixed size has its own.
    overlap : int or None
        What neighbouring parts have in common; None: what the network needs. If a network looks farther than half of
        it, as most of the large ones do a little, the result depends slightly on where the cuts are, but shows no seam.

    Returns
    -------
    Restorer

    Raises
    ------
    InputError
        If the file is missing, too large, of no known kind, damaged, or no network from RGB to RGB; if the package that
        runs it is not installed; if the overlap is no less than the tile.
    """
    path = Path(path).absolute()
    data = _read(path)
    kind, digest = _kind(path, data), hashlib.sha256(data).hexdigest()
    del data
    network = _opened(path, digest, kind)
    needed = 2 * network.margin + max(network.blend, 1)
    overlap = needed if overlap is None else max(1, overlap)
    if network.size is None and tile < overlap + _AVOID:
        raise InputError(
            f"{path}: a tile of {tile} pixels is too small for an overlap of {overlap}; take at least "
            f"{overlap + _AVOID}"
        )
    if network.size is not None and min(network.size) <= overlap:
        raise InputError(
            f"{path} takes images of {network.size[1]}x{network.size[0]} pixels only, which leaves nothing beside an "
            f"overlap of {overlap}; export it for larger images or for any size"
        )
    return Restorer(path, digest, kind, f"{network.name} {network.scale}x", network.scale, tile, overlap)


@dataclasses.dataclass(frozen=True)
class Enlarger:
    """An image made larger by a given factor: by a network as far as its own factor goes, by resampling for the rest.

    Attributes
    ----------
    restorer : Restorer
    resample : str
        Filter of Pillow: ``lanczos``, ``bicubic``, ``bilinear`` or ``box``.
    """

    restorer: Restorer
    resample: str = "lanczos"

    def __call__(self, pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
        """Make an image larger, uint8 (H, W, 3) to (factor * H, factor * W, 3).

        The network is applied as often as its scale divides what is still to do: twice for a factor of 4 if its scale
        is 2. If it cannot be applied even once, it is, and the result is reduced. What else is left to do is done by
        resampling, since networks are made to enlarge photographs, not what they made themselves.
        """
        if factor < 1:
            raise ValueError(f"factor must be at least 1, not {factor}")
        height, width = factor * pixels.shape[0], factor * pixels.shape[1]
        for _ in range(self.passes(factor)):
            pixels = self.restorer(pixels)
        if pixels.shape[:2] == (height, width):
            return pixels
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling[self.resample.upper()])
        return np.asarray(image)

    def passes(self, factor: int) -> int:
        """Number of times that the network is applied for a factor; 0 if the factor is 1."""
        passes, scale = 0, self.restorer.scale
        while factor % scale == 0:
            factor //= scale
            passes += 1
        return passes if passes or factor == 1 else 1


def enlarge_with(restorer: Restorer, resample: str = "lanczos") -> Enlarger:
    """Use a network to make images larger by any whole factor, see `Enlarger`.

    Raises
    ------
    InputError
        If the network makes nothing larger.
    """
    if restorer.scale < 2:
        raise InputError(
            f"{restorer.path}: this network ({restorer.name}) does not make images larger; it can clean them "
            "(--artifact-model), and --superres-model needs another"
        )
    return Enlarger(restorer, resample)


def needs_extra(path: Path, package: str) -> InputError:
    """The error that says how to install a package that runs a kind of network."""
    return InputError(
        f"{path} needs the package {package}, which is not installed; install it with pip install "
        "'growgan[restoration]'"
    )


_opening = threading.Lock()


def _opened(path: Path, digest: str, kind: str) -> Network:
    """The network of a file; read once in a process, and shared."""
    with _opening:
        return _read_network(path, digest, kind)


@functools.lru_cache(maxsize=4)
def _read_network(path: Path, digest: str, kind: str) -> Network:
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"{path} has changed since it was opened; give the new file a name of its own and begin anew")
    network: Network = _module(kind).open_network(path, data)
    return network


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes; a network of this kind has at most {_LARGEST_FILE}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give the path of a network file") from None


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{kind}")


def _kind(path: Path, data: bytes) -> str:
    for kind in names():
        if _module(kind).recognises(data):
            return kind
    raise InputError(
        f"{path} is no network file that can be read: it must be PyTorch tensors (.pth, .safetensors), ONNX, or "
        "waifu2x's JSON"
    )
