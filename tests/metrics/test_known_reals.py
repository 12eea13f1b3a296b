"""What SWD and MS-SSIM derive from the reals is kept on disk: equal values, fewer reals read, nothing torn is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics import known_reals
from metrics.evaluate import Evaluator
from metrics.images import ArrayImageSet
from metrics.scores import swd

Images = NDArray[np.uint8]
FEW = {"swd": {"directions": 8}}


class Watched(ArrayImageSet):
    """Counts the images that are read."""

    def __init__(self, images: Images) -> None:
        super().__init__(images)
        self.num_read = 0

    def read(self, rows: NDArray[np.int64]) -> Images:
        self.num_read += len(rows)
        return super().read(rows)


def evaluator(images: Images, folder: Path | None, **options: object) -> tuple[Evaluator, Watched]:
    real = Watched(images)
    given = {"keep_real": False, "options": FEW, **options}
    return Evaluator(["swd", "ms-ssim"], real, cache_folder=folder, num_images=10, **given), real  # type: ignore[arg-type]


def test_the_second_measurement_reads_no_real(scenes: Callable[..., Images], tmp_path: Path) -> None:
    fakes = [ArrayImageSet(scenes(10, 32, seed=seed)) for seed in (1, 2)]
    plain, _ = evaluator(scenes(20, 32), None)
    first, first_real = evaluator(scenes(20, 32), tmp_path)
    expected = [plain(fake) for fake in fakes]
    assert first(fakes[0]) == expected[0]
    assert first_real.num_read == 20
    again, again_real = evaluator(scenes(20, 32), tmp_path)
    assert [again(fake) for fake in fakes] == expected
    assert again_real.num_read == 0
    assert all(str(tmp_path) in note for note in again.notes)
    assert "floor and projections" in again.notes[0]
    assert "taken from" in again.notes[0]
    assert "are kept in" in first.notes[0]
    assert "ms-ssim of array was taken" in again.notes[1]


@pytest.mark.parametrize("change", ["images", "seed", "options", "number"])
def test_other_reals_are_other_entries(scenes: Callable[..., Images], tmp_path: Path, change: str) -> None:
    fake = ArrayImageSet(scenes(10, 32, seed=1))
    evaluator(scenes(20, 32), tmp_path)[0](fake)
    images = scenes(20, 32)
    if change == "images":
        images[3, 1, 20, 5] ^= 1
    elif change == "number":
        images = images[:19]
    options = {"seed": {"seed": 1}, "options": {"options": {"swd": {"directions": 4}}}}.get(change, {})
    other, real = evaluator(images, tmp_path, **options)
    other(fake)
    assert real.num_read == len(images)


def test_floor_alone_saves_half_of_the_reals(
    scenes: Callable[..., Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_reals, "_MOST_ON_DISK", 1000)
    fake = ArrayImageSet(scenes(10, 32, seed=1))
    expected = evaluator(scenes(20, 32), tmp_path)[0](fake)
    again, real = evaluator(scenes(20, 32), tmp_path)
    assert again(fake) == expected
    assert real.num_read == 10
    assert "projections" not in again.notes[0]


def test_a_torn_cache_is_made_again(scenes: Callable[..., Images], tmp_path: Path) -> None:
    fake = ArrayImageSet(scenes(10, 32, seed=1))
    expected = evaluator(scenes(20, 32), tmp_path)[0](fake)
    (rows,) = tmp_path.glob("*/rows")
    with rows.open("r+b") as file:
        file.seek(4321)
        file.write(b"\x55\x55")
    again, real = evaluator(scenes(20, 32), tmp_path)
    assert again(fake) == expected
    assert real.num_read == 10  # the floor was whole
    mended, real = evaluator(scenes(20, 32), tmp_path)
    assert mended(fake) == expected
    assert real.num_read == 0
    for facts in tmp_path.glob("*/facts.json"):
        facts.write_text(facts.read_text()[:-9])
    again, real = evaluator(scenes(20, 32), tmp_path)
    assert again(fake) == expected
    assert real.num_read == 20


def test_a_cache_that_changes_under_way_is_an_error(scenes: Callable[..., Images], tmp_path: Path) -> None:
    fake = ArrayImageSet(scenes(10, 32, seed=1))
    evaluator(scenes(20, 32), tmp_path)[0](fake)
    again, _ = evaluator(scenes(20, 32), tmp_path)
    again(fake)
    (rows,) = tmp_path.glob("*/rows")
    rows.write_bytes(b"")
    with pytest.raises(InputError, match=r"changed while it was in use; measure again"):
        again(fake)


def test_a_full_disk_keeps_the_floor_alone(
    scenes: Callable[..., Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = known_reals.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(known_reals.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    first, _ = evaluator(scenes(20, 32), tmp_path)
    first(ArrayImageSet(scenes(10, 32, seed=1)))
    assert (tmp_path.glob("*/rows").__next__()).stat().st_size == 0
    assert "projections" not in first.notes[0]


def test_reals_are_forgotten_with_their_cache(scenes: Callable[..., Images], tmp_path: Path) -> None:
    plan = swd.Score.plan({"real": 20, "fake": 10}, 32, None)
    images, fake = scenes(20, 32), scenes(10, 32, seed=1)

    def measured(score: swd.Score, real: Images) -> object:
        score.update("real", real, 0)
        score.clear("fake")
        score.update("fake", fake, 0)
        return score.compute()

    first = swd.Score(plan, 32, seed=0, directions=8)
    assert first.recall(tmp_path, "digest") == 20
    measured(first, images)
    again = swd.Score(plan, 32, seed=0, directions=8)
    assert again.recall(tmp_path, "digest") == 0
    again.clear("real")
    fresh = measured(swd.Score(plan, 32, seed=0, directions=8), images // 2)
    assert measured(again, images // 2) == fresh
