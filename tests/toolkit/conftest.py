"""Folders of images for the tests of the toolkit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.build import build
from toolkit.engine.output import Output
from toolkit.engine.summary import Summary
from toolkit.options import Options


class SilentBar:
    """A progress bar that only counts."""

    def __init__(self, total: int, what: str, initial: int) -> None:
        self.total, self.what, self.count, self.initial = total, what, initial, initial
        self.postfix = ""

    def update(self, n: int, /) -> None:
        self.count += n

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        self.postfix = s


class Bars:
    """A `Progress` that keeps its bars."""

    def __init__(self) -> None:
        self.bars: list[SilentBar] = []

    def __call__(self, total: int, what: str, *, initial: int = 0) -> contextlib.AbstractContextManager[SilentBar]:
        self.bars.append(SilentBar(total, what, initial))
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
        source: Path,
        out: str = "set.h5",
        *,
        jobs: int = 2,
        overwrite: bool = False,
        shards: int = 1,
        encoding: str | None = None,
        **options: object,
    ) -> Summary:
        output = Output(path=tmp_path / out, shards=shards, encoding=encoding, overwrite=overwrite)
        return build(source, output, Options(**{"resolution": 16, **options}), jobs=jobs, progress=bars)

    return make
