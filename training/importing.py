"""From another program's checkpoint to one of ours that holds the generator alone. Nothing in a file is run.

TensorFlow pickles go through `datasets.unpickle`; files of PyTorch through its own reader of weights, which builds
tensors and plain values only. The one class that pytorch_GAN_zoo puts into its files is read as an empty object.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from datasets import unpickle
from datasets.errors import InputError
from datasets.levels import level_of, resolution_of
from training import conditioning, importers
from training.architectures import level_name, pggan
from training.checkpoint import Checkpoint
from training.config import Config, plugin_names
from training.importers import Imported, Request, tensorflow_2018
from training.settings import to_mapping

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save began with until version 1.6
_SETTINGS = "models.utils.config.BaseConfig"  # pytorch_GAN_zoo's class of plain values


_FAULTS = (  # what torch raises at damaged files
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    tarfile.TarError,
    struct.error,
    OverflowError,
)


def import_generator(path: Path, *, average: bool = True, resolution: int | None = None) -> tuple[Checkpoint, Imported]:
    """Generator of a file as a checkpoint of ours.

    Parameters
    ----------
    path : Path
        A pickle of the TensorFlow release of 2018, or a checkpoint of pytorch_GAN_zoo or pro_gan_pytorch.
    average : bool
        Take the moving average, if the file has one.
    resolution : int, optional
        Side of the level to draw, where the file does not say it or an earlier level is wanted.

    Returns
    -------
    tuple of (Checkpoint, Imported)
        Of no images shown and with one group of tensors, ``average``; and what was found.

    Raises
    ------
    InputError
        If the file is damaged, mentions what only running code could make, is of another layout, holds no generator,
        or one that our network cannot represent exactly.
    """
    content, digest = _content(path)
    request = Request(path, average)
    for name in plugin_names(importers):
        found = _converted(name, content, request)
        if found is not None:
            found = _at(found, resolution, path)
            _check(found, path)
            return _checkpoint(found, path, digest), found
    raise InputError(
        f"{path} is of a layout that we do not read{_outline(content)}; there are pickles of the TensorFlow release of "
        "2018 (network-*.pkl), pytorch_GAN_zoo's PGAN (*.pt) and pro_gan_pytorch (*.bin, GAN_GEN*.pth)"
    )


def _converted(name: str, content: Any, request: Request) -> Imported | None:
    """What one importer makes of a content."""
    try:
        found: Imported | None = importlib.import_module(f"{importers.__name__}.{name}").convert(content, request)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"{request.path} holds values of types that its layout does not have ({_brief(error)}); it is damaged"
        ) from None
    return found


def _content(path: Path) -> tuple[Any, str]:
    """What is in a file, and its SHA-256."""
    if path.is_dir():
        raise InputError(f"{path} is a folder{_files(path)}; name one file, the checkpoint of another program")
    if not path.is_file():
        raise InputError(f"{path} is not a file; name the checkpoint of another program")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith((_ZIP, _LEGACY)):
        del data
        _check_zip(path)
        return _torch_content(path), digest
    if data[:1] != b"\x80":
        raise InputError(f"{path} is no checkpoint of another program: {_kind(data)}")
    try:
        return unpickle.loads(data, str(path), records=tensorflow_2018.RECORDS), digest
    except InputError as error:
        if "mentions" not in str(error):
            raise
        raise InputError(f"{error}; of pickles, only those of tfutil.Network (TensorFlow, 2018) are read") from None


def _files(folder: Path) -> str:
    """Names of files in a folder that may be meant, newest first, for an error message."""
    found = [path for path in folder.iterdir() if path.suffix in (".pkl", ".pt", ".pth", ".bin")]
    newest = sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)[:3]
    return f" (with {', '.join(path.name for path in newest)})" if newest else ""


def _kind(data: bytes) -> str:
    """What a file is that is none of ours, and what to do."""
    if not data:
        return "it is empty; copy or download it again"
    if data[:256].lstrip()[:1] == b"<":
        return "it is an HTML page, as a download that failed leaves it; download it again"
    if data[257:262] == b"ustar":
        return "it is a tar archive, as the first versions of torch.save wrote them; load and save it with a later one"
    if b'"__metadata__"' in data[:64] or data[8:10] == b'{"':
        return "it is a safetensors file; growgan's own need no import, and other programs' are not read"
    return "it begins neither as a pickle nor as a file of torch.save; copy or download it again"


def _check_zip(path: Path) -> None:
    """Refuse archives that are of other programs, or hold code; those that are not whole are left to torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, NotImplementedError):
        return
    if "constants.pkl" in names:
        raise InputError(
            f"{path} is of TorchScript, which holds code; it is refused: save the module's state_dict() and import that"
        )
    if "data.pkl" not in names:
        raise InputError(f"{path} is a zip archive without data.pkl, so not of torch.save; name the checkpoint itself")


