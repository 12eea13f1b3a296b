"""Sets of CelebA-HQ for tests of the rebuild: what ``synthetic_celeba`` makes, with the toolkit's own bases or not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_celeba
from numpy.typing import NDArray
from synthetic_celeba import Celeba

from datasets.errors import InputError
from toolkit.celebahq import checks, photographs, recipe
from toolkit.celebahq.checks import Report
from toolkit.celebahq.geometry import oriented_square
from toolkit.celebahq.released import Released
from toolkit.sources import Rendered

SIDE = 64


class Silent:
    """A progress bar that shows nothing."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def update(self, _count: int) -> None:
        pass


def make_exact(folder: Path) -> Celeba:
    """A set whose bases are the toolkit's own, so that every image is exact."""
    return synthetic_celeba.make(folder, side=SIDE, render=_own_base)


def copy(celeba: Celeba, folder: Path) -> Celeba:
    """The same set in another folder, to be spoilt."""
    shutil.copytree(celeba.folder, folder)
    return Celeba(folder, folder / "deltas", celeba.names, celeba.procs, celeba.finals, celeba.side)


def opened(celeba: Celeba, **options: Any) -> Released:
    return Released(celeba.folder, celeba.deltas, side=celeba.side, **options)


def planes(rendered: Rendered) -> NDArray[np.uint8]:
    return rendered.pixels.transpose(2, 0, 1)


def report_of(celeba: Celeba, numbers: Sequence[int] | None = None, **options: Any) -> Report:
    source = opened(celeba, **options)
    return checks.check(source, numbers or range(len(source)), jobs=2, progress=Silent)  # type: ignore[arg-type]


def fault_of(celeba: Celeba) -> str:
    """What the checks say before the first image is made: one line."""
    report = report_of(celeba)
    assert "bad" in report.table()
    with pytest.raises(InputError) as error:
        report.require_good()
    assert "\n" not in str(error.value)
    return str(error.value)


def _own_base(jpeg: bytes, landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    photo = photographs.decode_photo(jpeg, "photo")
    square = oriented_square(landmarks, "photo")
    done = recipe.render(photo, square, "photo", resolution=SIDE, direct=True)
    return np.ascontiguousarray(planes(done))
