"""Configuration: strict, dotted paths in every message, and a written form that reads back equal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from training.config import Config, load_preset, preset_names
from training.settings import differences, from_mapping, from_yaml, to_mapping, to_yaml, with_settings


@pytest.mark.parametrize("name", preset_names())
def test_written_form_reads_back_equal(name: str) -> None:
    config = load_preset(name)
    assert from_yaml(to_yaml(config), "test") == config
    assert from_mapping(json.loads(json.dumps(to_mapping(config))), "test") == config  # as checkpoints keep it


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 512),
    st.dictionaries(st.sampled_from([8, 64, 1024]), st.floats(1e-6, 1, allow_nan=False)),
    st.none() | st.integers(1, 600),
    st.booleans(),
)
def test_any_values_survive_the_written_form(
    batch: int, rates: dict[int, float], latent: int | None, mirror: bool
) -> None:
    mapping = to_mapping(Config())
    mapping["growth"] |= {"batch": batch, "learning_rate_by_resolution": rates}
    mapping["network"]["latent_size"] = latent
    mapping["data"]["mirror"] = mirror
    config = from_mapping(mapping, "test")
    assert from_yaml(to_yaml(config), "test") == config
    assert config.growth.learning_rate_by_resolution == rates


def test_settings_change_just_what_they_name() -> None:
    base = load_preset("tiny")
    changed = with_settings(
        base,
        [
            "growth.batch=12",
            "growth.learning_rate=1e-3",
            "growth.batch_by_resolution.64=2",
            "network.latent_size=9",
            "seed=3",
        ],
    )
    assert {key: new for key, (_, new) in differences(base, changed).items()} == {
        "growth.batch": 12,
        "growth.learning_rate": 0.001,
        "growth.batch_by_resolution.64": 2,
        "network.latent_size": 9,
        "seed": 3,
    }


def test_later_settings_win() -> None:
    assert with_settings(Config(), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("growth.btch=3", "no option growth.btch; did you mean growth.batch?"),
        ("grwth.batch=3", "grwth is not a group of options; did you mean growth?"),
        ("sed=3", "no option sed; did you mean seed?"),
        ("seed", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("seed=", "seed must be a whole number, got None"),
        ("seed=1.5", "seed must be a whole number, got 1.5"),
        ("seed=-1", "seed must be a whole number from 0"),
        ("growth.batch=true", "growth.batch must be a whole number, got True"),
        ("growth.learning_rate=fast", "growth.learning_rate must be a finite number, got 'fast'"),
        ("growth.total_kimg=.inf", "growth.total_kimg must be a finite number, got inf"),
        ("network.generator_leak=.nan", "network.generator_leak must be a finite number, got nan"),
        ("network.fmap_decay=1e9", "network.fmap_decay must be from 0 to 16"),
        ("objective.target_norm=0", "--set: objective.target_norm must be above 0"),
        ("objective.drift=-1", "objective.drift must be 0 or more"),
        ("snapshots.every_kimg=1e-320", "snapshots.every_kimg must be 0.001 (one image) or more"),
        ("snapshots.columns=10000000000", "snapshots.columns must be from 1 to 100"),
        ("data.mirror=1", "data.mirror must be true or false, got 1"),
        ("objective.penalty_space=foo", "objective.penalty_space must be one of full, native, got 'foo'"),
        ("network=3", "network must be a group of options, got 3"),
        ("growth.batch_by_resolution=3", "growth.batch_by_resolution must be a table such as {256: 14}, got 3"),
        ("growth.batch_by_resolution.x=3", "growth.batch_by_resolution, key x must be a whole number"),
        ("batch=3", "there is no option batch; did you mean growth.batch?"),
        ("arch=dcgan", "arch 'dcgan' does not exist; choose one of "),
        ("loss=wgan", "choose one of lsgan, wgan_gp; did you mean wgan_gp?"),
        ("growth.batch={", "is not a YAML value"),
        ("ema.decay=1", "ema.decay must be at least 0 and below 1"),
        ("optimizer.beta1=1", "optimizer.beta1 must be at least 0 and below 1"),
        ("snapshots.keep=0", "snapshots.keep must be 1 or more"),
        ("snapshots.metric_images=1", "snapshots.metric_images must be 0 or at least 2"),
        ("network.fmap_max=0", "network.fmap_max must be 1 or more"),
    ],
)
def test_misspelt_keys_and_wrong_values_are_named(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        with_settings(load_preset("tiny"), [setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_of_another_plug_in_can_be_set_after_its_name() -> None:
    config = with_settings(
        load_preset("tiny"), ["loss=lsgan", "objective.noise=3", "arch=mnist_modes", "network.rgb_kernel=1"]
    )
    assert (config.objective.noise, config.objective.noise_limit, config.network.rgb_kernel) == (3, 0.5, 1)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"preset 'celeba_hq' does not exist; .*did you mean celebahq"):
        load_preset("celeba_hq")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "must hold a mapping"), ("a: [", "is not valid YAML"), ("bogus: 1", "there is no option bogus")],
)
def test_a_broken_file_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_yaml(text, "run/config.yaml")
    assert "run/config.yaml" in str(caught.value)
