"""Feature extractors: one module per network, found by listing this folder; ``vgg16.py`` is the network ``vgg16``.

A module holds one class called ``Network``, a subclass of the `Extractor` below. To add a network, add a file: the
command line and the contract tests (tests/metrics/test_features_contract.py) pick it up.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from datasets.errors import InputError
from metrics import weights as files
from metrics.precision import checked_device, full_precision
from metrics.resize import Images, as_images, check_mode, stacks_of_one_size
from metrics.resize import resize as stretch
from metrics.scores import Progress, no_progress
from metrics.torchscript import Script
from metrics.weights import Published

Graph = Callable[[Tensor], Tensor]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
"""Number formats of the convolutions. Only float32 gives the values that people compare."""


@dataclasses.dataclass(frozen=True)
class Features:
    """What a network makes of n images, float32 on the network's device.

    Attributes
    ----------
    pool : Tensor, shape (n, feature size)
        The features that distances are measured on.
    logits, logits_unbiased : Tensor or None, shape (n, classes)
        What the classifier says, with and without the bias of its last layer; None if there is no classifier.
    """

    pool: Tensor
    logits: Tensor | None
    logits_unbiased: Tensor | None


class Extractor(abc.ABC):
    """A trained network that gives each image a vector.

    The features of an image depend on that image alone: the network always works on blocks of one size (the last is
    filled up), so that on one machine and with one number of threads an image has the same features to the bit in
    whatever batch it comes. Other machines, devices and numbers of threads move the last digits of a float32.

    Parameters
    ----------
    weights : path, mapping of str to Tensor, or None
        A file (torch's format, safetensors, or a published TorchScript program) or a state dict; the published file
        if None, see `metrics.weights.find`.
    resize : str, optional
        How images reach the input size, see `metrics.resize`; the network's own default if None.
    dtype : str
        One of `DTYPES`.
    device : str or torch.device
        Where the network works.
    trust_torchscript : bool
        Allow a TorchScript program that is not a published one; see `metrics.torchscript`.
    progress : Progress
        Shows a download.

    Raises
    ------
    InputError
        If the weights cannot be had or are of another network, or an option has a value it may not have.
    """

    title: ClassVar[str]
    """Name of the network in prose."""
    input_size: ClassVar[int]
    """Side of the images it sees, in pixels."""
    default_resize: ClassVar[str] = "tf1"
    """The usual mode of `metrics.resize`."""
    code_version: ClassVar[int]
    """To be raised with every change of the code that moves a feature."""
    published: ClassVar[tuple[Published, ...]] = ()
    """Files of its standard weights, equally good."""
    published_scripts: ClassVar[tuple[Published, ...]] = ()
    """The same as TorchScript programs."""
    classifier: str | None = None
    """Name of the linear layer that turns `Features.pool` into logits."""
    distance: str
    """What a Fréchet distance of its features is called: ``"fid"`` for the FID network alone."""
    feature_size: int
    """Numbers per image."""
    num_classes: int | None = None
    """Classes of the classifier, None if there is none."""
    weights_digest: str
    """SHA-256 of the tensors (of the file for a TorchScript program), hexadecimal."""
    weights_name: str = "a state dict"
    """Name of the file of weights, without its folder."""
    weights_published: bool = False
    """Whether the weights are the ones that published values were measured with."""

    def __init__(
        self,
        weights: Path | str | Mapping[str, Tensor] | None = None,
        *,
        resize: str | None = None,
        dtype: str = "float32",
        device: str | torch.device = "cpu",
        trust_torchscript: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f"there is no number format {dtype}; choose from {', '.join(DTYPES)}")
        self.dtype, self.device = dtype, checked_device(device)
        self.resize_mode = check_mode(resize or self.default_resize)
        self._script: Script | None = None
        self._head: tuple[Tensor, Tensor] | None = None
        self._exact: Mapping[str, Tensor] = {}
        if weights is None:
            self.weights_name, tensors = self.standard_weights(progress)
            self.weights_published = True
            self._use_tensors(tensors, self.weights_name)
        elif isinstance(weights, Mapping):
            self._use_tensors(weights, "the state dict given")
        else:
            self._use_file(Path(weights), trust_torchscript)

    def _use_file(self, path: Path, trust_torchscript: bool) -> None:
        self.weights_name = path.name
        if path.is_file() and files.is_torchscript(path):
            self._use_script(path, trust_torchscript)
        else:
            self._use_tensors(files.read(path), str(path))
            self.weights_published = files.file_sha256(path) in {file.sha256 for file in self.published}

    def _use_tensors(self, given: Mapping[str, Tensor], where: str) -> None:
        tensors = {name: value for name, value in given.items() if not name.endswith(".num_batches_tracked")}
        files.check(tensors, self.shapes(), where, self.name)
        tensors = {name: value.detach().float() for name, value in tensors.items()}
        self.weights_digest = files.tensors_sha256(tensors)
        self._exact = tensors if self.dtype != "float32" else {}
        self._graph = self.build(tensors)
        if self.classifier is not None:
            self._set_head(tensors[f"{self.classifier}.weight"], tensors[f"{self.classifier}.bias"])

    def _use_script(self, path: Path, trusted: bool) -> None:
        self.weights_digest = files.file_sha256(path)
        self.weights_published = self.weights_digest in {file.sha256 for file in self.published_scripts}
        if not (self.weights_published or trusted):
            raise InputError(
                f"{path} is a TorchScript program and not a published one (SHA-256 {self.weights_digest}); it is not "
                "run, since it could write files: give a state dict, or pass --trust-torchscript if you trust it"
            )
        if self.resize_mode != "tf1" or self.dtype != "float32":
            raise InputError(
                f"{path} is a TorchScript program, which resizes by itself (as tf1 does) in float32; for "
                f"{self.resize_mode} and {self.dtype} give the weights as a state dict"
            )
        self._script = Script(path, self.device, self.feature_size)
        self.resize_mode = "nvidia"
        if self._script.head is not None:
            self._set_head(*self._script.head)

    def _set_head(self, weight: Tensor, bias: Tensor) -> None:
        self.num_classes = len(bias)
        self._head = weight.to(self.device, torch.float64), bias.to(self.device, torch.float64)

    def standard_weights(self, progress: Progress) -> tuple[str, Mapping[str, Tensor]]:
        """Name and tensors of the weights that the network is known by: its published file, wherever it is found."""
        path = files.find(self.published, self.name, progress)
        return path.name, files.read(path)

    @property
    def name(self) -> str:
        """Name in the registry."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    @abc.abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors that the weights must have, counters of batches left out."""

    @abc.abstractmethod
    def build(self, tensors: Mapping[str, Tensor]) -> Graph:
        """Function from normalised images (n, 3, input size, input size) to features (n, feature size).

        Its weights are to be on `device` in `dtype`, as its input will be (channels last).
        """

    @property
    @abc.abstractmethod
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and deviation of the channels R, G, B on the scale 0..255: the network sees (x - mean) / deviation."""

    @property
    def block_size(self) -> int:
        """Images that the network works on at once; batches of a multiple of it waste nothing."""
        return 64 if self.device.type != "cpu" else min(64, 4 * torch.get_num_threads())

    @property
    def cache_key(self) -> dict[str, Any]:
        """Everything that decides a feature, besides the image."""
        return {
            "network": self.name,
            "feature_size": self.feature_size,
            "weights": self.weights_digest,
            "resize": self.resize_mode,
            "dtype": self.dtype,
            "device": self.device.type,
            "code_version": self.code_version,
        }

    @property
    def protocol(self) -> dict[str, Any]:
        """What a result says of its features, JSON-able."""
        mean, deviation = self.normalisation
        return {
            **self.cache_key,
            "weights_file": self.weights_name,
            "weights_published": self.weights_published,
            "input_size": self.input_size,
            "normalisation": {"mean": list(mean), "deviation": list(deviation)},
        }

    @property
    def warnings(self) -> list[str]:
        """What a reader of a value from these features must know."""
        found = []
        if not self.weights_published:
            found.append(
                f"the weights of {self.name} ({self.weights_name}) are not the published ones: "
                "compare only values measured with the same weights digest"
            )
        if self.dtype == "bfloat16":
            found.append(
                "features were computed in bfloat16 and differ from the standard ones by about half a percent: "
                f"this is not the standard {self.distance}"
            )
        return found

    def __call__(self, images: Images) -> Features:
        """Features of some images.

        Parameters
        ----------
        images : ndarray or Tensor of uint8, shape (n, 3, h, w), or a sequence of such of shape (3, h, w)
            RGB, values 0..255, of any size; in a sequence each of its own.

        Raises
        ------
        InputError
            If they are of another type or shape.
        """
        singles = as_images(images)
        pool = torch.empty((len(singles), self.feature_size), dtype=torch.float32, device=self.device)
        with torch.inference_mode(), full_precision():
            for first in range(0, len(singles), self.block_size):
                block = singles[first : first + self.block_size]
                pool[first : first + len(block)] = self._features_of_block(block)
        return self.classify(pool)

    def classify(self, pool: Tensor) -> Features:
        """Add the logits to features, such as ones kept from before, shape (n, feature size).

        In float64, so that the rounded logits depend neither on the batch nor on the machine.
        """
        if self._head is None:
            return Features(pool, None, None)
        weight, bias = self._head
        unbiased = pool.to(self.device, torch.float64) @ weight.T
        return Features(pool, (unbiased + bias).float(), unbiased.float())

    def deviation_from_float32(self, images: Images) -> float:
        """How far this number format moves the features of some images, relative to their length (L2)."""
        if not self._exact:
            return 0.0
        exact = copy.copy(self)
        exact.dtype = "float32"
        exact._graph = exact.build(self._exact)
        standard = exact(images).pool
        return float((self(images).pool - standard).norm() / standard.norm())

    def _features_of_block(self, block: Sequence[Tensor]) -> Tensor:
        stacks = [part.to(self.device) for part in stacks_of_one_size(block)]
        if self._script is not None:
            return torch.cat([self._script(stack) for stack in stacks]).float()
        pixels = torch.cat([stretch(stack, self.input_size, self.resize_mode) for stack in stacks])
        mean, deviation = (
            torch.tensor(numbers, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
            for numbers in self.normalisation
        )
        filled = functional.pad((pixels - mean) / deviation, (0, 0, 0, 0, 0, 0, 0, self.block_size - len(block)))
        return self._graph(filled.to(DTYPES[self.dtype], memory_format=torch.channels_last))[: len(block)].float()


def names() -> list[str]:
    """Names of all networks."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Extractor]:
    """Class of the network called `name`.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if name not in names():
        raise InputError(f"there is no network called {name}; choose from {', '.join(names())}")
    network: type[Extractor] = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").Network
    return network
