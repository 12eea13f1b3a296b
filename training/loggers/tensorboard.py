"""Curves and sample grids for TensorBoard, in ``tensorboard/`` of the run directory, if TensorBoard is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_LONGEST_SIDE = 1024  # of a grid in the event file, in pixels: the whole one lies in samples/


class TensorBoard:
    """Writes event files.

    Parameters
    ----------
    folder : Path
        Where.
    purge_from : int or None
        Step from which TensorBoard is to hide what earlier event files hold.
    """

    def __init__(self, folder: Path, purge_from: int | None) -> None:
        self._folder = folder
        self._open(purge_from)

    def _open(self, purge_from: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self._folder, purge_step=purge_from)

    def log(self, record: Mapping[str, Any]) -> None:
        """Write losses and speed."""
        for name, value in record.items():
            if name not in ("images", "level") and math.isfinite(value):
                self._writer.add_scalar(f"train/{name}", value, record["images"])

    def metric(self, result: Mapping[str, Any]) -> None:
        """Write a value, and that of the reals beside it."""
        images, name = result["images"], result["metric"]
        self._writer.add_scalar(f"metrics/{name}", result["value"], images)
        if beside := result.get("floor") or result.get("reference"):
            self._writer.add_scalar(f"metrics/{name}_of_reals", beside["value"], images)

    def samples(self, images: int, grid: Path) -> None:
        """Write a grid, halved until it is of moderate size."""
        with Image.open(grid) as picture:
            factor = 1
            while max(picture.size) > _LONGEST_SIDE * factor:
                factor *= 2
            pixels = np.asarray(picture.convert("RGB").reduce(factor))
        self._writer.add_image("samples", pixels, images, dataformats="HWC")

    def rewind(self, images: int) -> None:
        """Begin a new event file that hides what the others hold beyond `images`."""
        self._writer.close()
        self._open(images + 1)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def open_logger(run: Path, config: Mapping[str, Any], resumed_at: int | None) -> TensorBoard | None:
    """See `training.loggers`."""
    del config
    if importlib.util.find_spec("tensorboard") is None:
        return None
    return TensorBoard(run / "tensorboard", None if resumed_at is None else resumed_at + 1)
