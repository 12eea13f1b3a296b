"""Folders of images for the tests of the toolkit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.build import Summary, build
from toolkit.plan import Options


class SilentBar:
    """A progress bar that only counts."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.count = total, what, 0

    def update(self, n: int, /) -> None:
        self.count += n


class Bars:
    """A `Progress` that keeps its bars."""

    def __init__(self) -> None:
        self.bars: list[SilentBar] = []

    def __call__(self, total: int, what: str) -> contextlib.AbstractContextManager[SilentBar]:
        self.bars.append(SilentBar(total, what))
        return contextlib.nullcontext(self.bars[-1])


@pytest.fixture
def bars() -> Bars:
    return Bars()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of nine images of noise: sizes from 16x16 to 24x40, PNG, lossless WebP and BMP, in two folders."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    generator = np.random.default_rng(7)
    for number in range(9):
        size = [(16, 16), (24, 40), (33, 20)][number % 3]
        name = ["a{}.png", "sub/b{}.webp", "c{}.bmp"][number % 3].format(number)
        image = Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
        image.save(folder / name, **({"lossless": True} if name.endswith("webp") else {}))
    return folder


@pytest.fixture
def make(tmp_path: Path, bars: Bars) -> Callable[..., Summary]:
    """Function that builds ``OUT`` in the test's folder, by default at 16x16 with two jobs."""

    def make(
        source: Path, out: str = "set.h5", *, jobs: int = 2, overwrite: bool = False, **options: object
    ) -> Summary:
        options = {"resolution": 16, **options}
        return build(source, tmp_path / out, Options(**options), jobs=jobs, overwrite=overwrite, progress=bars)

    return make
