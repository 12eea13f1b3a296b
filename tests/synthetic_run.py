"""A run directory as training writes it, made without training: plausible curves, and crops of a photograph as samples.

The numbers are drawn, not measured; they serve to look at the report and to test it.
Run as a script, it makes one to look at: ``python tests/synthetic_run.py OUT [--ticks N] [--events]``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image, ImageFilter

LEVELS = [2, 3, 4, 5]
PHASES = [(0, 0, 40_000), (40_000, 70_000, 100_000), (100_000, 140_000, 180_000), (180_000, 240_000, 400_000)]
BATCHES = [64, 64, 32, 32]
TOTAL = 400_000
FLOORS = {"32": 3.4, "16": 2.8}


def write_run(
    path: Path,
    *,
    ticks: int = 100,
    stop_at: float = 1.0,
    evaluations: int = 11,
    snapshots: int = 21,
    columns: int = 8,
    rows: int = 8,
    cell: int = 32,
    name: str = "hubble",
    seed: int = 0,
) -> Path:
    """Write a synthetic run to `path`; `stop_at` is the share of the images that have been shown."""
    random = np.random.default_rng(seed)
    for folder in ("samples", "checkpoints"):
        (path / folder).mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG)
    (path / "run.json").write_text(json.dumps(run_info(name, columns, rows, cell), indent=1))
    shown = int(TOTAL * stop_at)
    write_lines(path / "log.jsonl", tick_rows(ticks, shown, random))
    write_lines(path / "metrics.jsonl", evaluation_rows(evaluations, shown, random))
    _write_samples(path / "samples", np.linspace(0, shown, snapshots).astype(int), columns, rows, cell, random)
    for images in range(50_000, shown + 1, 50_000):
        (path / "checkpoints" / f"checkpoint-{images:09d}.safetensors").touch()
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_info(name: str, columns: int, rows: int, cell: int) -> dict[str, Any]:
    return {
        "preset": "demo",
        "command": f"python training/run.py --preset demo --data runs/{name}.h5 --out runs/demo",
        "started": "2026-03-14T09:26:53+00:00",
        "versions": {"growgan": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6", "pillow": "13.0.0"},
        "hardware": {"cpu": "an x86-64 processor", "cores": 2, "device": "cpu"},
        "data": {
            "path": f"runs/{name}.h5",
            "name": name,
            "num_images": 6_300,
            "resolution": 32,
            "content_digest": "3fa9c1" + "0" * 58,
        },
        "networks": {"architecture": "pggan", "generator_parameters": 1_296_908, "discriminator_parameters": 1_298_689},
        "grid": {"columns": columns, "rows": rows, "cell": cell},
        "total_images": TOTAL,
        "levels": [
            {"level": level, "start": start, "fade_end": fade_end, "end": end, "batch": batch}
            for level, (start, fade_end, end), batch in zip(LEVELS, PHASES, BATCHES, strict=True)
        ],
    }


def stage(images: int) -> tuple[int, float, int]:
    """Level, alpha and batch of the tick that ends at `images`."""
    for level, (start, fade_end, end), batch in zip(LEVELS, PHASES, BATCHES, strict=True):
        if images <= end:
            return level, min(1.0, (images - start) / (fade_end - start)) if fade_end > start else 1.0, batch
    raise ValueError(images)


def tick_rows(ticks: int, shown: int, random: np.random.Generator) -> list[dict[str, Any]]:
    rows, seconds, before = [], 0.0, 0
    for images in np.linspace(shown / ticks, shown, ticks).astype(int).tolist():
        level, alpha, batch = stage(images)
        speed = {2: 5200.0, 3: 3100.0, 4: 1500.0, 5: 690.0}[level] * random.normal(1, 0.03)
        seconds += (images - before) / speed
        before = images
        gap = 6 * math.exp(-images / 120_000) + 1.2 + 0.15 * random.normal()
        middle = math.sin(images / 30_000) * 0.8
        penalty = 0.9 * math.exp(-images / 90_000) * random.lognormal(0, 0.25) + 0.02
        rows.append(
            {
                "images": images,
                "level": level,
                "resolution": 1 << level,
                "alpha": alpha,
                "batch": batch,
                "lr_g": 1e-3,
                "lr_d": 1e-3,
                "loss_d": -gap + penalty,
                "loss_g": -middle + gap / 2,
                "penalty": penalty,
                "drift": 1e-3 * (middle + gap / 2) ** 2,
                "score_real": middle + gap / 2,
                "score_fake": middle - gap / 2,
                "grad_norm_d": 3 * penalty**0.5 * random.lognormal(0, 0.2),
                "grad_norm_g": 0.4 * random.lognormal(0, 0.2) * math.exp(images / 400_000),
                "images_per_sec": speed,
                "seconds": seconds,
                "peak_memory_mib": 400 + 90 * level,
            }
        )
    return rows


def evaluation_rows(count: int, shown: int, random: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for images in np.linspace(0, shown, count).astype(int).tolist():
        rest = math.exp(-images / 110_000)
        levels = {"32": 150 * rest + 9 + random.normal(), "16": 95 * rest + 6 + random.normal()}
        rows.append(swd_result(images, levels))
        rows.append(ms_ssim_result(images, 0.214 + 0.5 * math.exp(-images / 50_000) + 0.006 * random.normal(), 0.208))
    return rows


def event_rows() -> list[dict[str, Any]]:
    """Two roll-backs, a collapse that was let be, and warnings close together."""
    far = "SWD 91.2, 30.1 at 240000 images shown by 260000 images shown"
    return [
        event(52_000, "the gradient penalty exploded: 4.1e+03, beyond 1000 by 52000 images shown", 40_000, 0.5),
        event(131_000, "training diverged: loss_d, penalty not finite by 131000 images shown", 120_000, 0.25),
        event(133_000, "the discriminator's scores exploded: 1.2e+04 apart, beyond 10000 by 133000 images shown"),
        event(136_000, "the discriminator's scores exploded: 1.6e+04 apart, beyond 10000 by 136000 images shown"),
        event(260_000, f"samples got much worse: {far}"),
    ]


def event(images: int, found: str, back_to: int | None = None, factor: float = 1.0) -> dict[str, Any]:
    row: dict[str, Any] = {"images": images, "seconds": images / 900, "found": found, "done": "went on"}
    if back_to is not None:
        done = f"back to {back_to} images shown, learning rates times {factor:g} from now on"
        row |= {"done": done, "back_to": back_to}
    return row


def swd_result(images: int, levels: dict[str, float], floors: dict[str, float] | None = FLOORS) -> dict[str, Any]:
    floor = floors and {
        "value": sum(floors.values()) / len(floors),
        "levels": floors,
        "num_images": 1024,
        "method": "halves",
    }
    return {
        "images": images,
        "seconds": images / 900,
        "metric": "swd",
        "value": sum(levels.values()) / len(levels),
        "levels": levels,
        "floor": floor,
        "num_images": 1024,
        "seed": 0,
        "protocol": {"patches": 128, "directions": 128, "repeats": 4},
        "real": {"name": "hubble", "digest": "3fa9c1", "num_images": 6300, "kind": "pyramid"},
        "fake": {},
        "versions": {},
        "warnings": [],
    }


def ms_ssim_result(images: int, value: float, real_value: float | None) -> dict[str, Any]:
    return {
        "images": images,
        "seconds": images / 900,
        "metric": "ms-ssim",
        "value": value,
        "standard_error": 0.004,
        "reference": None if real_value is None else {"value": real_value, "num_pairs": 512, "standard_error": 0.003},
        "num_images": 1024,
        "num_pairs": 512,
        "seed": 0,
        "protocol": {"scales": 5},
        "warnings": [],
    }


def _write_samples(folder: Path, moments: Any, columns: int, rows: int, cell: int, random: np.random.Generator) -> None:
    photograph = Image.fromarray(skimage.data.hubble_deep_field()).convert("RGB")
    side = min(4 * cell, 512)

    def crops() -> list[Image.Image]:
        corners = random.integers(0, (photograph.width - side, photograph.height - side), (columns * rows, 2)).tolist()
        return [
            photograph.crop((x, y, x + side, y + side)).resize((cell, cell), Image.Resampling.BOX) for x, y in corners
        ]

    _paste(crops(), columns, rows, cell).save(folder / "reals.png")
    fakes = crops()
    for images in moments:
        level, _, _ = stage(int(images))
        side, blur = max(1, cell >> (5 - level)), math.exp(-images / 60_000)
        cells = []
        for k, crop in enumerate(fakes):
            blurred = crop.filter(ImageFilter.GaussianBlur(cell / 5 * blur))
            flat = Image.new("RGB", crop.size, (90 + 7 * k % 60, 70 + 11 * k % 50, 80 + 5 * k % 70))
            mixed = Image.blend(blurred, flat, 0.9 * math.exp(-images / 25_000))
            cells.append(mixed.resize((side, side), Image.Resampling.BOX).resize(crop.size, Image.Resampling.NEAREST))
        _paste(cells, columns, rows, cell).save(folder / f"fakes-{images:09d}.png")


def _paste(cells: list[Image.Image], columns: int, rows: int, cell: int) -> Image.Image:
    sheet = Image.new("RGB", (columns * cell, rows * cell))
    for k, image in enumerate(cells):
        sheet.paste(image, (k % columns * cell, k // columns * cell))
    return sheet


CONFIG = """\
architecture: pggan
network:
  channels_base: 1024
  channels_max: 128
  latent: 128
schedule:
  fade_images: [0, 30000, 40000, 60000]
  stable_images: [40000, 30000, 40000, 160000]
  batch: {4: 64, 8: 64, 16: 32, 32: 32}
optimizer:
  learning_rate: 0.001
  betas: [0.0, 0.99]
loss:
  name: wgan_gp
  penalty: 10.0
  drift: 0.001
seed: 0
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a synthetic run directory.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--stop-at", type=float, default=1.0)
    parser.add_argument("--cell", type=int, default=32)
    parser.add_argument("--snapshots", type=int, default=21)
    parser.add_argument("--evaluations", type=int, default=11)
    parser.add_argument("--events", action="store_true")
    given = vars(parser.parse_args())
    with_events, out = given.pop("events"), given.pop("out")
    write_run(out, **given)
    if with_events:
        write_lines(out / "events.jsonl", event_rows())
