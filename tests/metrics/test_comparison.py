"""Comparing two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import InputError
from metrics.comparison import compare, read_results


def result(value: float, **others: Any) -> dict[str, Any]:
    return {
        "metric": "fid",
        "value": value,
        "standard_error": 0.3,
        "num_images": 100,
        "protocol": {"divisor": "n - 1"},
        "extractor": {"network": "inception", "weights": "w", "weights_file": "a.pth", "device": "cpu"},
        "floor": None,
        "real": {"digest": "r"},
        "fake": {"digest": f"f{value}", "resolution": 32},
        "seed": 0,
        "versions": {"growgan": "1"},
        **others,
    }


@pytest.mark.parametrize(("other", "meant"), [(2.97, False), (2.99, True), (1.03, False), (1.01, True)])
def test_difference_against_its_error(other: float, meant: bool) -> None:
    """Errors of 0.3 and 0.4 make 0.5, and 1.96 of these are 0.98."""
    found = compare(result(2), result(other, standard_error=0.4))
    assert not found.obstacles
    assert found.error == pytest.approx(0.5)
    assert found.difference == pytest.approx(other - 2)
    assert ("more than chance" in found.verdict) is meant


@pytest.mark.parametrize(
    ("others", "obstacle"),
    [
        ({"num_images": 200}, "num_images differs: 100 and 200"),
        ({"protocol": {"divisor": "n"}}, "protocol differs"),
        ({"extractor": {"network": "inception", "weights": "x"}}, 'weights of the features differs: "w" and "x"'),
        ({"real": {"digest": "s"}}, "real images differ"),
        ({"fake": {"digest": "f", "resolution": 64}}, "32x32 pixels and 64x64 pixels"),
    ],
)
def test_obstacles(others: dict[str, Any], obstacle: str) -> None:
    found = compare(result(2), result(3, **others))
    assert any(obstacle in one for one in found.obstacles)
    assert found.verdict == "not comparable"
    assert found.to_json()["comparable"] is False


def test_where_weights_lie_and_where_they_run_is_no_obstacle() -> None:
    network = {"network": "inception", "weights": "w", "weights_file": "b.pth", "device": "cuda"}
    found = compare(result(2), result(2, extractor=network))
    assert not found.obstacles
    assert any("different devices" in note for note in found.notes)
    assert not compare(result(2), result(2, extractor={"network": "inception"})).obstacles  # a file without weights
    unknown = compare(result(2, num_images=None), result(2, num_images=None))
    assert any("not known" in note for note in unknown.notes)


def test_different_metrics_are_all_there_is_to_say() -> None:
    swd = result(60, metric="swd", num_images=40, protocol={}, seed=1, versions={})
    del swd["extractor"]
    for pair in ((result(2), swd), (swd, result(2))):
        found = compare(*pair)
        names = f"{pair[0]['metric']} and {pair[1]['metric']}"
        assert found.obstacles == (f"they are of different metrics, {names}; compare results of one metric",)
        assert (found.notes, found.error, found.verdict) == ((), None, "not comparable")
        assert json.dumps(found.to_json(), allow_nan=False)


def test_devices_count_only_where_both_have_one() -> None:
    without = {"network": "inception", "weights": "w"}
    assert not compare(result(2), result(2, extractor=without)).notes[1:]
    assert not any("device" in note for note in compare(result(2), result(2, extractor=without)).notes)


def test_files_of_features_have_no_size() -> None:
    features = result(3, fake={"digest": "g", "kind": "features", "resolution": None})
    found = compare(result(2), features)
    assert not found.obstacles
    assert [note for note in found.notes if "file of features" in note]
    assert not compare(features, features).obstacles
    mixed = result(3, fake={"digest": "g", "kind": "folder", "resolution": None})
    assert compare(result(2), mixed).obstacles == ("the images differ in size: 32x32 pixels and several sizes",)


def test_one_set_needs_no_equal_reals() -> None:
    first, second = result(2), result(2, real={"digest": "s"})
    del first["floor"], second["floor"]
    assert not compare(first, second).obstacles


def test_notes_and_missing_errors() -> None:
    found = compare(result(2), result(2, seed=1, versions={}, standard_error=None))
    assert len(found.notes) == 3
    assert found.deviations is None
    assert "open" in found.verdict
    exact = compare(result(2, standard_error=0), result(3, standard_error=0))
    assert "more than chance" in exact.verdict
    assert json.dumps(exact.to_json(), allow_nan=False)


@pytest.mark.parametrize("text", ["{", "[1]", '{"metric": "fid"}', '{"metric": "fid", "value": "2"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="--json wrote"):
        read_results(tmp_path / "a.json")
    with pytest.raises(InputError, match="No such file"):
        read_results(tmp_path / "b.json")
