"""A trained generator for other programs: safetensors with its configuration, ONNX and torch.export.

At one level, fully faded in or as far as it has come. Every file is read back and must draw what the generator itself
draws, from fixed latents, before any of them is published.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datasets.atomic import check_writable, replacing
from datasets.errors import InputError
from datasets.levels import level_of, resolution_of
from training import checkpoint, graphs, provenance
from training.architectures import level_name
from training.checkpoint import Checkpoint
from training.conditioning import one_hot
from training.config import load_architecture
from training.folder import read_checkpoint
from training.pixels import to_uint8
from training.randomness import latents
from training.sampler import Sampler
from training.settings import from_mapping

Format = Literal["safetensors", "onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("safetensors", "onnx", "pt2")
TOLERANCE = 1e-3  # an eighth of a step of an 8-bit image, of which 255 lie in [-1, 1]
_PROBES = 2  # images that are compared; a graph for any number cannot be made from one latent alone
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_FLOAT = {
    "type": "float32",
    "range": "nominally [-1, 1], not clipped",
    "to_uint8": "clip(round(x * 127.5 + 127.5), 0, 255)",
}
_BYTES = {"type": "uint8", "range": "[0, 255]"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    level : int
        log2 of the resolution.
    alpha : float
        Share of that level.
    files : dict of str to Path
        By format, and ``json``.
    differences : dict of str to float
        By format: largest absolute difference to the generator's own images, whose range is nominally [-1, 1].
    """

    level: int
    alpha: float
    files: dict[str, Path]
    differences: dict[str, float]


def export(
    path: Path,
    out: Path,
    *,
    formats: Sequence[Format] = FORMATS,
    resolution: int | None = None,
    batch: int | None = None,
    bits: int = 32,
    overwrite: bool = False,
) -> Exported:
    """Write the averaged generator of a run or checkpoint as OUT.safetensors, OUT.onnx, OUT.pt2, and OUT.json.

    Parameters
    ----------
    path : Path
        A run directory (its newest whole checkpoint) or a checkpoint, imported ones included.
    out : Path
        Names of the files without their endings.
    formats : sequence of str
        Which of `FORMATS`.
    resolution : int, optional
        Side of the level; None is the one that was reached, with the share that it has reached.
    batch : int, optional
        Fixed size of the minibatch of the graphs; None leaves it open.
    bits : {32, 8}
        Images that the graphs give: float32, nominally in [-1, 1], or uint8.
    overwrite : bool
        Replace files that exist.

    Raises
    ------
    InputError
        If the level was not reached, a package is not installed, `out` has an ending, a file exists or cannot be
        written, or one draws other images than the generator.
    """
    formats = [one for one in FORMATS if one in formats]
    if "onnx" in formats and (missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]):
        raise InputError(
            f"ONNX needs {' and '.join(missing)}, not installed: pip install 'growgan[export]', or leave it out with "
            "--format safetensors --format pt2"
        )
    if out.suffix[1:] in (*FORMATS, "json"):
        raise InputError(f"{out} has an ending, which the command adds; name it {out.with_suffix('')}")
    files = {kind: out.with_name(f"{out.name}.{kind}") for kind in (*formats, "json")}
    for file in files.values():
        check_writable(file, overwrite=overwrite)
    source, saved = read_checkpoint(path, groups=["average"])
    trimmed = _trimmed(saved, source, _level(saved.facts, source, resolution))
    level, alpha = trimmed.facts["level"], trimmed.facts["alpha"]
    generator = _generator(trimmed, source)
    inputs = probes(generator, trimmed, batch or _PROBES)
    wanted = graphs.eager(generator, level, alpha)(_first(inputs, _PROBES))
    with contextlib.ExitStack() as stack:  # published together, once all of them draw what they should
        partial = {kind: stack.enter_context(replacing(file)) for kind, file in files.items()}
        differences: dict[str, float] = {}
        for kind in formats:
            counts = [len(inputs[0])] if batch else [_PROBES, 1]
            if kind == "safetensors":
                checkpoint.save(partial[kind], trimmed)
                again = Sampler.from_path(partial[kind])[0].generator.to("cpu")
                draw: graphs.Draw = graphs.eager(again, level, alpha)
                counts = [1]
            else:
                fixed = graphs.FixedGenerator(generator, level, alpha, bits)
                graphs.WRITERS[kind](fixed, inputs, partial[kind], is_open=batch is None)
                draw = graphs.READERS[kind](partial[kind])
            differences[kind] = max(_difference(draw(_first(inputs, n)), wanted, files[kind]) for n in counts)
        card = _card(trimmed, generator, batch, bits)
        card["files"] = {
            files[kind].name: {"sha256": _digest(partial[kind]), "largest_difference": differences[kind]}
            for kind in formats
        }
        partial["json"].write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Exported(level, alpha, files, differences)


