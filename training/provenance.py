"""What a run says of itself: data set, versions, hardware, plan, and the command that reproduces it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datasets.atomic import write_text
from datasets.formats import PyramidReader
from growgan import __version__
from training.config import Config
from training.folder import RunFolder
from training.growth import Schedule
from training.layers import winograd_kernels
from training.plan import LevelPlan
from training.ranks import Ranks
from training.settings import to_yaml


def versions() -> dict[str, str]:
    """Versions of what determines the numbers."""
    found = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "safetensors")}
    if winograd_kernels.available():
        found["numba"] = importlib.metadata.version("numba")
    return {"growgan": __version__, "python": platform.python_version(), **found}


def describe_arithmetic(config: Config, device: torch.device, ranks: Ranks) -> dict[str, Any]:
    """What decides the last bits of what is learnt, besides the options and the versions.

    Returns
    -------
    dict
        ``ranks``, ``device``; on a processor also ``threads`` and, in float32, ``winograd``: whether convolutions of
        many channels are computed by `training.layers.winograd`.
    """
    facts: dict[str, Any] = {"ranks": ranks.size, "device": device.type}
    if device.type == "cpu":
        facts["threads"] = torch.get_num_threads()
        if config.compute.precision == "float32":
            facts["winograd"] = config.compute.winograd and winograd_kernels.available()
    return facts


def describe_data(reader: PyramidReader) -> dict[str, Any]:
    """Name, size and digest of the data set."""
    manifest = reader.manifest
    return {
        "path": str(reader.path),
        "name": reader.path.name,
        "num_images": manifest.num_images,
        "resolution": manifest.resolution,
        "content_digest": manifest.content_digest,
    }


def write_run_files(
    folder: RunFolder,
    config: Config,
    reader: PyramidReader,
    schedule: Schedule,
    plans: list[LevelPlan],
    device: torch.device,
    arithmetic: Mapping[str, Any],
    *,
    preset: str,
    command: str,
) -> None:
    """Write config.yaml and run.json; a resumed run keeps the time of its start."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts: dict[str, Any] = {
        "preset": preset,
        "command": command,
        "started": _started(folder) or now,
        "data": describe_data(reader),
        "versions": versions(),
        "hardware": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "device": _device(device),
            "threads": torch.get_num_threads(),
        },
        "arithmetic": arithmetic,
        "networks": {
            "architecture": config.arch,
            "generator_parameters": plans[-1].generator_parameters,
            "discriminator_parameters": plans[-1].discriminator_parameters,
        },
        "grid": {
            "columns": config.snapshots.columns,
            "rows": config.snapshots.rows,
            "cell": 1 << schedule.top_level,
        },
        "total_images": schedule.total_images,
        "levels": [
            {
                "level": segment.level,
                "start": segment.start,
                "fade_end": segment.fade_end,
                "end": segment.end,
                "batch": segment.batch,
                "learning_rate": segment.learning_rate,
            }
            for segment in schedule.segments()
        ],
    }
    write_text(folder.run_file, json.dumps(facts, indent=1) + "\n")
    write_text(folder.config_file, to_yaml(config))  # last: from now on the folder holds a run


def _started(folder: RunFolder) -> str:
    """When the run in a folder was begun, empty if that cannot be told."""
    try:
        return str(json.loads(folder.run_file.read_text(encoding="utf-8"))["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _cpu() -> str:
    """Name of the processor, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
