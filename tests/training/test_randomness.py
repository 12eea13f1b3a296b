"""Random numbers are functions of (seed, purpose, position)."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.randomness import latents, stream


def draw(*key: object) -> torch.Tensor:
    return torch.randn(1000, generator=stream(*key))  # type: ignore[arg-type]


def test_streams_repeat_and_differ_in_every_part_of_the_key() -> None:
    base = draw(1, "latents", 64)
    assert torch.equal(base, draw(1, "latents", 64))
    for other in [(2, "latents", 64), (1, "mixing", 64), (1, "latents", 65)]:
        assert abs(float(torch.corrcoef(torch.stack([base, draw(*other)]))[0, 1])) < 0.15


def test_streams_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(3, "latents", 0)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_a_latent_does_not_depend_on_how_the_sequence_is_cut(start: int, count: int) -> None:
    whole = latents(seed=5, start=0, count=400, size=4)
    assert torch.equal(latents(5, start, count, 4), whole[start : start + count])


def test_latents_are_standard_normal_and_unlike() -> None:
    z = latents(0, 0, 4096, 8)
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.std()) - 1) < 0.02
    assert len(torch.unique(z, dim=0)) == len(z)
