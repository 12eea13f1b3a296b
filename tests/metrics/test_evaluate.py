"""One pass for all metrics: which images are read, how often, and what the result says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics import scores
from metrics.evaluate import Evaluator, evaluate
from metrics.images import ArrayImageSet
from metrics.scores import Plan, Progress, Score, Side, no_progress, swd

Images = NDArray[np.uint8]
FEW = {"swd": {"directions": 8}}  # enough for what these tests look at


class Watched(ArrayImageSet):
    """An array that notes which images are read."""

    def __init__(self, images: Images, *, endless: bool = False) -> None:
        super().__init__(images, "watched")
        self.seen: list[int] = []
        if endless:
            self.num_images = None

    def read(self, rows: NDArray[np.int64]) -> Images:
        self.seen += rows.tolist()
        return super().read(rows)


def test_result(scenes: Callable[..., Images]) -> None:
    real, fake = ArrayImageSet(scenes(20, 32), "photos"), ArrayImageSet(scenes(10, 32, seed=1), "samples")
    (result,) = evaluate(["swd"], real, fake, seed=4, options=FEW)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["metric"] == "swd"
    assert set(result["levels"]) == {"32", "16"}
    assert result["value"] == pytest.approx(np.mean(list(result["levels"].values())))
    assert (result["num_images"], result["seed"]) == (10, 4)
    assert result["real"] == {
        "name": "photos",
        "kind": "array",
        "digest": real.digest,
        "resolution": 32,
        "num_images": 20,  # ten more for the floor
    }
    assert result["fake"]["num_images"] == 10
    assert result["floor"]["num_images"] == 10
    assert result["protocol"]["directions"] == 8
    assert {"growgan", "numpy", "python"} <= set(result["versions"])


def test_one_pass_feeds_all_metrics(scenes: Callable[..., Images]) -> None:
    real, fake = Watched(scenes(21, 32)), Watched(scenes(15, 32, seed=1))
    both = evaluate(["swd", "ms-ssim"], real, fake, num_images=9, options=FEW)
    assert [result["metric"] for result in both] == ["swd", "ms-ssim"]
    assert (len(fake.seen), len(real.seen)) == (9, 18)
    assert len(set(fake.seen)) == 9
    # Each metric sees what it would see alone.
    assert both[0] == evaluate(["swd"], real, fake, num_images=9, options=FEW)[0]
    assert both[1] == evaluate(["ms-ssim"], real, fake, num_images=9)[0]
    assert both[1]["num_pairs"] == 4


def test_a_subset_is_random_and_follows_the_seed(scenes: Callable[..., Images]) -> None:
    real, images = ArrayImageSet(scenes(30, 16)), scenes(30, 16, seed=1)
    chosen = []
    for seed in (0, 0, 1):
        fake = Watched(images)
        evaluate(["swd"], real, fake, num_images=10, seed=seed, options=FEW)
        chosen.append(fake.seen)
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] != sorted(chosen[0])


def test_generated_images_are_read_in_their_own_order(scenes: Callable[..., Images]) -> None:
    fake = Watched(scenes(30, 16, seed=1), endless=True)
    (result,) = evaluate(["swd"], ArrayImageSet(scenes(20, 16)), fake, options=FEW)
    assert fake.seen == list(range(10))  # half the reals, so that the other half gives the floor
    assert result["floor"]["method"] == "disjoint"


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_batch_size_does_not_matter(batch_size: int, scenes: Callable[..., Images]) -> None:
    real, fake = ArrayImageSet(scenes(12, 32)), ArrayImageSet(scenes(8, 32, seed=1))
    found = evaluate(["swd", "ms-ssim"], real, fake, batch_size=batch_size, options=FEW)
    expected = evaluate(["swd", "ms-ssim"], real, fake, options=FEW)
    assert found[0] == expected[0]
    assert found[1]["value"] == pytest.approx(expected[1]["value"], rel=1e-6)


def test_reals_are_prepared_once(scenes: Callable[..., Images], monkeypatch: pytest.MonkeyPatch) -> None:
    real = Watched(scenes(16, 32))
    evaluator = Evaluator(["swd", "ms-ssim"], real, num_images=8, options=FEW)
    fakes = [ArrayImageSet(scenes(8, 32, seed=seed)) for seed in (1, 2)]
    results = [evaluator(fake) for fake in fakes]
    assert len(real.seen) == 16
    projected = []
    project = swd.project
    monkeypatch.setattr(swd, "project", lambda *arguments: projected.append(1) or project(*arguments))
    monkeypatch.setattr(swd, "BLOCKS", 0)  # the error is of both sets
    results.append(evaluator(fakes[0]))
    assert len(projected) == 2  # the fakes in two bands, along all directions; nothing of the reals
    monkeypatch.undo()
    results[2] = evaluator(fakes[0])
    assert results[2] == results[0]
    for fake, found in zip(fakes, results, strict=False):
        assert found == evaluate(["swd", "ms-ssim"], real, fake, num_images=8, options=FEW)


def test_another_number_of_fakes_prepares_the_reals_again(scenes: Callable[..., Images]) -> None:
    real = ArrayImageSet(scenes(16, 32))
    evaluator = Evaluator(["swd"], real, options=FEW)
    for count in (8, 6):
        fake = ArrayImageSet(scenes(count, 32, seed=1))
        assert evaluator(fake) == evaluate(["swd"], real, fake, options=FEW)


def test_kept_projections_need_memory(scenes: Callable[..., Images]) -> None:
    real, fake = ArrayImageSet(scenes(8, 32)), ArrayImageSet(scenes(4, 32, seed=1))
    scarce = Evaluator(["swd"], real, options={"swd": {"directions": 8, "memory": 1e-3}})
    first, second = scarce(fake), scarce(fake)
    assert first == second
    assert first[0]["levels"] == pytest.approx(evaluate(["swd"], real, fake, options=FEW)[0]["levels"], rel=1e-5)


def test_metrics_of_one_set_measure_the_reals_too(scenes: Callable[..., Images]) -> None:
    real, fake = ArrayImageSet(scenes(7, 32), "photos"), ArrayImageSet(scenes(4, 32, seed=1), "samples")
    (beside,) = evaluate(["ms-ssim"], real, fake)
    (alone,) = evaluate(["ms-ssim"], None, fake)
    (of_real,) = evaluate(["ms-ssim"], None, real)
    assert beside["value"] == alone["value"] != of_real["value"]
    assert beside["reference"] == {k: of_real[k] for k in ("value", "standard_error", "num_images", "num_pairs")}
    assert beside["real"]["name"] == "photos"
    assert alone["real"] is None


def test_the_same_images_on_both_sides_are_noticed(scenes: Callable[..., Images]) -> None:
    images = scenes(6, 32)
    (result,) = evaluate(["swd"], ArrayImageSet(images), ArrayImageSet(images.copy()), options=FEW)
    assert "both sets hold the same images" in result["warnings"]


def test_sets_of_two_sizes(scenes: Callable[..., Images]) -> None:
    real, fake = ArrayImageSet(scenes(4, 64), "photos"), ArrayImageSet(scenes(4, 32), "samples")
    with pytest.raises(InputError, match=r"photos has images of 64x64, samples of 32x32; .*--resolution 32"):
        evaluate(["swd"], real, fake, options=FEW)


def test_faults_are_found_before_anything_is_read(scenes: Callable[..., Images]) -> None:
    real, fake = Watched(scenes(4, 8)), Watched(scenes(4, 8))
    with pytest.raises(InputError, match="8x8 are too small"):
        evaluate(["ms-ssim", "swd"][::-1], real, fake, options=FEW)
    with pytest.raises(InputError, match=r"there is no metric called swe; choose from .*ms-ssim, .*swd"):
        evaluate(["swe"], real, fake)
    with pytest.raises(InputError, match="swd compares two sets"):
        evaluate(["swd"], None, fake, options=FEW)
    with pytest.raises(InputError, match="--batch-size must be at least 1, got 0"):
        evaluate(["swd"], real, fake, batch_size=0, options=FEW)
    with pytest.raises(InputError, match="--seed must be 0 or more, got -1"):
        evaluate(["swd"], real, fake, seed=-1, options=FEW)
    assert real.seen == fake.seen == []


def test_progress_is_shown(scenes: Callable[..., Images]) -> None:
    steps: dict[str, list[float]] = {}

    class Bar:
        def __init__(self, what: str) -> None:
            self.what = what

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None: ...

        def update(self, n: float | None = 1) -> None:
            steps.setdefault(self.what, []).append(n or 0)

    totals = {}

    def progress(total: int | None, what: str, unit: str = "img") -> Bar:
        totals[what] = total
        return Bar(what)

    images = ArrayImageSet(scenes(6, 32))
    evaluate(["swd"], images, images, batch_size=4, progress=progress, options=FEW)
    assert totals == {"real images": 6, "fake images": 6, "projecting": 8}
    assert {what: sum(each) for what, each in steps.items()} == totals


def test_names_are_the_files_of_the_folder() -> None:
    assert {"fid", "ms-ssim", "swd"} <= set(scores.names())
    assert scores.load("ms-ssim").__module__ == "metrics.scores.ms_ssim"


def test_fakes_of_one_call_are_gone_in_the_next(monkeypatch: pytest.MonkeyPatch, scenes: Callable[..., Images]) -> None:
    class Count(Score):
        """Counts what it is given; adds up, as metrics with running sums do."""

        title, two_sets = "count", True
        seen: ClassVar[dict[str, int]] = {"real": 0, "fake": 0}

        @classmethod
        def plan(cls, available: Mapping[Side, int | None], resolution: int, num_images: int | None) -> Plan:
            return Plan(3, {"real": 3, "fake": 3})

        def update(self, side: Side, images: Images, first: int) -> None:
            self.seen[side] += len(images)

        def pieces(self) -> Iterator[object]:
            yield from ()

        def take(self, piece: object) -> None: ...

        def clear(self, side: Side) -> None:
            self.seen[side] = 0

        def compute(self, progress: Progress = no_progress) -> dict[str, Any]:
            return {"value": 0.0, "seen": dict(self.seen), "num_images": 3, "protocol": {}, "warnings": []}

    monkeypatch.setattr(scores, "load", lambda name: Count)
    evaluator = Evaluator(["count"], ArrayImageSet(scenes(5, 16)))
    for _ in range(2):
        assert evaluator(ArrayImageSet(scenes(4, 16, seed=1)))[0]["seen"] == {"real": 3, "fake": 3}
