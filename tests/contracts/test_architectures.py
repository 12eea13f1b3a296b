"""The contract of every architecture in training/architectures."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training import architectures
from training.architectures import Verdict
from training.config import load_plugin, plugin_names

pytestmark = pytest.mark.parametrize("name", plugin_names(architectures))

CLASSES = 3
LABELS = torch.eye(CLASSES)[[0, 1, 2, 0]]
Networks = tuple[nn.Module, nn.Module]


def build(name: str, num_classes: int = 0) -> Networks:
    """Networks up to 16x16, small ones if the architecture is large by default."""
    module = load_plugin(architectures, name, "arch")
    fields = {field.name for field in dataclasses.fields(module.Config)}
    config = module.Config(**{key: value for key, value in {"fmap_base": 64, "fmap_max": 8}.items() if key in fields})
    torch.manual_seed(0)
    return module.Generator(config, 16, num_classes), module.Discriminator(config, 16, num_classes)


@pytest.fixture
def networks(name: str) -> Networks:
    return build(name)


def latents(generator: nn.Module, count: int = 4) -> Tensor:
    return torch.randn(count, int(generator.latent_size), generator=torch.Generator().manual_seed(1))


def test_config_is_a_frozen_dataclass_with_defaults(name: str) -> None:
    config = load_plugin(architectures, name, "arch").Config()
    assert dataclasses.is_dataclass(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.fmap_base = 1


def test_shapes_at_every_level_and_alpha(networks: Networks) -> None:
    generator, discriminator = networks
    for level in (2, 3, 4):
        for alpha in (0.0, 0.5, 1.0):
            images = generator(latents(generator), level, alpha)
            assert images.shape == (4, 3, 2**level, 2**level)
            verdict = discriminator(images, level, alpha)
            assert isinstance(verdict, Verdict)
            assert verdict.scores.shape == (4,)
            assert verdict.class_logits is None
            assert torch.isfinite(verdict.scores).all()


def test_classes_reach_the_generator_and_come_out_of_the_discriminator(name: str) -> None:
    generator, discriminator = build(name, CLASSES)
    z = latents(generator)
    images = generator(z, 3, 0.5, LABELS)
    assert not torch.allclose(images, generator(z, 3, 0.5, LABELS.flip(0)))
    verdict = discriminator(images, 3, 0.5, LABELS)
    assert verdict.scores.shape == (4,)
    assert verdict.class_logits.shape == (4, CLASSES)


def test_noise_is_applied_to_feature_maps_only(networks: Networks) -> None:
    """Not to RGB, not to vectors; once for every layer behind."""
    _, discriminator = networks
    images = torch.randn(4, 3, 16, 16)
    seen: list[torch.Size] = []

    def silence(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return x * 0

    scores = discriminator(images, 4, 1.0, None, silence).scores
    assert all(len(shape) == 4 and shape[1] != 3 for shape in seen)
    assert seen[-1][2:] == (4, 4)
    torch.testing.assert_close(scores, scores[:1].expand(4))
    assert not torch.allclose(discriminator(images, 4, 1.0).scores, scores)


def test_everything_in_use_has_a_gradient_and_nothing_else(networks: Networks) -> None:
    """At the top level while fading, all but the heads of lower levels are in use."""
    generator, discriminator = networks
    discriminator(generator(latents(generator), 4, 0.5), 4, 0.5).scores.sum().backward()
    for network in networks:
        unused = {".".join(name.split(".")[:2]) for name, p in network.named_parameters() if p.grad is None}
        assert unused in ({"to_rgb.4x4"}, {"from_rgb.4x4"})


def test_penalty_can_be_differentiated_twice(networks: Networks) -> None:
    _, discriminator = networks
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(images, 4, 0.5).scores.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


def test_networks_hold_no_hidden_level(networks: Networks) -> None:
    """A call at one level leaves no trace in a call at another."""
    generator, _ = networks
    z = latents(generator)
    with torch.no_grad():
        before = generator(z, 3, 0.5)
        generator(z, 4, 1.0)
        assert torch.equal(generator(z, 3, 0.5), before)


def test_state_survives_a_round_trip_through_the_meta_device(name: str, networks: Networks) -> None:
    module = load_plugin(architectures, name, "arch")
    with torch.device("meta"):
        empty = module.Generator(networks[0].config, 16)
    empty.load_state_dict(networks[0].state_dict(), assign=True)
    z = latents(empty)
    with torch.no_grad():
        assert torch.equal(empty(z, 4, 0.7), networks[0](z, 4, 0.7))


def outputs_and_gradients(networks: Networks, **autocast: Any) -> dict[str, Tensor]:
    """Images, verdict, slopes of the score, and all gradients of a loss with a penalty as one vector."""
    generator, discriminator = copy.deepcopy(networks)
    with torch.autocast("cpu", **autocast):
        images = generator(latents(generator), 4, 0.5, LABELS)
        leaf = images.detach().requires_grad_()
        verdict = discriminator(leaf, 4, 0.5, LABELS)
        (slopes,) = torch.autograd.grad(verdict.scores.sum(), leaf, create_graph=True)
        ((slopes.flatten(1).norm(dim=1) - 1).square().mean() + images.square().mean()).backward()
    gradients = [p.grad for network in (generator, discriminator) for p in network.parameters() if p.grad is not None]
    return {
        "images": images.detach(),
        "scores": verdict.scores.detach(),
        "class_logits": verdict.class_logits.detach(),
        "slopes": slopes.detach(),
        "gradients": torch.cat([gradient.flatten() for gradient in gradients]),
    }


def test_outputs_under_autocast_are_float32_and_close_to_what_float32_gives(name: str) -> None:
    """bfloat16 has 8 bits: a layer errs by half a per cent, and narrow networks do not average much of it away."""
    networks = build(name, CLASSES)
    exact = outputs_and_gradients(networks, enabled=False)
    rough = outputs_and_gradients(networks, dtype=torch.bfloat16)
    for what, largest in {
        "images": 0.03,
        "scores": 0.08,
        "class_logits": 0.08,
        "slopes": 0.2,
        "gradients": 0.2,
    }.items():
        assert rough[what].dtype == torch.float32
        error = (rough[what] - exact[what]).norm() / exact[what].norm()
        assert 0 < error < largest, f"{what}: {error:.3f}"


def test_channels_last_is_kept_from_layer_to_layer(name: str, networks: Networks) -> None:
    """Layers that would fall back to channels-first cost a copy each way, and the speed of the convolutions."""
    lost: list[str] = []

    def watch(network: nn.Module) -> None:
        network.to(memory_format=torch.channels_last)
        for path, module in network.named_modules():
            if path.startswith(("blocks", "conv", "from_rgb")) and type(module).__name__ == "Activated":
                module.register_forward_hook(
                    lambda _, __, out, path=path: (
                        None if out.is_contiguous(memory_format=torch.channels_last) else lost.append(path)
                    )
                )

    for network in networks:
        watch(network)
    generator, discriminator = networks
    images = generator(latents(generator), 4, 0.5)
    assert images.is_contiguous(memory_format=torch.channels_last)
    plain = images.detach().contiguous()
    verdict = discriminator(plain.contiguous(memory_format=torch.channels_last), 4, 0.5)
    assert not lost
    torch.testing.assert_close(verdict.scores, discriminator(plain, 4, 0.5).scores)
