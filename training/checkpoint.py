"""Checkpoints: one safetensors file with every tensor of a run, its configuration and the images shown.

A checkpoint is written beside its final name, flushed and renamed, so it is whole or not there; digests inside find
damage that came later. Loading runs no code: the format holds plain tensors and JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from datasets.atomic import replacing
from datasets.errors import InputError

SCHEMA = "growgan.checkpoint"
VERSION = 1
_NAME = re.compile(r"checkpoint-(\d{9,})\.safetensors")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    images : int
        Real images shown when it was written.
    facts : mapping
        The other JSON-able facts: configuration, data set, level, alpha, ...
    tensors : mapping of str to Tensor
        Named ``group/...``; the groups are ``generator``, ``discriminator``, ``average`` and the optimizers'.
    """

    images: int
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def group(self, name: str) -> dict[str, Tensor]:
        """Tensors of a group, without the group's prefix."""
        return {key[len(name) + 1 :]: tensor for key, tensor in self.tensors.items() if key.startswith(f"{name}/")}


def path_of(folder: Path, images: int) -> Path:
    """File name of the checkpoint at a number of images shown."""
    return folder / f"checkpoint-{images:09d}.safetensors"


def images_of(path: Path) -> int:
    """Images shown according to the file name of a checkpoint."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def listed(folder: Path) -> list[Path]:
    """Checkpoints in a folder, newest first. Files of other names, unfinished ones included, are not among them."""
    return sorted((path for path in folder.glob("*") if images_of(path) >= 0), key=images_of, reverse=True)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises
    ------
    InputError
        If it cannot be written, as on a full disk; an older file of the same name is then untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    digests = {group: _digest(tensors, group) for group in sorted({name.split("/")[0] for name in tensors})}
    body = {"schema": SCHEMA, "version": VERSION, "images": checkpoint.images, "digests": digests, **checkpoint.facts}
    text = json.dumps(body, sort_keys=True)
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, {"growgan": text, "digest": xxhash.xxh3_128_hexdigest(text.encode())})
            temporary.chmod(0o666 & ~_umask())  # the library makes files that only their owner can read
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"cannot write {path} ({_brief(error)}); free room, then the same command goes on"
            ) from None


def load(path: Path, groups: Collection[str] | None = None) -> Checkpoint:
    """Read and check a checkpoint.

    Parameters
    ----------
    path : Path
        The file.
    groups : collection of str, optional
        Groups of tensors to read; all by default.

    Raises
    ------
    InputError
        If the file is missing, not a checkpoint of ours, cut short, or fails its digests.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a checkpoint-*.safetensors of a run")
    try:
        with safe_open(path, framework="pt") as file:
            body = _body(path, file.metadata() or {})
            wanted = body["digests"] if groups is None else {group: body["digests"][group] for group in groups}
            names = [name for name in file.keys() if name.split("/")[0] in wanted]  # noqa: SIM118
            # Copied out of the memory map: a file cut short later would otherwise kill the process that reads on.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except SafetensorError as error:
        if path.suffix != ".safetensors":
            raise InputError(
                f"{path} is no checkpoint of growgan; training/import_checkpoint.py reads those of other programs"
            ) from None
        raise InputError(f"{path} is not a whole checkpoint ({_brief(error)}); use another one of the run") from None
    for group, digest in wanted.items():
        if _digest(tensors, group) != digest:
            raise InputError(f"{path} is damaged: its {group} does not match its digest; use another one of the run")
    facts = {key: value for key, value in body.items() if key not in ("schema", "version", "images", "digests")}
    return Checkpoint(body["images"], facts, tensors)


def _body(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("growgan")
    if text is None:
        raise InputError(f"{path} is not a checkpoint of growgan; name a checkpoint-*.safetensors of a run")
    if xxhash.xxh3_128_hexdigest(text.encode()) != metadata.get("digest"):
        raise InputError(f"{path} is damaged: its description does not match its digest; use another one of the run")
    body: dict[str, Any] = json.loads(text)
    if body.get("schema") != SCHEMA or body.get("version") != VERSION:
        raise InputError(f"{path} has version {body.get('version')}, this program reads {VERSION}; update growgan")
    return body


def _digest(tensors: Mapping[str, Tensor], group: str) -> str:
    """XXH3-128 over names, types, shapes and bytes of a group's tensors."""
    state = xxhash.xxh3_128()
    for name in sorted(name for name in tensors if name.split("/")[0] == group):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        state.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]  # it is a buffer
    return state.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())
