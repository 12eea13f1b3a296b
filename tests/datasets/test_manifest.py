import dataclasses
import hashlib
import json

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.manifest import Manifest, labels_digest, level_digest, names_digest, one_hot, row_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def a_manifest(**changes):
    fields = {
        "num_images": 3,
        "resolution": 8,
        "level_digests": {"data4x4": "aa", "data8x8": "bb"},
        "sources_digest": "cc",
        "options": {"crop": "centre"},
        "provenance": {"tool": "growgan"},
    }
    return Manifest(**{**fields, **changes})


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**9), st.dictionaries(st.text(max_size=5), JSON), st.dictionaries(st.text(max_size=5), JSON))
def test_written_and_read_is_identity(num_images, options, provenance):
    manifest = a_manifest(num_images=num_images, options=options, provenance=provenance)
    assert Manifest.from_json(manifest.to_json(), "x.h5") == manifest


def test_the_content_digest_is_over_levels_alone():
    manifest = a_manifest()
    # Written down from the definition: SHA-256 of "name digest" lines in the order of their names.
    assert manifest.content_digest == hashlib.sha256(b"data4x4 aa\ndata8x8 bb").hexdigest()
    assert a_manifest(options={}, provenance={}).content_digest == manifest.content_digest
    assert a_manifest(level_digests={"data8x8": "bb", "data4x4": "aa"}).content_digest == manifest.content_digest
    assert a_manifest(level_digests={"data4x4": "bb", "data8x8": "aa"}).content_digest != manifest.content_digest


def test_every_changed_character_is_noticed():
    text = a_manifest().to_json()
    for position, character in enumerate(text):
        changed = text[:position] + chr(ord(character) ^ 1) + text[position + 1 :]
        if changed.split() != text.split():
            with pytest.raises(InputError, match=r"^x\.h5: "):
                Manifest.from_json(changed, "x.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the manifest is not JSON"),
        ("[]", "not of the schema growgan.pyramid"),
        ("{}", "not of the schema growgan.pyramid"),
        ('{"schema": "growgan.pyramid", "version": 99}', "of version 99, this program reads 1 to 2; update growgan"),
        ('{"schema": "growgan.pyramid", "version": 1}', "does not match its own digest"),
    ],
)
def test_texts_that_are_no_manifest(text, message):
    with pytest.raises(InputError, match=message):
        Manifest.from_json(text, "x.h5")


def signed(fields):
    """A manifest with a right digest of wrong fields."""
    fields.pop("digest", None)
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return json.dumps({**fields, "digest": digest})


def test_missing_and_unknown_fields_and_levels():
    fields = dataclasses.asdict(a_manifest())
    with pytest.raises(InputError, match=r"missing or unknown fields.*colour"):
        Manifest.from_json(signed({**fields, "colour": 1}), "x.h5")
    with pytest.raises(InputError, match=r"missing or unknown fields.*num_images"):
        Manifest.from_json(signed({k: v for k, v in fields.items() if k != "num_images"}), "x.h5")
    with pytest.raises(InputError, match="lists the levels"):
        Manifest.from_json(signed({**fields, "level_digests": {"data8x8": "bb"}}), "x.h5")
    with pytest.raises(InputError, match="resolution 12 is not a side"):
        Manifest.from_json(signed({**fields, "resolution": 12}), "x.h5")


def test_digests_are_what_the_documentation_says(rng):
    pixels = rng.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    assert row_digest(pixels) == xxhash.xxh3_128(pixels.tobytes()).digest()
    assert row_digest(pixels.transpose(0, 2, 1)) == xxhash.xxh3_128(pixels.transpose(0, 2, 1).tobytes()).digest()
    rows = rng.integers(0, 256, (5, 16), dtype=np.uint8)
    assert level_digest(rows) == hashlib.sha256(rows.tobytes()).hexdigest()
    assert level_digest(rows[::-1]) != level_digest(rows)
    assert names_digest(["a", "ü"]) == hashlib.sha256(b'["a", "\\u00fc"]').hexdigest()


def test_xxh3_128_of_the_empty_string_is_the_published_value():
    # xxHash specification, XXH3-128 of no bytes with seed 0.
    assert row_digest(np.empty(0, np.uint8)).hex() == "99aa06d3014798d86001c324468d497f"


def test_a_manifest_of_version_1_is_read():
    fields = dataclasses.asdict(a_manifest(version=1))
    for name in ("labels_digest", "label_names", "num_classes"):
        del fields[name]
    manifest = Manifest.from_json(signed(fields), "x.h5")
    assert (manifest.version, manifest.labels_digest, manifest.label_names, manifest.num_classes) == (
        1,
        None,
        None,
        None,
    )
    assert manifest.content_digest == a_manifest().content_digest
    assert Manifest.from_json(manifest.to_json(), "x.h5") == manifest


def test_the_digest_of_a_manifest_is_the_one_it_is_written_with():
    manifest = a_manifest(label_names=["a", "ü"], num_classes=2, labels_digest="dd")
    assert json.loads(manifest.to_json())["digest"] == manifest.digest
    assert manifest.digest != a_manifest().digest


def test_the_digest_of_labels_is_what_the_documentation_says():
    expected = hashlib.sha256(b"\x02\0\0\0\0\0\0\0" + b"\0\x01\0\0\0\0\0\0").hexdigest()
    for kind in (np.int64, np.int32, np.uint16, ">i8", list):
        labels = [2, 256] if kind is list else np.array([2, 256], kind)
        assert labels_digest(labels) == expected
    assert labels_digest([256, 2]) != expected


def test_one_hot():
    vectors = one_hot([2, 0, 2], 4)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert one_hot([], 3).shape == (0, 3)
    for wrong in ([4], [0, -1]):
        with pytest.raises(InputError, match=rf"label {wrong[-1]} is not in 0..3"):
            one_hot(wrong, 4)
