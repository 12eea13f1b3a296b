"""Training of the digit network that counts the modes of MNIST-RGB, on the processor, from a seed.

Karras et al. 2018 say of their classifier only its layers and that it errs on about 0.4% of MNIST; the recipe here is
ours. The file of weights says what it was trained on and how often it errs on images that it was not shown.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from datasets import formats
from datasets.atomic import check_writable, replacing
from datasets.errors import InputError
from metrics.features.digits import INPUT_SIZE, NUM_CLASSES, parameter_shapes, read_digits, scale, write_weights
from metrics.images import PyramidImageSet
from metrics.precision import checked_device, full_precision
from metrics.scores import Progress, no_progress

_RATE = 0.002  # of Adam at its peak
_WARM_UP = 0.1  # share of the steps in which the rate rises to that; then it falls as a cosine to 0
_SHIFT = 2  # pixels by which images move at most, as far as the border that MNIST is padded with
_HELD_OUT = 6  # one image of so many is not trained on: 10000 of MNIST's 60000
_READ_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class Digits:
    """Grey images with their classes.

    Attributes
    ----------
    planes : ndarray of uint8, shape (n, 32, 32)
    classes : ndarray of int64, shape (n,)
        From 0 to 9.
    """

    planes: NDArray[np.uint8]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    def of(self, rows: NDArray[np.int64]) -> Digits:
        """Some of them."""
        return Digits(self.planes[rows], self.classes[rows])


def open_digits(path: Path) -> tuple[Digits, str]:
    """Images of a pyramid at 32x32 and the digest of that level.

    Raises
    ------
    InputError
        If it is not a pyramid, has no level of 32x32, has other than ten classes, or colours.
    """
    reader = formats.open_pyramid(path)
    images = PyramidImageSet(reader, INPUT_SIZE)
    classes = reader.labels()
    found = set() if classes is None else set(classes.tolist())
    if classes is None or found != set(range(NUM_CLASSES)):
        having = "no classes" if classes is None else f"{len(found)} classes"
        raise InputError(
            f"{path} has {having}; the digit network learns the ten classes of MNIST: toolkit make-pyramid MNIST {path}"
        )
    planes = np.empty((len(classes), INPUT_SIZE, INPUT_SIZE), np.uint8)
    for first in range(0, len(classes), _READ_AT_ONCE):
        pixels = images.read(np.arange(first, min(first + _READ_AT_ONCE, len(classes))))
        if (pixels != pixels[:, :1]).any():
            raise InputError(f"{path} holds coloured images; the digit network learns grey ones, such as MNIST")
        planes[first : first + len(pixels)] = pixels[:, 0]
    return Digits(planes, classes), images.digest


def hold_out(digits: Digits, seed: int) -> tuple[Digits, Digits]:
    """Random images to train on, and the sixth that is kept from training."""
    order = np.random.default_rng(seed).permutation(len(digits))
    kept = len(digits) // _HELD_OUT
    return digits.of(np.sort(order[kept:])), digits.of(np.sort(order[:kept]))


def shifted(planes: NDArray[np.uint8], generator: np.random.Generator, most: int = _SHIFT) -> NDArray[np.uint8]:
    """Every image moved by up to `most` pixels down or up and right or left, black where nothing was."""
    count, side = len(planes), planes.shape[1]
    padded = np.pad(planes, ((0, 0), (most, most), (most, most)))
    down, right = generator.integers(0, 2 * most + 1, (2, count, 1)) + np.arange(side)
    moved: NDArray[np.uint8] = padded[np.arange(count)[:, None, None], down[:, :, None], right[:, None, :]]
    return moved


def new_weights(seed: int) -> dict[str, Tensor]:
    """Normally distributed weights that keep the size of activations, and biases of 0."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        if len(shape) > 1
        else torch.zeros(shape)
        for name, shape in parameter_shapes().items()
    }


