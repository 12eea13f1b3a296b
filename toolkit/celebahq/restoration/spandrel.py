"""Networks of PyTorch, as tensors in a .pth or .safetensors file, of the architectures that the package spandrel knows.

This is the one module of `toolkit` that imports torch, and only when such a file is opened: the data tools start
without it. A .pth file is a pickle, which could run anything. torch reads it here with ``weights_only``, whose
unpickler makes tensors and plain containers and refuses all else; spandrel's own reader is not used, since it passes
some files on to the loader of TorchScript programs. What was read must then be tensors alone.

spandrel asks for the package torchvision, whose published builds do not load beside every build of torch, and uses it
in two architectures of some forty: one fills holes and one draws faces anew, and neither is wanted here. So torchvision
is left out, whether it is installed or not.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import InputError
from toolkit.celebahq.restoration import Tile, needs_extra

if TYPE_CHECKING:
    import spandrel

_BORROWED = ("rotate", "normalize", "InterpolationMode")  # what spandrel's architectures import from torchvision


def recognises(data: bytes) -> bool:
    """True if a file is a ZIP archive or a pickle, as torch.save writes them, or begins as a safetensors file."""
    header = int.from_bytes(data[:8], "little")
    return data.startswith((b"PK\x03\x04", b"\x80\x02")) or (data[8:9] == b"{" and 2 <= header <= len(data) - 8)


class Module:
    """A network of spandrel.

    Parameters
    ----------
    descriptor : spandrel.ImageModelDescriptor
    path : Path
    """

    size = None
    multiple = 1  # spandrel repeats or reflects what is missing
    margin = 16  # how far such a network looks cannot be known; most of the weight lies within this
    blend = 16

    def __init__(self, descriptor: spandrel.ImageModelDescriptor[Any], path: Path) -> None:
        self._descriptor, self._path = descriptor, path
        self._one_at_a_time = threading.Lock()  # some architectures keep what they made for an input of this size
        self.name = str(descriptor.architecture.name)
        self.scale = descriptor.scale

    def __call__(self, tile: Tile) -> Tile:
        """Picture of a tile, see `toolkit.celebahq.restoration.Network`. torch uses all of its threads for it."""
        import torch

        image = torch.from_numpy(tile.transpose(2, 0, 1)[None].copy())
        try:
            with self._one_at_a_time, torch.inference_mode():
                picture = self._descriptor(image)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputError(
                f"{self._path} ({self.name}) fails on an image of {tile.shape[1]}x{tile.shape[0]}: {_line(error)}"
            ) from None
        result: Tile = picture[0].permute(1, 2, 0).contiguous().numpy()
        return result


def open_network(path: Path, data: bytes) -> Module:
    """Open a network.

    Raises
    ------
    InputError
        If spandrel is not installed; if the file is damaged or holds more than tensors; if they are of no architecture
        that spandrel knows, or of one that does not make an RGB image from one.
    """
    try:
        import torch

        with without_torchvision():
            import spandrel
    except ModuleNotFoundError as error:
        raise needs_extra(path, str(error.name)) from None
    state = spandrel.canonicalize_state_dict(_tensors(path, data))
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor) or not isinstance(key, str):
            raise InputError(
                f"{path}: {str(key)[:60]!r} is of type {type(tensor).__name__}, and only tensors are taken; save "
                "network.state_dict() alone"
            )
        if tensor.layout != torch.strided or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise InputError(f"{path}: the tensor {key[:60]!r} is larger than what the file holds of it; it is damaged")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: the tensor {key[:60]!r} has values that are not finite; the file is damaged")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about architectures of other people
            descriptor = spandrel.MAIN_REGISTRY.load(state)
    except spandrel.UnsupportedModelError:
        raise InputError(
            f"{path} holds {len(state)} tensors of none of the {len(spandrel.MAIN_REGISTRY)} architectures "
            "that spandrel knows; take a network of one of these, or export it to ONNX"
        ) from None
    except Exception as error:  # noqa: BLE001 - what an architecture makes of foreign tensors may fail in any way
        raise InputError(f"{path} does not fit the architecture that its names speak of: {_line(error)}") from None
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.purpose == "FaceSR":
        raise InputError(
            f"{path} is a network that fills holes or draws faces anew ({descriptor.architecture.name}); take one that "
            "restores or enlarges photographs"
        )
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise InputError(
            f"{path} ({descriptor.architecture.name}) makes {descriptor.output_channels} channels of "
            f"{descriptor.input_channels}; take a network for RGB images"
        )
    descriptor.model.eval().float()
    return Module(descriptor, path)


def _tensors(path: Path, data: bytes) -> Any:
    """Content of a file, made without running what is in it."""
    import safetensors
    import torch
    from safetensors.torch import load

    try:
        if data[8:9] == b"{":
            return load(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old kinds of files
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is a damaged safetensors file: {_line(error)}; get it again") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"{path} holds more than tensors, and loading that could run code, so it is refused "
            f"({found[1] if found else _line(error)}); save network.state_dict() alone"
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way
        raise InputError(f"{path} is no whole file of PyTorch tensors: {_line(error)}; get it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not named tensors; save network.state_dict()")
    return content


@contextlib.contextmanager
def without_torchvision() -> Iterator[None]:
    """While this lasts, torchvision is a module without content, so that spandrel can be imported."""
    if "spandrel" in sys.modules or "torchvision" in sys.modules:
        yield
        return
    modules = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms", _FUNCTIONS)}
    for name in _BORROWED:
        setattr(modules[_FUNCTIONS], name, None)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


_FUNCTIONS = "torchvision.transforms.functional"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join((lines[0] if lines else type(error).__name__).split())[:160]
