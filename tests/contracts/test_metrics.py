"""What every metric must keep to; a new file in metrics/scores is tested here without a word."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import InputError
from metrics import feature_score, patches, scores
from metrics.scores import Plan, Score, Side

SIDE = 32
COUNT = 24
Feed = Callable[..., None]


def images(seed: int, count: int = COUNT) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 3, 8, 8))
    return (coarse.repeat(4, 2).repeat(4, 3) // 2 + generator.integers(0, 100, (count, 3, SIDE, SIDE))).astype(np.uint8)


def given(kind: type[Score], pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
    """What a metric is given of some images: the pixels, or as features a few random projections of them.

    To the metric that counts modes they are the scores of two classes in each of three planes.
    """
    if kind.needs == "pixels":
        return pixels
    directions = np.random.default_rng(9).standard_normal((3 * SIDE**2, 6)) / 1000
    return ((pixels.reshape(len(pixels), -1) - 113.0) @ directions).astype(np.float32)  # 113: about their mean


SETS: dict[Side, NDArray[np.uint8]] = {"real": images(0, 2 * COUNT), "fake": images(1)}


@pytest.fixture(params=scores.names())
def kind(request: pytest.FixtureRequest) -> type[Score]:
    return scores.load(request.param)


def plan_of(kind: type[Score]) -> Plan:
    return kind.plan({side: len(SETS[side]) for side in sides_of(kind)}, SIDE, COUNT)


def sides_of(kind: type[Score]) -> list[Side]:
    return ["real", "fake"] if kind.two_sets else ["fake"]


QUICK = {"repeats": 3, "gamma": 0.3, "landmarks": 10, "subsets": 10}  # where a metric has such an option


def make(kind: type[Score], seed: int = 0, keep_real: bool = False) -> Score:
    quick = {option.name: QUICK[option.name] for option in kind.options if option.name in QUICK}
    return kind(plan_of(kind), SIDE, seed=seed, keep_real=keep_real, **quick)


def feed(score: Score, batch: int, *, parts: tuple[int, int] = (0, 1), sides: list[Side] | None = None) -> Score:
    """Give every batch whose number is parts[0] modulo parts[1]."""
    for side in sides or sides_of(type(score)):
        wanted = score.plan_of_images.wanted[side]
        for number, first in enumerate(range(0, wanted, batch)):
            if number % parts[1] == parts[0]:
                score.update(side, given(type(score), SETS[side][first : min(first + batch, wanted)]), first)
    return score


def test_says_what_it_is(kind: type[Score]) -> None:
    assert issubclass(kind, Score)
    assert kind.title
    assert kind.summary.endswith(".")
    assert isinstance(kind.two_sets, bool)
    module = __import__(kind.__module__, fromlist=["__doc__"])
    assert any(str(year) in (module.__doc__ or "") for year in range(1980, 2031)), "name the paper in the header"


def test_plan(kind: type[Score]) -> None:
    plan = plan_of(kind)
    assert set(plan.wanted) == set(sides_of(kind))
    assert plan.num_images <= COUNT
    with pytest.raises(InputError, match="--num-images"):
        kind.plan({side: len(SETS[side]) for side in sides_of(kind)}, SIDE, 10 * COUNT)


def test_result_is_plain_and_finite(kind: type[Score]) -> None:
    found = feed(make(kind), 5).compute()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert np.isfinite(found["value"])
    assert found["num_images"] == plan_of(kind).num_images
    assert found["protocol"]
    assert isinstance(found["warnings"], list)


def test_batches_do_not_matter(kind: type[Score]) -> None:
    values = [feed(make(kind), batch).compute()["value"] for batch in (1, 7, COUNT)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_merged_parts_are_the_whole(kind: type[Score], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ranks that share the batches, merged in another order than they are counted, sent in small pieces."""
    monkeypatch.setattr(patches, "_PIECE_BYTES", 1 << 20)
    monkeypatch.setattr(feature_score, "_PIECE", 3)
    ranks = [feed(make(kind), 5, parts=(rank, 3)) for rank in range(3)]
    ranks[1].merge(ranks[2])
    for piece in ranks[0].pieces():
        sent = pickle.dumps(piece)
        assert len(sent) < 2 << 20
        ranks[1].take(pickle.loads(sent))
    assert ranks[1].compute()["value"] == pytest.approx(feed(make(kind), 5).compute()["value"], rel=1e-6)


def test_clear_makes_room_for_other_fakes(kind: type[Score]) -> None:
    score = feed(make(kind), 5)
    first = score.compute()
    score.clear("fake")
    with pytest.raises(ValueError, match="never given"):
        score.compute()
    assert feed(score, 5, sides=["fake"]).compute() == first


def test_clear_forgets_what_was_derived(kind: type[Score]) -> None:
    """Once the reals are cleared too, nothing of them may be left over for the next ones."""
    score = make(kind, keep_real=True)
    for side, seed in (("real", 5), ("fake", 6)):
        if side in sides_of(kind):
            score.update(side, given(kind, images(seed, 2 * COUNT)[: score.plan_of_images.wanted[side]]), 0)
    score.compute()
    for side in sides_of(kind):
        score.clear(side)
    assert feed(score, 5).compute() == feed(make(kind), 5).compute()


def test_missing_images_are_an_error(kind: type[Score]) -> None:
    score = feed(make(kind), 5, parts=(0, 2))
    with pytest.raises(ValueError, match="never given"):
        score.compute()


def test_leaves_the_global_random_streams_alone(kind: type[Score]) -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr, index, call-overload]
    first = feed(make(kind), 5).compute()
    np.random.seed(99)
    second = feed(make(kind), 5).compute()
    assert first == second
    np.random.seed(0)  # as tests/conftest.py leaves it
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr, index, call-overload]


def test_real_and_fake_are_not_interchangeable(kind: type[Score]) -> None:
    """A metric must look at the fakes: other fakes, another value."""
    score = feed(make(kind), 5)
    first = score.compute()["value"]
    score.clear("fake")
    score.update("fake", given(kind, images(7) // 3), 0)
    assert score.compute()["value"] != first