def train(
    digits: Digits,
    *,
    epochs: int = 5,
    batch: int = 128,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> dict[str, Tensor]:
    """Train the network by cross-entropy with Adam on shifted images.

    Equal images, seed, machine and number of threads give equal weights; no global random stream is drawn from.

    Parameters
    ----------
    digits : Digits
        At least one image.
    epochs : int
        How often it sees every image.
    batch : int
        Images of a step.
    seed : int
        Of weights, order and shifts.
    device : str or torch.device
        Where it is trained.
    progress : Progress
        Counts images.

    Returns
    -------
    dict of str to Tensor
        Weights by name, see `metrics.features.digits.parameter_shapes`.

    Raises
    ------
    InputError
        If the weights become infinite.
    """
    place = checked_device(device)
    weights = {name: _channels_last(value.to(place)).requires_grad_() for name, value in new_weights(seed).items()}
    optimizer = torch.optim.Adam(weights.values(), lr=_RATE)
    generator = np.random.default_rng((seed, 1))  # 1: another stream than that of `hold_out`
    steps = epochs * -(-len(digits) // batch)
    step = 0
    with full_precision(), progress(epochs * len(digits), "training") as bar:
        for _ in range(epochs):
            order = generator.permutation(len(digits))
            for first in range(0, len(order), batch):
                some = digits.of(order[first : first + batch])
                optimizer.param_groups[0]["lr"] = _RATE * _share_of_rate((step + 1) / steps)
                given = torch.from_numpy(shifted(some.planes, generator)).to(place)
                found = read_digits(weights, _channels_last(scale(given[:, None])))
                loss = functional.cross_entropy(found, torch.from_numpy(some.classes).to(place))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                bar.update(len(some))
    trained = {name: value.detach() for name, value in weights.items()}
    if not all(value.isfinite().all() for value in trained.values()):
        raise InputError("the digit network did not learn, its weights are not finite; try another --seed")
    return trained


def error_rate(weights: dict[str, Tensor], digits: Digits) -> float:
    """Share of images that the network puts into another class."""
    place = next(iter(weights.values())).device
    wrong = 0
    with torch.inference_mode(), full_precision():
        for first in range(0, len(digits), _READ_AT_ONCE):
            given = torch.from_numpy(digits.planes[first : first + _READ_AT_ONCE]).to(place)
            read = read_digits(weights, _channels_last(scale(given[:, None]))).argmax(dim=1).cpu().numpy()
            wrong += int((read != digits.classes[first : first + _READ_AT_ONCE]).sum())
    return wrong / len(digits)


def train_file(
    path: Path,
    out: Path,
    *,
    test: Path | None = None,
    epochs: int = 5,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train the network on a pyramid and write a file of weights, which appears when all is done.

    Parameters
    ----------
    path : Path
        Pyramid of grey images of ten classes, such as ``toolkit make-pyramid`` makes of MNIST.
    out : Path
        The file, in safetensors.
    test : Path, optional
        Such a pyramid of images to find the error with; a random sixth of the first if not given, which is then not
        trained on.
    epochs, seed, device, progress
        See `train`.
    overwrite : bool
        Replace `out` if it exists.

    Returns
    -------
    dict
        What the file says of itself: ``held_out_error`` (share), ``held_out_images``, ``held_out_set``,
        ``training_images``, ``training_set``, ``epochs``, ``seed``.

    Raises
    ------
    InputError
        If a pyramid is none of ten classes, or the file cannot be written.
    """
    check_writable(out, overwrite=overwrite)
    checked_device(device)
    digits, digest = open_digits(path)
    if test is None:
        shown, held_out = hold_out(digits, seed)
        held_out_set = "random sixth of the training set"
        if not len(held_out):
            raise InputError(f"{path} has {len(digits)} images, too few to hold some out; give it more")
    else:
        shown = digits
        held_out, held_out_set = open_digits(test)
        if held_out_set == digest:
            raise InputError(f"{test} holds the images of {path}; give images that are not trained on")
    weights = train(shown, epochs=epochs, seed=seed, device=device, progress=progress)
    record = {
        "held_out_error": error_rate(weights, held_out),
        "held_out_images": len(held_out),
        "held_out_set": held_out_set,
        "training_images": len(shown),
        "training_set": digest,
        "epochs": epochs,
        "seed": seed,
    }
    with replacing(out) as temporary:
        write_weights(temporary, weights, record)
    return record


def _share_of_rate(done: float) -> float:
    """Learning rate as a share of its peak when this share of the steps is done."""
    if done < _WARM_UP:
        return done / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))


def _channels_last(x: Tensor) -> Tensor:
    """The memory order in which convolutions are fastest on all devices."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
