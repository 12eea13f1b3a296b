"""Where uint8 becomes float and back."""

from __future__ import annotations

import torch

from training.pixels import fade, mirror, to_float, to_uint8


def test_every_value_survives_the_round_trip() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_float(values)[0] == -1
    assert to_float(values)[255] == 1


def test_floats_are_rounded_and_clipped() -> None:
    assert to_uint8(torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]


def test_mirror_flips_only_the_flagged_images() -> None:
    x = torch.randn(2, 3, 4, 4)
    out = mirror(x, torch.tensor([True, False]))
    assert torch.equal(out[0], x[0].flip(2))
    assert torch.equal(out[1], x[1])


def test_fade_ends() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert fade(x, 1.0) is x
    blurred = x.view(2, 3, 2, 2, 2, 2).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(fade(x, 0.0), blurred)
    torch.testing.assert_close(fade(x, 0.25), 0.25 * x + 0.75 * blurred)
