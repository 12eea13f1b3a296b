"""Networks that come as TorchScript programs: NVIDIA's ``inception-2015-12-05.pt`` and ``vgg16.pt``.

They are called as the programs of Karras et al. (StyleGAN2-ADA, NeurIPS 2020) call them: ``net(images,
return_features=True)`` takes uint8 images of any size and resizes and normalises them itself, by the same geometry as
the resize mode ``tf1``.

``torch.jit.load`` does not unpickle Python objects, but a TorchScript program is a program: torch's own operations let
it write files. So one that is not a published file, by its SHA-256, runs only if the user says that it may.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from datasets.errors import InputError


class Script:
    """A network in a TorchScript file.

    Parameters
    ----------
    path : Path
    device : torch.device
    feature_size : int
        Numbers per image that it must give.

    Raises
    ------
    InputError
        If the file is damaged, or not such a network.
    """

    def __init__(self, path: Path, device: torch.device, feature_size: int) -> None:
        self.path, self._feature_size = path, feature_size
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch would like another format; the published files are in this one
                self._program = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} is a damaged TorchScript file: {str(error).strip().splitlines()[0]}") from None

    def __call__(self, images: Tensor) -> Tensor:
        """Features of uint8 images (n, 3, h, w), shape (n, feature size)."""
        try:
            features = self._program(images, return_features=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{self.path} cannot be called as net(images, return_features=True): {reason}") from None
        if not isinstance(features, Tensor) or features.shape != (len(images), self._feature_size):
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(
                f"{self.path} gives {found} for {len(images)} images, not {self._feature_size} numbers each; "
                "it is the program of another network"
            )
        return features

    @property
    def head(self) -> tuple[Tensor, Tensor] | None:
        """Weight (classes, feature size) and bias of the classifier, if it lies open as NVIDIA's does."""
        tensors = self._program.state_dict()
        for name in ("output", "layers.output"):
            weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
            if weight is not None and bias is not None and weight.shape == (len(bias), self._feature_size):
                return weight, bias
        return None
