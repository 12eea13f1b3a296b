import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.order import Order

SEEDS = st.integers(0, 2**64 - 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), SEEDS, st.integers(0, 5))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    rows = Order(size, seed).rows(epoch * size, size)
    assert sorted(rows.tolist()) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), SEEDS, st.integers(0, 200), st.integers(0, 100), st.integers(1, 17))
def test_any_way_of_asking_gives_the_same_images(size, seed, start, count, piece):
    whole = Order(size, seed).rows(0, start + count)[start:]
    again = Order(size, seed)
    pieces = [again.rows(k, min(piece, start + count - k)) for k in range(start, start + count, piece)]
    assert whole.tolist() == [row for part in pieces for row in part.tolist()]
    assert Order(size, seed).rows(start, count).tolist() == whole.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), SEEDS, st.integers(1, 5), st.integers(1, 9))
def test_ranks_share_the_images_without_overlap(size, seed, ranks, batch):
    """Rank r of n takes every n-th batch; together they see what one rank sees."""
    alone = Order(size, seed).rows(0, ranks * batch * 3).tolist()
    shared = []
    for step in range(3):
        for rank in range(ranks):
            shared += Order(size, seed).rows((step * ranks + rank) * batch, batch).tolist()
    assert shared == alone


def test_going_back_gives_the_same_epoch_again():
    order = Order(10, 3)
    first = order.rows(0, 10).tolist()
    order.rows(50, 10)
    assert order.rows(0, 10).tolist() == first


def test_epochs_and_seeds_differ():
    epochs = [tuple(Order(20, 0).rows(20 * k, 20)) for k in range(5)]
    seeds = [tuple(Order(20, seed).rows(0, 20)) for seed in (0, 1, 2, 2**63, 2**64 - 1)]
    assert len({*epochs, *seeds}) == 9  # epoch 0 of seed 0 is in both


def test_the_order_is_spread_evenly():
    """Chi-squared of where image 0 stands over 2000 seeds; 9 degrees of freedom, 40 is beyond p = 1e-5."""
    counts = np.bincount([Order(10, seed).rows(0, 10).tolist().index(0) for seed in range(2000)], minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 40


def test_no_images_and_bad_seeds():
    assert Order(3, 0).rows(5, 0).shape == (0,)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        Order(0, 0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=rf"seed must be from 0 to 2\*\*64 - 1, got {seed}"):
            Order(3, seed)
