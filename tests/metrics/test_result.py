"""The text of a result."""

from __future__ import annotations

from typing import Any

from metrics.result import lines, versions


def swd_result(floor: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "metric": "swd",
        "value": 30.0,
        "levels": {"32": 20.0, "16": 40.0},
        "floor": floor,
        "num_images": 10,
        "seed": 7,
        "warnings": ["few images"],
        "real": {"name": "photos"},
        "fake": {"name": "samples"},
    }


def test_floor_at_the_same_number() -> None:
    floor = {"value": 10.0, "levels": {"32": 10.0, "16": 10.0}, "num_images": 10, "method": "disjoint"}
    assert lines(swd_result(floor), "SWD x1000").splitlines() == [
        "SWD x1000: samples against photos, 10 images, seed 7",
        "",
        "level    value  floor (10 images)  ratio",
        "     32  20.00              10.00    2.0",
        "     16  40.00              10.00    4.0",
        "average  30.00              10.00    3.0",
        "",
        "note: few images",
    ]


def test_floor_at_fewer_images_only_bounds_the_ratio() -> None:
    floor = {"value": 10.0, "levels": {"32": 10.0, "16": 0.0}, "num_images": 5, "method": "disjoint halves"}
    rows = lines(swd_result(floor), "SWD x1000").splitlines()[3:6]
    assert [row.split() for row in rows] == [
        ["32", "20.00", "10.00", ">2.0"],
        ["16", "40.00", "0.00", "-"],
        ["average", "30.00", "10.00", ">3.0"],
    ]


def test_no_floor() -> None:
    rows = lines(swd_result(None), "SWD x1000").splitlines()[2:6]
    assert [row.split() for row in rows] == [["level", "value"], ["32", "20.00"], ["16", "40.00"], ["average", "30.00"]]


def test_one_set() -> None:
    result = {"value": 0.25, "standard_error": None, "num_images": 2, "seed": 0, "warnings": [], "real": None}
    result["fake"] = {"name": "samples"}
    assert lines(result, "MS-SSIM").splitlines() == ["MS-SSIM: samples, 2 images, seed 0", "", "this set  0.2500"]
    result["reference"] = {"value": 0.5, "standard_error": 0.01}
    assert lines(result, "MS-SSIM").splitlines()[3] == "reference  0.5000  +- 0.0100"


def test_versions() -> None:
    assert {"growgan", "python", "numpy"} <= set(versions())
