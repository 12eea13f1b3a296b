"""SWD against golden values of the original program, a slow oracle, and what must hold of any distance."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import swd as oracle
from scipy.ndimage import uniform_filter

from datasets.errors import InputError
from metrics.patches import Descriptors, Draws, PatchSet, Side, unit_length
from metrics.room import divide
from metrics.scores import Plan, swd

Images = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]


def noise(seed: int, count: int = 64, side: int = 32) -> Images:
    return np.random.RandomState(seed).randint(0, 256, (count, 3, side, side)).astype(np.uint8)


class LegacyDraws(Draws):
    """The random stream of the original program: numpy's global one, consumed batch by batch.

    For every batch of reals, per level, all columns and then all rows; then the directions, which the pass over the
    reals draws too and throws away; then the same for the fakes. It cuts patches by their centre, 3 to side - 4, and
    writes them out column by column, so its directions are transposed here.
    """

    def __init__(self, seed: int, count: int, sides: list[int], batch: int) -> None:
        super().__init__(seed)
        random = np.random.RandomState(seed)
        self._positions: dict[tuple[str, int], NDArray[np.int64]] = {}
        for which in ("real", "fake"):
            parts: dict[int, list[NDArray[np.int64]]] = {side: [] for side in sides}
            for _ in range(count // batch):
                for side in sides:
                    columns = random.randint(3, side - 3, batch * 128)
                    rows = random.randint(3, side - 3, batch * 128)
                    parts[side].append(np.stack([rows, columns], axis=1).reshape(batch, 128, 2) - 3)
            for side in sides:
                self._positions[which, side] = np.concatenate(parts[side])
            self._directions = {
                (side, k): unit_length(random.randn(3, 7, 7, 128).transpose(3, 0, 2, 1).reshape(128, 147))
                for side in sides
                for k in range(4)
            }

    def positions(
        self, side: Side, resolution: int, first: int, count: int, patches: int, patch_size: int
    ) -> NDArray[np.int64]:
        return self._positions[side, resolution][first : first + count]

    def directions(self, resolution: int, repeat: int, count: int, dimensions: int) -> NDArray[np.float32]:
        return self._directions[resolution, repeat]


def measure(real: Images, fake: Images, *, seed: int = 0, batch: int = 16, **options: object) -> swd.Score:
    """Score of all images, along 64 directions unless told; the floor is what `plan` makes of the number of reals."""
    side = real.shape[-1]
    plan = swd.Score.plan({"real": len(real), "fake": len(fake)}, side, min(len(real), len(fake)))
    score = swd.Score(plan, side, seed=seed, **{"directions": 16, **options})  # type: ignore[arg-type]
    for first in range(0, plan.wanted["real"], batch):
        score.update("real", real[first : min(first + batch, plan.wanted["real"])], first)
    for first in range(0, len(fake), batch):
        score.update("fake", fake[first : first + batch], first)
    return score


# The published program's metric code, run on these arrays (np.random.seed(123), batches of 16, reals before fakes) by
# whoever wrote reference/progan.md section 4.1; printed there with four decimals.
@pytest.mark.parametrize(("other", "levels"), [("noise", [21.0362, 32.1311]), ("smooth", [53.3991, 30.3057])])
def test_values_of_the_original_program(other: str, levels: list[float]) -> None:
    a = noise(0)
    b = noise(1) if other == "noise" else smooth(a)
    assert a.sum() == 25126652
    assert b.sum() == {"noise": 25088420, "smooth": 25135068}[other]
    result = measure(a, b, directions=128, draws=LegacyDraws(123, 64, [32, 16], 16)).compute()
    assert list(result["levels"]) == ["32", "16"]
    assert list(result["levels"].values()) == pytest.approx(levels, rel=1e-5)
    assert result["value"] == pytest.approx(sum(levels) / 2, rel=1e-5)


def smooth(images: Images) -> Images:
    filtered = uniform_filter(images.astype(np.float32), size=(1, 1, 3, 3), mode="mirror")
    return np.rint(filtered).astype(np.uint8)


def test_agrees_with_the_oracle(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(3, 32, seed=1), noise(3, 3)
    score = measure(real, fake, seed=5, directions=128)
    draws = Draws(5)
    expected = {}
    for band, side in enumerate((32, 16)):
        sets = []
        for which, images in (("real", real), ("fake", fake)):
            bands = np.stack([[oracle.bands(plane)[band] for plane in image] for image in images])
            sets.append(oracle.descriptors(bands, draws.positions(which, side, 0, 3, 128, 7)))  # type: ignore[arg-type]
        directions = np.concatenate([draws.directions(side, repeat, 128, 147) for repeat in range(4)])
        expected[str(side)] = 1000 * oracle.distance(sets[0], sets[1], directions.astype(np.float64))
    assert score.compute()["levels"] == pytest.approx(expected, rel=2e-6)


def test_one_dimension_by_hand() -> None:
    """Sorted (0, 1, 5) and (2, 2, 3) are apart by 2, 1, 2 on average 5/3."""

    def descriptors(values: list[float]) -> Descriptors:
        patches = np.zeros((3, 3), np.float32)
        patches[:, 1] = values
        return Descriptors(patches, np.zeros(3), np.ones(3))

    green = np.array([[0, 1, 0]], np.float32)
    assert swd.sliced_wasserstein(descriptors([5, 0, 1]), descriptors([2, 3, 2]), green) == pytest.approx(5 / 3)


def test_the_same_patches_are_at_distance_zero(scenes: Callable[..., Images]) -> None:
    images = PatchSet("real", 4, 32, Draws(0))
    images.update(scenes(4, 32), 0)
    directions = Draws(0).directions(32, 0, 16, 147)
    part = images.descriptors(0, 0, 4)
    assert swd.sliced_wasserstein(part, part, directions) == 0


def test_every_set_is_normalised_by_itself(scenes: Callable[..., Images]) -> None:
    """Brightness and contrast of a channel do not count: halving a channel and adding 40 changes next to nothing."""
    real = scenes(8, 32) // 2 * 2  # even, so that halving loses nothing
    dimmed = real.copy()
    dimmed[:, 1] = real[:, 1] // 2 + 40

    class SamePlaces(Draws):
        def positions(self, side: Side, *rest: int) -> NDArray[np.int64]:
            return super().positions("real", *rest)

    assert measure(real, dimmed, draws=SamePlaces(0)).compute()["value"] < 0.01
    swapped = real[:, [1, 0, 2]]
    assert measure(real, swapped, draws=SamePlaces(0)).compute()["value"] > 10


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_batches_do_not_matter(batch: int, scenes: Callable[..., Images]) -> None:
    real, fake = scenes(16, 32, seed=0), scenes(16, 32, seed=1)
    assert measure(real, fake, batch=batch).compute() == measure(real, fake, batch=7).compute()


def test_neither_memory_nor_threads_matter(scenes: Callable[..., Images], monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = scenes(8, 32, seed=0), scenes(8, 32, seed=1)
    plenty = measure(real, fake).compute()
    scarce = measure(real, fake, memory=1e-3)
    assert isinstance(scarce.sets["real"]._patches, np.memmap)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = scarce.compute()
    assert found["levels"] == pytest.approx(plenty["levels"], rel=1e-5)  # smaller matrix products round differently
    assert found["floor"]["levels"] == pytest.approx(plenty["floor"]["levels"], rel=1e-5)


def test_seeds_matter_a_little(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(32, 32, seed=0), noise(1, 32)
    first, second = (measure(real, fake, seed=seed).compute()["value"] for seed in (0, 1))
    assert first != second
    assert first == pytest.approx(second, rel=0.1)


def test_falls_as_images_are_added() -> None:
    values = [measure(noise(0, count), noise(1, count)).compute()["value"] for count in (6, 24, 96)]
    # Sampling error alone is left, which goes with 1 / sqrt(images): two for every factor of four.
    assert values[0] / values[1] == pytest.approx(2, rel=0.25)
    assert values[1] / values[2] == pytest.approx(2, rel=0.25)


def test_floor_uses_other_reals_at_the_same_number(scenes: Callable[..., Images]) -> None:
    real = scenes(24, 32, seed=0)
    result = measure(real, noise(1, 12)).compute()
    assert result["floor"]["method"] == "disjoint"
    assert result["floor"]["num_images"] == result["num_images"] == 12
    assert result["warnings"] == [warning for warning in result["warnings"] if "floor is measured" not in warning]
    # The same two halves by hand, as real against fake: only the places of the patches are others.
    by_hand = measure(real[:12], real[12:]).compute()
    assert result["floor"]["value"] == pytest.approx(by_hand["value"], rel=0.15)
    assert result["value"] > 2 * result["floor"]["value"]


def test_floor_of_a_small_set_comes_from_halves(scenes: Callable[..., Images]) -> None:
    result = measure(scenes(13, 32, seed=0), noise(1, 13)).compute()
    assert result["num_images"] == 13
    assert result["floor"]["method"] == "disjoint halves"
    assert result["floor"]["num_images"] == 6
    assert any("halves of 6 real images" in warning for warning in result["warnings"])


def test_one_real_image_has_no_floor(scenes: Callable[..., Images]) -> None:
    result = measure(scenes(1, 32), noise(1, 1)).compute()
    assert result["floor"] is None
    assert any("no floor" in warning for warning in result["warnings"])


def test_sets_without_structure_give_numbers() -> None:
    flat = np.full((4, 3, 32, 32), 77, np.uint8)
    assert measure(flat, flat + np.uint8(100)).compute()["value"] == 0
    value = measure(noise(0, 4), flat).compute()["value"]
    assert math.isfinite(value)
    assert value > 500  # mean |x| of a standard normal variable is 0.8


def test_faint_images_keep_their_digits() -> None:
    """The normalisation is folded into the projections, where a large mean could eat up a small deviation."""
    faint = (200 + np.random.RandomState(0).randint(0, 2, (6, 3, 16, 16))).astype(np.uint8)
    real = noise(1, 6, 16)
    draws = Draws(0)
    directions = np.concatenate([draws.directions(16, repeat, 128, 147) for repeat in range(4)]).astype(np.float64)
    sets = [
        oracle.descriptors(images.astype(np.float64), draws.positions(which, 16, 0, 6, 128, 7))  # type: ignore[arg-type]
        for which, images in (("real", real), ("fake", faint))
    ]
    expected = 1000 * oracle.distance(sets[0], sets[1], directions)
    assert measure(real, faint, directions=128).compute()["value"] == pytest.approx(expected, rel=1e-5)


def test_finds_out_which_band_is_wrong(scenes: Callable[..., Images]) -> None:
    """Noise of one pixel on the fakes is seen in the finest band, an upside-down picture in the coarsest."""
    real, others = scenes(32, 32, seed=0), scenes(32, 32, seed=1)
    grain = np.random.RandomState(0).randint(-6, 7, others.shape)
    grainy = np.clip(others + grain, 0, 255).astype(np.uint8)
    clean, noisy = measure(real, others).compute()["levels"], measure(real, grainy).compute()["levels"]
    assert noisy["32"] > 3 * clean["32"]
    assert noisy["16"] < 2 * clean["16"]


def test_merge_is_the_same_as_one_pass(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(10, 32, seed=0), noise(1, 10)
    plan = Plan(5, {"real": 10, "fake": 5})
    whole, first, second = (swd.Score(plan, 32, seed=0) for _ in range(3))
    for score, rows in ((whole, slice(0, 10)), (first, slice(0, 4)), (second, slice(4, 10))):
        score.update("real", real[rows], rows.start)
        if len(fake[:5][rows]):
            score.update("fake", fake[:5][rows], rows.start)
    second.merge(first)
    assert second.compute() == whole.compute()


def test_a_missing_image_is_an_error(scenes: Callable[..., Images]) -> None:
    score = swd.Score(Plan(4, {"real": 4, "fake": 4}), 32, seed=0)
    score.update("real", scenes(4, 32), 0)
    score.update("fake", scenes(3, 32), 0)
    with pytest.raises(ValueError, match="1 of the fake images were never given, the first is 3"):
        score.compute()


@pytest.mark.parametrize(
    ("real", "fake", "asked", "expected"),
    [
        (30000, 50000, None, (16384, 30000)),  # the paper's number; the floor from halves of 15000
        (40000, 50000, None, (16384, 32768)),
        (1000, 600, None, (600, 1000)),
        (1000, None, None, (500, 1000)),  # fakes on demand: as many as leave the other half for the floor
        (1, None, None, (1, 1)),
        (20000, None, None, (16384, 20000)),
        (1000, None, 300, (300, 600)),
    ],
)
def test_number_of_images(real: int, fake: int | None, asked: int | None, expected: tuple[int, int]) -> None:
    plan = swd.Score.plan({"real": real, "fake": fake}, 64, asked)
    assert (plan.num_images, plan.wanted["real"]) == expected
    assert plan.wanted["fake"] == plan.num_images


def test_more_images_than_there_are() -> None:
    with pytest.raises(InputError, match="--num-images 200 is more than the 100 fake images"):
        swd.Score.plan({"real": 500, "fake": 100}, 64, 200)


def test_memory_must_be_positive() -> None:
    with pytest.raises(InputError, match="--memory"):
        swd.Score(Plan(4, {"real": 4, "fake": 4}), 32, seed=0, memory=0)


@pytest.mark.parametrize("shift", [0, 40])
def test_standard_error_is_the_spread_of_other_images(shift: int) -> None:
    """Whether the sets are alike (nothing but noise is measured) or not."""
    values, errors = [], []
    for trial in range(24):
        generator = np.random.default_rng(trial)
        coarse = generator.integers(0, 200, (2, 48, 3, 4, 4)).repeat(4, 3).repeat(4, 4)
        grain = generator.integers(0, 56, (2, 48, 3, 16, 16))
        real, fake = (coarse + grain).astype(np.uint8)
        fake[:, :, ::2] += np.uint8(shift)
        result = measure(real, fake, seed=trial, patches=32, directions=32).compute()
        values.append(result["value"])
        errors.append(result["standard_error"])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values, ddof=1), rel=0.4)  # 15% by chance


def test_too_few_images_for_an_error(scenes: Callable[..., Images]) -> None:
    result = measure(scenes(6, 32), noise(1, 6)).compute()
    assert result["standard_error"] is None
    assert result["levels_error"] is None


def test_function_on_arrays(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(8, 32), noise(1, 8)
    result = measure(real, fake).compute()
    assert swd.swd(real, fake, directions=16) == {**result["levels"], "average": result["value"]}


def test_memory_is_bounded_at_the_scale_of_the_paper() -> None:
    """By the arithmetic that `test_memory_is_what_was_asked_for` measures on a small case."""
    room = divide(4, 16384, 3 * 16384, 1024, 512)
    assert not room.in_memory
    assert room.file == 3 * 16384 * 7 * 128 * 147 * 4  # 26 GB, reals and the other reals of the floor
    assert room.directions == 128
    assert room.projections == 2 * 4 * 128 * 16384 * 128 == 2 << 30
    assert room.patches + room.projections + room.kept <= 4 << 30
    everything_fits = divide(4, 2048, 4096, 128, 512)
    assert everything_fits.in_memory
    assert everything_fits.patches + everything_fits.projections + everything_fits.kept <= 4 << 30


def test_memory_is_what_was_asked_for() -> None:
    """Peak memory of a process that streams 54 MiB of patches with 32 MiB to work in."""
    program = """