def _torch_content(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(SimpleNamespace, _SETTINGS)]):
            warnings.simplefilter("ignore")  # of odd bytes in a damaged file, on which torch then fails or does not
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)|(?:class|type|function)\s+([\w.]+)", str(error))
        what = next((one for one in name.groups() if one), "") if name else ""
        if what:
            raise InputError(
                f"{path} mentions {what}, which weights do not need; it is refused, and nothing of it was run: "
                "save the state dict and its configuration without it"
            ) from None
        raise InputError(f"{path} cannot be read as weights ({_brief(error)}); copy or download it again") from None
    except _FAULTS as error:
        raise InputError(f"{path} is not whole ({_brief(error)}); copy or download it again") from None


def _at(found: Imported, resolution: int | None, path: Path) -> Imported:
    """The generator at the level that it had reached or that was asked for, without the levels beyond."""
    level = found.level if resolution is None else level_of(resolution)
    if level > found.top_level:
        finest = resolution_of(found.top_level)
        raise InputError(f"{path} has levels up to {finest}x{finest}; --resolution {resolution} is beyond them")
    beyond = tuple(
        f"{group}.{level_name(k)}." for group in ("blocks", "to_rgb") for k in range(level + 1, found.top_level + 1)
    )
    tensors = {name: tensor for name, tensor in found.tensors.items() if not name.startswith(beyond)}
    alpha = found.alpha if level == found.level else 1.0
    return dataclasses.replace(found, level=level, alpha=alpha, top_level=level, tensors=tensors)


def _check(found: Imported, path: Path) -> None:
    """Whether the weights fill the network, and it draws."""
    with torch.device("meta"):
        generator = pggan.Generator(found.network, resolution_of(found.top_level), found.num_classes)
    try:
        generator.load_state_dict(found.tensors, assign=True)
    except RuntimeError as error:
        raise InputError(f"{path} does not fill our network ({_brief(error)}); its layout is not one we read") from None
    latents = torch.ones(1, generator.latent_size)
    labels = torch.eye(found.num_classes)[:1] if found.num_classes else None
    with torch.inference_mode():
        if not bool(torch.isfinite(generator(latents, found.level, found.alpha, labels)).all()):
            raise InputError(f"{path} draws numbers that are not finite; take an earlier checkpoint")


def _checkpoint(found: Imported, path: Path, digest: str) -> Checkpoint:
    labels = conditioning.Config(kind="acgan" if found.num_classes else "none")
    facts = {
        "config": to_mapping(Config(network=found.network, conditioning=labels)),
        "resolution": resolution_of(found.top_level),
        "level": found.level,
        "alpha": found.alpha,
        "class_counts": [1] * found.num_classes,  # the file does not count them: classes are drawn alike
        "imported": {"layout": found.layout, "name": path.name, "sha256": digest, "notes": list(found.notes)},
    }
    return Checkpoint(0, facts, {f"average/{name}": tensor for name, tensor in found.tensors.items()})


def _outline(content: Any) -> str:
    """First keys of a mapping, for an error message."""
    if not isinstance(content, dict) or not content:
        return f" ({type(content).__name__})"
    return f" (it begins {', '.join(ascii(key)[:40] for key in list(content)[:3])})"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