def probes(generator: nn.Module, saved: Checkpoint, count: int) -> tuple[Tensor, ...]:
    """Inputs from which images are compared: fixed latents and, if there are classes, each class in turn."""
    z = latents(0, 0, count, int(generator.latent_size), "export")  # type: ignore[arg-type]  # it is a number
    classes = len(saved.facts["class_counts"])
    return (z, one_hot(torch.arange(count) % classes, classes)) if classes else (z,)


def _first(inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    return tuple(one[:count] for one in inputs)


def _level(facts: Mapping[str, Any], source: Path, resolution: int | None) -> int:
    """Level to export: one that was reached."""
    reached: int = facts["level"]
    wanted = reached if resolution is None else level_of(resolution)
    if wanted > reached:
        side = resolution_of(reached)
        raise InputError(f"{source} has grown to {side}x{side}; export that or less, not {resolution}")
    return wanted


def _trimmed(saved: Checkpoint, source: Path, level: int) -> Checkpoint:
    """Checkpoint of the averaged generator alone, without the levels beyond."""
    facts = saved.facts
    beyond = {f".{level_name(k)}." for k in range(level + 1, level_of(facts["resolution"]) + 1)}
    tensors = {name: tensor for name, tensor in saved.tensors.items() if not any(one in name for one in beyond)}
    kept = {key: facts[key] for key in ("config", "class_counts", "data", "imported") if key in facts}
    exported = {"name": source.name, "digest": _digest(source)}
    alpha = facts["alpha"] if level == facts["level"] else 1.0
    return Checkpoint(
        saved.images,
        {**kept, "resolution": resolution_of(level), "level": level, "alpha": alpha, "exported": exported},
        tensors,
    )


def _digest(source: Path) -> str:
    """SHA-256 of a file."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _generator(saved: Checkpoint, source: Path) -> nn.Module:
    config = from_mapping(saved.facts["config"], str(source))
    with torch.device("meta"):
        generator: nn.Module = load_architecture(config).Generator(
            config.network, saved.facts["resolution"], len(saved.facts["class_counts"])
        )
    generator.load_state_dict(saved.group("average"), assign=True)
    return generator.eval().requires_grad_(False)


def _difference(found: Tensor, wanted: Tensor, file: Path) -> float:
    """Largest absolute difference to the generator's own images, or the first of them; refused above the tolerance."""
    wanted = wanted[: len(found)]
    if found.shape[1:] != wanted.shape[1:]:
        raise InputError(f"{file} would draw {tuple(found.shape[1:])}, not {tuple(wanted.shape[1:])}; not written")
    tolerance = TOLERANCE * max(1.0, float(wanted.abs().max()))
    if found.dtype == torch.uint8:  # a grey level beyond, where rounding is a matter of the last bit
        found, wanted, tolerance = found.float(), to_uint8(wanted).float(), 1.0
    difference = float((found[: len(wanted)] - wanted).abs().max())
    if not difference <= tolerance:
        raise InputError(
            f"{file} would draw other images than the generator (difference {difference:.2g}); not written: "
            "try another version of its package, or another --format"
        )
    return difference


def _card(saved: Checkpoint, generator: nn.Module, batch: int | None, bits: int) -> dict[str, Any]:
    """What a program that loads the files has to know."""
    facts, classes = saved.facts, len(saved.facts["class_counts"])
    count = batch or "batch"
    inputs = {"latents": {"shape": [count, generator.latent_size], "type": "float32", "distribution": "N(0, 1)"}}
    if classes:
        inputs["labels"] = {"shape": [count, classes], "type": "float32", "distribution": "one-hot"}
    side = facts["resolution"]
    return {
        "schema": "growgan.export",
        "source": {**facts["exported"], "images": saved.images, **{k: facts[k] for k in ("imported",) if k in facts}},
        "config": facts["config"],
        "level": facts["level"],
        "alpha": facts["alpha"],
        "class_counts": facts["class_counts"],
        "inputs": inputs,
        "outputs": {"images": {"shape": [count, 3, side, side], **(_FLOAT if bits == 32 else _BYTES)}},
        "versions": provenance.versions(),
    }