import resource
import numpy as np
from metrics.scores import Plan, swd

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

images = np.random.default_rng(0).integers(0, 256, (32, 3, 64, 64), np.uint8)
def measure(count, memory):
    score = swd.Score(Plan(count, {"real": count, "fake": count}), 64, seed=0, memory=memory)
    score._known.floor = {}
    for side in ("real", "fake"):
        for first in range(0, count, 16):
            score.update(side, images[first % 32:][:16], first)
    score.compute()
    return score._room

measure(16, 1)  # what libraries take for themselves
before = peak()
room = measure(128, 1 / 32)
print(int(room.in_memory), room.file / 2**20, room.projections / 2**20, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    in_memory, file, projections, taken = map(float, done.stdout.split())
    assert not in_memory
    assert file == pytest.approx(2 * 128 * 3 * 128 * 147 * 4 / 2**20)
    assert file > 50
    assert projections <= 16
    assert taken < 32


@pytest.mark.parametrize("memory", [4.0, 1e-3])
def test_a_device_of_torch_agrees(scenes: Callable[..., Images], memory: float) -> None:
    """The path of CUDA, here on the processor."""
    real, fake = scenes(16, 64, seed=0), noise(3, 16, 64)
    found, expected = (measure(real, fake, device=device, memory=memory).compute() for device in ("cpu:0", "cpu"))
    assert found["levels"] == pytest.approx(expected["levels"], rel=1e-5)
    assert found["floor"]["levels"] == pytest.approx(expected["floor"]["levels"], rel=1e-5)
    assert found["levels_error"] == pytest.approx(expected["levels_error"], rel=1e-3)


def test_images_on_a_device_are_merged(scenes: Callable[..., Images]) -> None:
    real, fake = scenes(10, 32, seed=0), noise(1, 10)
    plan = Plan(5, {"real": 10, "fake": 5})
    whole, first, second = (swd.Score(plan, 32, seed=0, directions=8, device="cpu:0") for _ in range(3))
    for score, rows in ((whole, slice(0, 10)), (first, slice(0, 4)), (second, slice(4, 10))):
        score.update("real", real[rows], rows.start)
        score.update("fake", fake[:5][rows], rows.start)
    second.merge(first)
    assert second.compute()["value"] == pytest.approx(whole.compute()["value"], rel=1e-6)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match="there is no device teapot"):
        swd.Score(Plan(4, {"real": 4, "fake": 4}), 32, seed=0, device="teapot")
