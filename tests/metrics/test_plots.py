"""Pictures of results: looked at by a person once, here only that they hold what they should."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import InputError
from metrics import canvas, plots, scores
from metrics.measuring import measure


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A result of every metric."""
    paths = [tmp_path_factory.mktemp("sets") / name for name in ("real.npy", "fake.npy")]
    for seed, path in enumerate(paths):
        np.save(path, np.random.default_rng(seed).integers(0, 256, (24, 3, 16, 16)).astype(np.uint8))
    options = {"geometry-score": {"repeats": 2, "gamma": 0.1}, "swd": {"directions": 4}}
    return measure(
        scores.names(), *paths, extractor="random-projection", no_cache=True, all_that_apply=True, options=options
    ).results


def texts(path: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_every_result_has_a_panel(results: list[dict[str, Any]], tmp_path: Path) -> None:
    plots.write(tmp_path / "all.svg", results)
    written = texts(tmp_path / "all.svg")
    for result in results:
        title = scores.title_of(result["metric"]).split(" on features")[0]
        assert any(text.startswith(f"{title}: ") for text in written)
    plots.write(tmp_path / "all.png", results)
    with Image.open(tmp_path / "all.png") as image:
        assert image.size == (3 * 480 * 2, -(-len(results) // 3) * 320 * 2)
        pixels = np.asarray(image)
    colours = {tuple(int(number) for number in colour) for colour in pixels.reshape(-1, 3)[::7]}
    assert {(11, 111, 164), (217, 130, 43)} <= colours


def test_bars_are_as_high_as_their_values(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    result = {
        **next(result for result in results if result["metric"] == "swd"),
        "levels": {"32": 40.0, "16": 10.0},
        "floor": {"value": 15.0, "levels": {"32": 20.0, "16": 10.0}, "num_images": 12},
    }
    plots.write(tmp_path / "swd.svg", [result])
    bars = [
        (float(element.get("height") or 0), element.get("fill"))
        for element in ElementTree.parse(tmp_path / "swd.svg").iter("{http://www.w3.org/2000/svg}rect")
        if element.get("x") and float(element.get("width") or 0) > 20
    ]
    assert [colour for _, colour in bars] == ["#0b6fa4", "#d9822b"] * 2
    assert np.array([height for height, _ in bars]) / bars[1][0] == pytest.approx([2, 1, 0.5, 0.5], abs=0.01)


def test_numbers_of_text_cannot_break_the_picture(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    result = {**results[0], "fake": {"name": "a<b&c"}}
    plots.write(tmp_path / "x.svg", [result])
    assert any("a<b&c" in text for text in texts(tmp_path / "x.svg"))


def test_pictures_on_the_sheet(tmp_path: Path, scenes: Callable[..., NDArray[np.uint8]]) -> None:
    for name in ("x.svg", "x.png"):
        sheet = canvas.canvas_for(tmp_path / name, 50, 40)
        sheet.picture(4, 6, 16, np.full((3, 8, 8), 90, np.uint8))
        sheet.line([(0, 30), (50, 30)], "#ff0000", 2, dashed=True)
        canvas.save(sheet, tmp_path / name)
    with Image.open(tmp_path / "x.png") as image:
        assert image.getpixel((20, 20)) == (90, 90, 90)
        row = [image.getpixel((x, 60)) for x in range(100)]
    assert 0 < row.count((255, 0, 0)) < 70
    assert (tmp_path / "x.svg").read_text().count("data:image/png") == 1


def test_nearest_reals_are_shown(tmp_path: Path, scenes: Callable[..., NDArray[np.uint8]]) -> None:
    """Fakes that are copies of reals lie beside their originals, at distance 0."""
    real = scenes(24, 32)
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "fake.npy", real[:12])
    found = measure(
        ["precision-recall"],
        tmp_path / "real.npy",
        tmp_path / "fake.npy",
        extractor="random-projection",
        no_cache=True,
        num_images=12,
    )
    nearest = found.results[0]["nearest"]
    hits = 0
    for place, (reals, distances) in enumerate(zip(nearest["reals"], nearest["distances"], strict=True)):
        fake, closest = found.picture("fake", place), found.picture("real", reals[0])
        assert fake is not None
        assert closest is not None
        assert distances == sorted(distances)
        hits += np.array_equal(fake, closest) and distances[0] == pytest.approx(0, abs=1e-3)
    assert hits == sum(
        any(np.array_equal(found.picture("fake", place), found.picture("real", k)) for k in range(12))  # type: ignore[arg-type]
        for place in range(5)
    )
    assert hits
    plots.write(tmp_path / "x.svg", found.results, found.picture)
    assert (tmp_path / "x.svg").read_text().count("data:image/png") == 5 * 6


def test_targets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.pdf must end with .svg or .png"):
        canvas.check_target(tmp_path / "x.pdf")
    with pytest.raises(InputError, match="does not exist"):
        canvas.check_target(tmp_path / "gone" / "x.svg")
