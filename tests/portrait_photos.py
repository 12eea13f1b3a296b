"""Photographs with made-up faces, and what knows where the faces are, for tests of portraits."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.errors import InputError
from toolkit.celebahq.faces.finder import Face

HEADER = (
    "file,lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y"
)


def face(x: float, y: float, eyes: float) -> np.ndarray:
    """Landmarks of an upright face: the middle of its eyes, and the distance between them; the square is 4 x eyes."""
    return np.array(
        [
            [x - eyes / 2, y],
            [x + eyes / 2, y],
            [x, y + eyes / 2],
            [x - 0.4 * eyes, y + eyes],
            [x + 0.4 * eyes, y + eyes],
        ]
    )


def photograph(seed: int, size: tuple[int, int] = (96, 80), blur: float = 0.0) -> np.ndarray:
    """Coloured structure of several sizes, uint8 (H, W, 3), of width x height `size`; the more blur, the softer."""
    generator = np.random.default_rng(seed)
    image = np.full((size[1], size[0], 3), 128.0)
    for cells in (3, 7, 16, 40):
        noise = generator.normal(0, 60 / cells**0.6, (cells, cells, 3))
        image += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_photos(folder: Path, faces: dict[str, Sequence[np.ndarray]], blurs: dict[str, float] | None = None) -> Path:
    """Write PNG photographs of these names, and ``landmarks.csv`` beside the folder, which knows their faces."""
    lines = [HEADER]
    for seed, (name, points) in enumerate(faces.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(seed, blur=(blurs or {}).get(name, 0.0))).save(folder / name)
        lines += [",".join([name, *map(str, one.ravel().tolist())]) for one in points]
        if not points:
            lines.append(f"{name}{',' * 10}")
    (folder.parent / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return folder.parent / "landmarks.csv"


@dataclasses.dataclass
class CountingFinder:
    """A detector that knows what it is to find by the photograph's name, and counts how often it looks."""

    faces: dict[str, Sequence[np.ndarray]]
    bad: Iterable[str] = ()
    name: str = "counting"
    stamp: str = "1"
    detects: bool = True
    looked: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.details = {"finder": self.name}
        self._lock = threading.Lock()

    def check(self, names: Sequence[str]) -> None:
        pass

    def find(self, name, pixels):
        with self._lock:
            self.looked.append(name)
        if name in self.bad:
            raise InputError(f"{name} has landmarks that are none; mend them")
        pixels()
        return [Face(points, 0.9) for points in self.faces[name]]
